/** `/1.0/images`: the images of a project, their files and secrets. Aliases are in image-aliases.ts. */
import { readFile } from 'node:fs/promises';
import type { IncomingHttpHeaders } from 'node:http';
import { Fault } from '../../process/fault.ts';
import type { ImageRow } from '../db/rows.ts';
import { NEVER } from '../db/rows.ts';
import { parseFilter } from '../filter.ts';
import { checkAliasName } from '../images/alias-name.ts';
import type { Received } from '../images/image-files.ts';
import type { ImageChange, ImageStore } from '../images/images.ts';
import type { ImageWishes } from '../images/import.ts';
import { sniffPath } from '../images/inspect.ts';
import { imageEtag, imageUrl, renderImage } from '../images/render.ts';
import { extensionOf } from '../images/sniff.ts';
import { answers } from '../http/route.ts';
import type { Answer, Call, Route } from '../http/route.ts';
import { isTrustedForProject } from './project-trust.ts';
import { image, imageExportPost, imageList, imagePut, imagesPost } from '../wire/images.ts';
import type { ImagePutWire, ImagesPostWire } from '../wire/images.ts';

const LIST = '/1.0/images';
const ONE = '/1.0/images/{fingerprint}';
/** Larger bodies are files, whatever they begin with. */
const MAX_JSON_BYTES = 1024 * 1024;

export function imageRoutes(images: ImageStore): Route[] {
  return [...collection(images), ...single(images), ...contents(images)];
}

function collection(images: ImageStore): Route[] {
  return [
    {
      method: 'GET',
      path: LIST,
      access: 'any',
      summary: 'Lists the images of a project; the public ones for callers without trust.',
      answer: imageList,
      handle: async (call) => list(images, call),
    },
    {
      method: 'POST',
      path: LIST,
      access: 'any',
      summary: 'Makes an image: from the body (one file, or two parts), or as a JSON body describes.',
      body: 'stream',
      handle: (call) => post(images, call),
    },
  ];
}

function single(images: ImageStore): Route[] {
  const change = async (call: Call, isPatch: boolean): Promise<Answer> => {
    const project = images.projectOf(call.project);
    const row = images.rows.byPrefix(project, fingerprintOf(call));
    call.checkEtag(imageEtag(row));
    const body = imagePut.parse(call.body);
    images.checkProfiles(call.project, body.profiles ?? null);
    await images.update(row, isPatch ? patchOf(row, body) : putOf(body), call.caller.requestor);
    return answers.empty();
  };
  return [
    {
      method: 'GET',
      path: ONE,
      access: 'any',
      summary: 'Shows an image; a prefix of its fingerprint is enough.',
      answer: image,
      handle: async (call) => {
        const row = visible(images, call);
        return answers.sync(renderImage(row, images.rows.aliasesOf(row)), imageEtag(row));
      },
    },
    {
      method: 'PUT',
      path: ONE,
      access: 'project',
      summary: 'Replaces what can be changed of an image.',
      body: imagePut,
      handle: (call) => change(call, false),
    },
    {
      method: 'PATCH',
      path: ONE,
      access: 'project',
      summary: 'Changes what is given of an image.',
      body: imagePut,
      handle: (call) => change(call, true),
    },
    {
      method: 'DELETE',
      path: ONE,
      access: 'project',
      summary: 'Deletes an image. Instances made from it stay.',
      handle: async (call) => {
        const row = images.rows.byPrefix(images.projectOf(call.project), fingerprintOf(call));
        return answers.async(images.remove(row, call.caller.requestor));
      },
    },
  ];
}

function contents(images: ImageStore): Route[] {
  const own = (call: Call): ImageRow =>
    images.rows.byPrefix(images.projectOf(call.project), fingerprintOf(call));
  return [
    {
      method: 'GET',
      path: `${ONE}/export`,
      access: 'any',
      summary: 'Sends the file of an image, or the two files of a split one.',
      handle: (call) => exportImage(images, call),
    },
    {
      method: 'POST',
      path: `${ONE}/export`,
      access: 'project',
      summary: 'Sends an image to another server (not implemented).',
      body: imageExportPost,
      handle: async (call) => {
        own(call);
        throw new Fault(
          'not_implemented',
          'images cannot be pushed to another server; export and import the file',
        );
      },
    },
    {
      method: 'POST',
      path: `${ONE}/refresh`,
      access: 'project',
      summary: 'Looks for a newer version of a downloaded image.',
      handle: async (call) => {
        own(call);
        throw new Fault(
          'bad_request',
          'the image was not downloaded from an image server: it has nothing to refresh from',
        );
      },
    },
    {
      method: 'POST',
      path: `${ONE}/secret`,
      access: 'project',
      summary: 'Makes a secret with which the image can be read once without trust.',
      handle: async (call) => {
        const row = own(call);
        const operation = images.secrets.issue(row.project, row.fingerprint, call.caller.requestor);
        images.tell('image-secret-created', row, call.caller.requestor);
        return answers.async(operation);
      },
    },
  ];
}

