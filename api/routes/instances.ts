/** `/1.0/instances` and one of them (also below `/1.0/containers`). */
import { Fault } from '../../process/fault.ts';
import type { InstanceRow } from '../db/rows.ts';
import type { Answer, Call, Route } from '../http/route.ts';
import { answers } from '../http/route.ts';
import type { StateChanges } from '../instances/change-state.ts';
import { prepareCreate } from '../instances/create.ts';
import { checkDelete, deleteInstance } from '../instances/delete.ts';
import { fullInstance, listInstances } from '../instances/list.ts';
import type { InstanceParts } from '../instances/parts.ts';
import { checkRename, renameInstance } from '../instances/rename.ts';
import { renderInstance, taggedPart } from '../instances/render.ts';
import { checkUpdate, updateInstance, wantedByPatch, wantedByPut } from '../instances/update.ts';
import { parseBool } from '../instances/values.ts';
import { instanceResources } from '../operations/operations.ts';
import {
  instance,
  instanceList,
  instancePost,
  instancePut,
  instancesPost,
  instancesPut,
} from '../wire/instances.ts';
import { decodeState } from './instance-state.ts';

const LIST = '/1.0/instances';
const ONE = '/1.0/instances/{name}';

export interface InstanceRouteParts {
  readonly parts: InstanceParts;
  readonly changes: StateChanges;
}

export function instanceRoutes(given: InstanceRouteParts): Route[] {
  return [...listRoutes(given), ...readRoutes(given), ...changeRoutes(given)];
}

function listRoutes({ parts, changes }: InstanceRouteParts): Route[] {
  return [
    {
      method: 'GET',
      path: LIST,
      access: 'project',
      isEmptyWithoutProject: true,
      summary: 'Lists instances: URLs, objects, or objects with their state.',
      answer: instanceList,
      handle: async (call) => answers.sync(await listFor(parts, call)),
    },
    {
      method: 'POST',
      path: LIST,
      access: 'project',
      summary: 'Creates an instance from an image, from nothing, or as a copy.',
      body: instancesPost,
      acceptsRaw: true,
      handle: (call) => create(parts, call),
    },
    {
      method: 'PUT',
      path: LIST,
      access: 'project',
      summary: 'Changes the state of all instances of a project.',
      body: instancesPut,
      handle: async (call) => {
        const { state } = instancesPut.parse(call.body);
        if (state === null || state === undefined) throw new Fault('bad_request', '"state" is missing');
        return answers.async(changes.beginAll(call.project, decodeState(state), call.caller.requestor));
      },
    },
  ];
}

function readRoutes({ parts }: InstanceRouteParts): Route[] {
  return [
    {
      method: 'GET',
      path: ONE,
      access: 'project',
      summary: 'Shows an instance; with recursion, its state too.',
      answer: instance,
      handle: async (call) => {
        const row = find(parts, call);
        const expanded = parts.store.expand(row);
        const shown =
          call.recursion === 0
            ? renderInstance(expanded, parts.runtime.status(row.id))
            : await fullInstance(parts, row);
        return answers.sync(shown, taggedPart(expanded));
      },
    },
    // There are none yet; clients ask before they delete or copy.
    emptyList(parts, `${ONE}/snapshots`, 'Lists the snapshots of an instance.'),
    emptyList(parts, `${ONE}/backups`, 'Lists the backups of an instance.'),
  ];
}

function emptyList(parts: InstanceParts, path: string, summary: string): Route {
  return {
    method: 'GET',
    path,
    access: 'project',
    summary,
    handle: async (call) => {
      find(parts, call);
      return answers.sync([]);
    },
  };
}

