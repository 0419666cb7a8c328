/** `/1.0/instances/{name}/metadata` and the templates below it. */
import type { Readable } from 'node:stream';
import { Fault } from '../../process/fault.ts';
import type { InstanceRow } from '../db/rows.ts';
import type { Call, Route } from '../http/route.ts';
import { answers } from '../http/route.ts';
import { metadataWire } from '../images/metadata.ts';
import type { StateChanges } from '../instances/change-state.ts';
import { instanceUrl } from '../instances/instance-url.ts';
import {
  MAX_TEMPLATE_BYTES,
  decodeMetadata,
  listTemplates,
  readMetadata,
  readTemplate,
  removeTemplate,
  writeMetadata,
  writeTemplate,
} from '../instances/metadata.ts';
import type { InstanceParts } from '../instances/parts.ts';
import { instanceMetadata } from '../wire/instances.ts';
import type { InstanceMetadataWire } from '../wire/instances.ts';

const METADATA = '/1.0/instances/{name}/metadata';
const TEMPLATES = `${METADATA}/templates`;

type MetadataParts = Pick<InstanceParts, 'store' | 'pools' | 'lanes' | 'events'> & {
  readonly changes: StateChanges;
};

/** `changes` keeps a change from waiting behind a stop that may never end. */
export function instanceMetadataRoutes(given: InstanceParts, changes: StateChanges): Route[] {
  const parts: MetadataParts = { ...given, changes };
  return [...metadataRoutes(parts), ...templateRoutes(parts)];
}

function metadataRoutes(parts: MetadataParts): Route[] {
  return [
    {
      method: 'GET',
      path: METADATA,
      access: 'project',
      summary: 'Shows what the instance keeps of the metadata of its image.',
      answer: instanceMetadata,
      handle: async (call) => {
        const row = find(parts, call);
        const shown = metadataWire(await readMetadata(volumeOf(parts, row)));
        announce(parts, call, row, 'instance-metadata-retrieved');
        return answers.sync(shown, shown);
      },
    },
    {
      method: 'PUT',
      path: METADATA,
      access: 'project',
      summary: 'Replaces the metadata of an instance.',
      body: instanceMetadata,
      handle: (call) => change(parts, call, (_, body) => body),
    },
    {
      method: 'PATCH',
      path: METADATA,
      access: 'project',
      summary: 'Changes parts of the metadata of an instance.',
      body: instanceMetadata,
      handle: (call) => change(parts, call, merge),
    },
  ];
}

function templateRoutes(parts: MetadataParts): Route[] {
  return [
    {
      method: 'GET',
      path: TEMPLATES,
      access: 'project',
      summary: 'Lists the templates of an instance, or with `path` gives the content of one.',
      handle: async (call) => {
        const row = find(parts, call);
        const name = call.query.get('path') ?? '';
        if (name === '') return answers.sync(await listTemplates(volumeOf(parts, row)));
        const text = await readTemplate(volumeOf(parts, row), name);
        announce(parts, call, row, 'instance-metadata-template-retrieved', name);
        return { kind: 'file', content: { bytes: Buffer.from(text) }, filename: name };
      },
    },
    {
      method: 'POST',
      path: TEMPLATES,
      access: 'project',
      summary: 'Makes or replaces the template named by `path`.',
      body: 'stream',
      handle: async (call) => {
        const { row, name } = findTemplate(parts, call);
        const text = await readText(call.stream);
        await inLane(parts, row, (volume) => writeTemplate(volume, name, text));
        announce(parts, call, row, 'instance-metadata-template-created', name);
        return answers.empty();
      },
    },
    {
      method: 'DELETE',
      path: TEMPLATES,
      access: 'project',
      summary: 'Removes the template named by `path`.',
      handle: async (call) => {
        const { row, name } = findTemplate(parts, call);
        await inLane(parts, row, (volume) => removeTemplate(volume, name));
        announce(parts, call, row, 'instance-metadata-template-deleted', name);
        return answers.empty();
      },
    },
  ];
}

function find(parts: MetadataParts, call: Call): InstanceRow {
  return parts.store.byName(call.project, call.params['name'] ?? '');
}

function findTemplate(parts: MetadataParts, call: Call): { row: InstanceRow; name: string } {
  const row = find(parts, call);
  const name = call.query.get('path') ?? '';
  if (name === '') throw new Fault('bad_request', 'missing path argument');
  return { row, name };
}

function volumeOf(parts: MetadataParts, row: InstanceRow): string {
  return parts.pools.get(row.pool).volumePath({ project: row.project, instance: row.name });
}

/** Work on the volume in the instance's lane, with the name it has by then. */
function inLane(
  parts: MetadataParts,
  row: InstanceRow,
  work: (volume: string) => Promise<void>,
): Promise<void> {
  parts.changes.refuseWhileStopping(row.id);
  return parts.lanes.run(row.id, () => work(volumeOf(parts, parts.store.byId(row.id))));
}

type Merge = (now: InstanceMetadataWire, body: InstanceMetadataWire) => InstanceMetadataWire;

async function change(parts: MetadataParts, call: Call, decide: Merge) {
  const row = find(parts, call);
  const body = instanceMetadata.parse(call.body);
  await inLane(parts, row, async (volume) => {
    const now = metadataWire(await readMetadata(volume));
    call.checkEtag(now);
    await writeMetadata(volume, decodeMetadata(decide(instanceMetadata.parse(now), body)));
  });
  announce(parts, call, row, 'instance-metadata-updated');
  return answers.empty();
}

/** What is present replaces; properties and templates are merged by key. */
function merge(now: InstanceMetadataWire, body: InstanceMetadataWire): InstanceMetadataWire {
  return {
    architecture: body.architecture ?? now.architecture,
    creation_date: body.creation_date ?? now.creation_date,
    expiry_date: body.expiry_date ?? now.expiry_date,
    properties: { ...now.properties, ...body.properties },
    templates: { ...now.templates, ...body.templates },
  };
}

async function readText(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    const bytes = Buffer.from(chunk as Buffer); // a body's stream has no encoding set
    size += bytes.length;
    if (size > MAX_TEMPLATE_BYTES) {
      throw new Fault('too_large', `a template can have at most ${String(MAX_TEMPLATE_BYTES / 1024)} KiB`);
    }
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function announce(parts: MetadataParts, call: Call, row: InstanceRow, action: string, path?: string): void {
  parts.events.lifecycle(action, instanceUrl(row), {
    project: row.project,
    requestor: call.caller.requestor,
    ...(path === undefined ? {} : { context: { path } }),
  });
}