function fingerprintOf(call: Call): string {
  return call.params['fingerprint'] ?? '';
}

/** Who may not see an image is told that there is none. */
function visible(images: ImageStore, call: Call): ImageRow {
  const trusted = isTrustedForProject(call);
  const project = resolveFor(images, call);
  const secret = call.query.get('secret');
  return images.rows.byPrefix(
    project,
    fingerprintOf(call),
    (row) => trusted || row.public || images.secrets.opens(secret, project, row.fingerprint),
  );
}

/** A project that is not there looks like an empty one to those who may not know. */
function resolveFor(images: ImageStore, call: Call): string {
  if (isTrustedForProject(call)) return images.projectOf(call.project);
  try {
    return images.projectOf(call.project);
  } catch {
    throw new Fault('not_found', 'Image not found');
  }
}

function list(images: ImageStore, call: Call): Answer {
  const trusted = isTrustedForProject(call);
  const accepts = parseFilter(call.query.get('filter') ?? '');
  const project = trusted ? images.projectOf(call.project) : publicProject(images, call);
  const rows = project === null ? [] : images.rows.list(project).filter((row) => trusted || row.public);
  const shown = rows
    .map((row) => ({ row, wire: renderImage(row, images.rows.aliasesOf(row)) }))
    .filter(({ wire }) => accepts(wire));
  if (call.recursion > 0) return answers.sync(shown.map(({ wire }) => wire));
  return answers.sync(shown.map(({ row }) => imageUrl(row.project, row.fingerprint)));
}

function publicProject(images: ImageStore, call: Call): string | null {
  try {
    return images.projectOf(call.project);
  } catch {
    return null;
  }
}

async function post(images: ImageStore, call: Call): Promise<Answer> {
  if (!isTrustedForProject(call)) {
    throw new Fault(call.caller.trusted ? 'forbidden' : 'not_trusted', 'not authorized');
  }
  const project = images.projectOf(call.project);
  const received = await images.receive(call.stream, call.headers['content-type']);
  try {
    const described = await jsonOf(received);
    if (described === null) {
      const wishes = headerWishes(call.headers);
      checkWishes(images, call, wishes);
      return answers.async(images.import(project, received, wishes, call.caller.requestor));
    }
    await images.discard(received);
    return await fromDescription(images, call, project, described);
  } catch (err) {
    await images.discard(received);
    throw err;
  }
}

/** The body as JSON, when it is that: LXD does not look at the Content-Type either. */
async function jsonOf(received: Received): Promise<unknown> {
  if (received.rootfs !== null || received.main.size > MAX_JSON_BYTES) return null;
  const text = await readFile(received.main.path, 'utf8');
  if (!text.trimStart().startsWith('{')) return null;
  try {
    const body: unknown = JSON.parse(text);
    return body;
  } catch (err) {
    throw new Fault('bad_request', 'the body is neither an image nor JSON', { cause: err });
  }
}

async function fromDescription(
  images: ImageStore,
  call: Call,
  project: string,
  json: unknown,
): Promise<Answer> {
  const parsed = imagesPost.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const where = (issue?.path ?? []).map(String).join('.');
    throw new Fault(
      'bad_request',
      `field "${where.slice(0, 200)}" is not valid: ${issue?.message ?? 'wrong type'}`,
    );
  }
  const body = parsed.data;
  const source = body.source;
  const type = source?.type ?? '';
  if (type === 'url') {
    if ((source?.mode ?? 'pull') !== 'pull')
      throw new Fault('bad_request', 'an image from a URL has the mode "pull"');
    const wishes = bodyWishes(body);
    checkWishes(images, call, wishes);
    return answers.async(images.importFrom(project, source?.url ?? '', wishes, call.caller.requestor));
  }
  if (['image', 'instance', 'container', 'snapshot', 'virtual-machine'].includes(type)) {
    throw new Fault(
      'not_implemented',
      `an image cannot be made from the source type "${type}"; send its file, or a URL`,
    );
  }
  throw new Fault('bad_request', `source type ${JSON.stringify(type.slice(0, 80))} is not known`);
}

