/** `/1.0/images/aliases`: names for images. A name may hold slashes. */
import { Fault } from '../../process/fault.ts';
import type { AliasRow } from '../db/rows.ts';
import type { ImageStore } from '../images/images.ts';
import { checkAliasName } from '../images/alias-name.ts';
import { aliasUrl, renderAlias } from '../images/render.ts';
import { answers } from '../http/route.ts';
import type { Answer, Call, Route } from '../http/route.ts';
import { isTrustedForProject } from './project-trust.ts';
import {
  imageAlias,
  imageAliasList,
  imageAliasPost,
  imageAliasPut,
  imageAliasesPost,
} from '../wire/images.ts';

const LIST = '/1.0/images/aliases';
const ONE = '/1.0/images/aliases/{name*}';

export function imageAliasRoutes(images: ImageStore): Route[] {
  return [...collection(images), ...single(images)];
}

function collection(images: ImageStore): Route[] {
  return [
    {
      method: 'GET',
      path: LIST,
      access: 'project',
      summary: 'Lists the image aliases of a project.',
      answer: imageAliasList,
      handle: async (call) => {
        const rows = images.rows.aliasList(images.projectOf(call.project));
        if (call.recursion > 0) return answers.sync(rows.map(renderAlias));
        return answers.sync(rows.map((row) => aliasUrl(row.project, row.name)));
      },
    },
    {
      method: 'POST',
      path: LIST,
      access: 'project',
      summary: 'Makes an alias for an image.',
      body: imageAliasesPost,
      handle: (call) => create(images, call),
    },
  ];
}

function single(images: ImageStore): Route[] {
  const own = (call: Call): AliasRow =>
    images.rows.alias(images.projectOf(call.project), call.params['name'] ?? '');
  const change = async (call: Call, isPatch: boolean): Promise<Answer> => {
    const row = own(call);
    call.checkEtag(renderAlias(row));
    const body = imageAliasPut.parse(call.body);
    const target = body.target ?? (isPatch ? row.target : '');
    if (target === '') throw new Fault('bad_request', 'The target field is required');
    const found = images.rows.byPrefix(row.project, target);
    const description = body.description ?? (isPatch ? row.description : '');
    await images.changeAlias(row, { target: found.fingerprint, description }, call.caller.requestor);
    return answers.empty();
  };
  return [
    {
      method: 'GET',
      path: ONE,
      access: 'any',
      summary: 'Shows an alias; for callers without trust only when its image is public.',
      answer: imageAlias,
      handle: async (call) => {
        const row = visible(images, call);
        return answers.sync(renderAlias(row), renderAlias(row));
      },
    },
    {
      method: 'POST',
      path: ONE,
      access: 'project',
      summary: 'Renames an alias.',
      body: imageAliasPost,
      handle: (call) => rename(images, call),
    },
    {
      method: 'PUT',
      path: ONE,
      access: 'project',
      summary: 'Replaces target and description of an alias.',
      body: imageAliasPut,
      handle: (call) => change(call, false),
    },
    {
      method: 'PATCH',
      path: ONE,
      access: 'project',
      summary: 'Changes target or description of an alias.',
      body: imageAliasPut,
      handle: (call) => change(call, true),
    },
    {
      method: 'DELETE',
      path: ONE,
      access: 'project',
      summary: 'Deletes an alias. Its image stays.',
      handle: (call) => images.removeAlias(own(call), call.caller.requestor).then(answers.empty),
    },
  ];
}

async function rename(images: ImageStore, call: Call): Promise<Answer> {
  const row = images.rows.alias(images.projectOf(call.project), call.params['name'] ?? '');
  const name = checkAliasName(imageAliasPost.parse(call.body).name ?? '');
  if (name !== row.name) await images.changeAlias(row, { name }, call.caller.requestor);
  return answers.created(aliasUrl(row.project, name));
}

async function create(images: ImageStore, call: Call): Promise<Answer> {
  const body = imageAliasesPost.parse(call.body);
  if ((body.name ?? '') === '' || (body.target ?? '') === '') {
    throw new Fault('bad_request', 'name and target are required');
  }
  const project = images.projectOf(call.project);
  const name = checkAliasName(body.name ?? '');
  const target = images.rows.byPrefix(project, body.target ?? '').fingerprint;
  await images.addAlias(
    { project, name, target, description: body.description ?? '' },
    call.caller.requestor,
  );
  return answers.created(aliasUrl(project, name));
}

function visible(images: ImageStore, call: Call): AliasRow {
  if (isTrustedForProject(call))
    return images.rows.alias(images.projectOf(call.project), call.params['name'] ?? '');
  const missing = new Fault('not_found', 'Image alias not found');
  try {
    const row = images.rows.alias(images.projectOf(call.project), call.params['name'] ?? '');
    if (images.rows.byPrefix(row.project, row.target).public) return row;
  } catch {
    throw missing;
  }
  throw missing;
}