function changeRoutes({ parts, changes }: InstanceRouteParts): Route[] {
  const findIdle = (call: Call): InstanceRow => {
    const row = find(parts, call);
    changes.refuseWhileStopping(row.id);
    return row;
  };
  return [
    {
      method: 'POST',
      path: ONE,
      access: 'project',
      summary: 'Renames an instance.',
      body: instancePost,
      handle: async (call) => rename(parts, call, findIdle(call)),
    },
    {
      method: 'PUT',
      path: ONE,
      access: 'project',
      summary: 'Replaces the definition of an instance.',
      body: instancePut,
      handle: async (call) => replace(parts, call, findIdle(call)),
    },
    {
      method: 'PATCH',
      path: ONE,
      access: 'project',
      summary: 'Changes parts of the definition of an instance.',
      body: instancePut,
      handle: async (call) => {
        const body = instancePut.parse(call.body);
        if ((body.restore ?? '') !== '')
          throw new Fault('bad_request', 'Restore not supported with PATCH; use PUT');
        const decide = (row: InstanceRow) => {
          call.checkEtag(taggedPart(parts.store.expand(row)));
          return wantedByPatch(row, body);
        };
        await updateInstance(parts, findIdle(call).id, decide, call.caller.requestor);
        return answers.empty();
      },
    },
    {
      method: 'DELETE',
      path: ONE,
      access: 'project',
      summary: 'Deletes a stopped instance.',
      handle: async (call) => {
        const row = findIdle(call);
        checkDelete(parts, row);
        return task(parts, call, row, 'Deleting instance', () =>
          deleteInstance(parts, row.id, call.caller.requestor),
        );
      },
    },
  ];
}

function find(parts: InstanceParts, call: Call): InstanceRow {
  return parts.store.byName(call.project, call.params['name'] ?? '');
}

async function listFor(parts: InstanceParts, call: Call): Promise<unknown> {
  const isAll = parseBool(call.query.get('all-projects') ?? '');
  if (isAll && call.query.has('project')) {
    throw new Fault('bad_request', 'Cannot specify a project when requesting all projects');
  }
  const { projects } = call.caller;
  return listInstances(parts, {
    project: isAll ? null : call.project,
    mayList: (project) => projects === null || projects.includes(project),
    recursion: call.recursion,
    filter: call.query.get('filter') ?? '',
    type: call.query.get('instance-type') ?? '',
    path: call.instancesPath,
  });
}

async function create(parts: InstanceParts, call: Call): Promise<Answer> {
  if (call.body === undefined) throw new Fault('not_implemented', 'importing a backup is not done yet');
  const { requestor } = call.caller;
  const body = instancesPost.parse(call.body);
  checkSource(call, body.source?.project ?? '');
  const creation = await prepareCreate(parts, call.project, body, requestor);
  return answers.async(
    parts.operations.create({
      class: 'task',
      description: 'Creating instance',
      project: call.project,
      requestor,
      resources: instanceResources(call.project, creation.name),
      mayCancel: true,
      run: (context) => creation.run(context),
    }),
  );
}

/** A copy reads an instance of its source's project: the caller must be let into that one too. */
function checkSource(call: Call, project: string): void {
  const { projects } = call.caller;
  if (project !== '' && projects !== null && !projects.includes(project)) {
    throw new Fault('forbidden', 'not authorized');
  }
}

function rename(parts: InstanceParts, call: Call, row: InstanceRow): Answer {
  const body = instancePost.parse(call.body);
  if (body.migration === true) throw new Fault('not_implemented', 'moving instances is not done yet');
  const name = body.name ?? '';
  checkRename(parts, row, name);
  return task(parts, call, row, 'Renaming instance', () =>
    renameInstance(parts, row.id, name, call.caller.requestor),
  );
}

function replace(parts: InstanceParts, call: Call, row: InstanceRow): Answer {
  const body = instancePut.parse(call.body);
  call.checkEtag(taggedPart(parts.store.expand(row)));
  if ((body.restore ?? '') !== '') throw new Fault('not_implemented', 'restoring snapshots is not done yet');
  checkUpdate(parts, row, wantedByPut(row, body));
  // Asked again when its turn comes: another change may have been queued before.
  const decide = (now: InstanceRow) => {
    call.checkEtag(taggedPart(parts.store.expand(now)));
    return wantedByPut(now, body);
  };
  return task(parts, call, row, 'Updating instance', () =>
    updateInstance(parts, row.id, decide, call.caller.requestor),
  );
}

function task(
  parts: InstanceParts,
  call: Call,
  row: InstanceRow,
  description: string,
  run: () => Promise<void>,
): Answer {
  return answers.async(
    parts.operations.create({
      class: 'task',
      description,
      project: row.project,
      requestor: call.caller.requestor,
      resources: instanceResources(row.project, row.name),
      run,
    }),
  );
}