/** Names in a request: of profiles that must be there, and of aliases that could be reached. */
function checkWishes(images: ImageStore, call: Call, wishes: ImageWishes): void {
  images.checkProfiles(call.project, wishes.profiles);
  for (const { name } of wishes.aliases) checkAliasName(name);
}

function bodyWishes(body: ImagesPostWire): ImageWishes {
  return {
    filename: body.filename ?? null,
    isPublic: body.public ?? false,
    autoUpdate: body.auto_update ?? false,
    properties: clean(body.properties),
    expiresAt: timeOf(body.expires_at),
    profiles: body.profiles ?? null,
    aliases: (body.aliases ?? []).map(({ name, description }) => ({ name, description: description ?? '' })),
    fingerprint: body.source?.fingerprint ?? null,
  };
}

function oneHeader(headers: IncomingHttpHeaders, name: string): string {
  const value = headers[name];
  return (Array.isArray(value) ? value[0] : value) ?? '';
}

/** A header in the form of a query. One that was sent several times comes joined by ", ". */
function queryHeader(headers: IncomingHttpHeaders, name: string): URLSearchParams {
  return new URLSearchParams(oneHeader(headers, name).replace(/, (?=[^\s=&,]+=)/g, '&'));
}

function headerWishes(headers: IncomingHttpHeaders): ImageWishes {
  const query = (name: string): URLSearchParams => queryHeader(headers, name);
  const aliases = query('x-lxd-aliases');
  const profiles = query('x-lxd-profiles').getAll('profile');
  const fingerprint = oneHeader(headers, 'x-lxd-fingerprint').toLowerCase();
  const filename = oneHeader(headers, 'x-lxd-filename').slice(0, 255);
  return {
    filename: filename === '' ? null : filename,
    isPublic: ['1', 'true', 'yes', 'on'].includes(oneHeader(headers, 'x-lxd-public').toLowerCase()),
    autoUpdate: false,
    properties: Object.fromEntries(query('x-lxd-properties')),
    expiresAt: null,
    profiles: profiles.length === 0 ? null : profiles,
    aliases: [...aliases.getAll('alias'), ...aliases.getAll('name')].map((name) => ({
      name,
      description: '',
    })),
    fingerprint: fingerprint === '' ? null : fingerprint,
  };
}

/** A null value is Go's zero value. */
function clean(map: Readonly<Record<string, string | null>> | null | undefined): Record<string, string> {
  return Object.fromEntries(Object.entries(map ?? {}).map(([key, value]) => [key, value ?? '']));
}

/** Go's zero time and 1970 both mean never; null is not said. */
function timeOf(text: string | null | undefined): string | null {
  if (text === null || text === undefined) return null;
  const ms = Date.parse(text);
  return ms <= 0 ? NEVER : new Date(ms).toISOString();
}

function putOf(body: ImagePutWire): ImageChange {
  return {
    isPublic: body.public ?? false,
    autoUpdate: body.auto_update ?? false,
    properties: clean(body.properties),
    expiresAt: timeOf(body.expires_at) ?? NEVER,
    ...(body.profiles === null || body.profiles === undefined ? {} : { profiles: body.profiles }),
  };
}

function patchOf(row: ImageRow, body: ImagePutWire): ImageChange {
  const expiresAt = timeOf(body.expires_at);
  return {
    ...(body.public === null || body.public === undefined ? {} : { isPublic: body.public }),
    ...(body.auto_update === null || body.auto_update === undefined ? {} : { autoUpdate: body.auto_update }),
    properties: { ...row.properties, ...clean(body.properties) },
    ...(expiresAt === null ? {} : { expiresAt }),
    ...(body.profiles === null || body.profiles === undefined ? {} : { profiles: body.profiles }),
  };
}

async function exportImage(images: ImageStore, call: Call): Promise<Answer> {
  const row = visible(images, call);
  const stored = await images.exportable(row);
  const extension = extensionOf(await sniffPath(stored.path));
  images.tell('image-retrieved', row, call.caller.requestor);
  if (stored.rootfsPath === null) {
    const filename = `${row.fingerprint}${extension}`;
    return { kind: 'file', content: { path: stored.path }, filename };
  }
  const rootExtension = extensionOf(await sniffPath(stored.rootfsPath));
  return {
    kind: 'multipart',
    parts: [
      { name: 'metadata', filename: `meta-${row.fingerprint}${extension}`, path: stored.path },
      { name: 'rootfs', filename: `${row.fingerprint}${rootExtension}`, path: stored.rootfsPath },
    ],
  };
}
