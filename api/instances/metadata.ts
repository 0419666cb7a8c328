/**
 * What an instance keeps of its image beside the root file system:
 * `metadata.yaml` and the files of `templates/`.
 *
 * The volume comes from an image, so no link in it is ever followed: a
 * template that is a link to a file of the host is refused.
 */
import { constants } from 'node:fs';
import { lstat, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import { Fault, isFault } from '../../process/fault.ts';
import { HOST_ARCHITECTURE } from '../architectures.ts';
import { MAX_METADATA_BYTES, parseImageMetadata, renderImageMetadata } from '../images/metadata.ts';
import type { ImageMetadata } from '../images/types.ts';
import { checkTemplatePath } from './templates.ts';

/** Largest template file, in bytes. */
export const MAX_TEMPLATE_BYTES = 256 * 1024;

const NOTHING: ImageMetadata = {
  architecture: HOST_ARCHITECTURE,
  creationDate: 0,
  expiryDate: 0,
  properties: {},
  templates: {},
};

/** metadata.yaml of a volume; that of an empty one when there is no such file. Fault bad_request when it is broken. */
export async function readMetadata(volume: string): Promise<ImageMetadata> {
  const text = await readPlainFile(join(volume, 'metadata.yaml'), MAX_METADATA_BYTES);
  return text === null ? NOTHING : parseImageMetadata(text);
}

/** Replaces metadata.yaml; on disk when it resolves. */
export async function writeMetadata(volume: string, metadata: ImageMetadata): Promise<void> {
  await replaceFile(join(volume, 'metadata.yaml'), renderImageMetadata(metadata));
}

/** The metadata a client sent, as we keep it. Fault bad_request that names what is wrong. */
export function decodeMetadata(body: object): ImageMetadata {
  const metadata = parseImageMetadata(JSON.stringify(body));
  for (const [path, rule] of Object.entries(metadata.templates)) {
    checkTemplatePath(path);
    checkTemplateName(rule.template);
  }
  return metadata;
}

/** Names of the template files, in alphabetical order. */
export async function listTemplates(volume: string): Promise<string[]> {
  const directory = await templateDirectory(volume);
  if (directory === null) return [];
  const entries = await readdir(directory, { withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && !entry.name.startsWith('.'))
    .map((entry) => entry.name)
    .sort();
}

/** Text of one template. Fault not_found when there is none of that name. */
export async function readTemplate(volume: string, name: string): Promise<string> {
  checkTemplateName(name);
  const directory = await templateDirectory(volume);
  const text = directory === null ? null : await readPlainFile(join(directory, name), MAX_TEMPLATE_BYTES);
  if (text === null) throw new Fault('not_found', `template "${name}" not found`);
  return text;
}

/** Makes or replaces a template. */
export async function writeTemplate(volume: string, name: string, content: string): Promise<void> {
  checkTemplateName(name);
  const directory = (await templateDirectory(volume)) ?? join(volume, 'templates');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await replaceFile(join(directory, name), content);
}

/** Fault not_found when there is none of that name. */
export async function removeTemplate(volume: string, name: string): Promise<void> {
  checkTemplateName(name);
  const directory = await templateDirectory(volume);
  try {
    if (directory === null) throw new Fault('not_found', `template "${name}" not found`);
    await rm(join(directory, name));
  } catch (err) {
    if (isFault(err) || !isErrno(err, 'ENOENT')) throw err;
    throw new Fault('not_found', `template "${name}" not found`, { cause: err });
  }
}

/** Throws bad_request unless it is the plain name of a file. */
function checkTemplateName(name: string): void {
  if (name !== '' && name.length <= 255 && !name.startsWith('.') && !/[/\\\p{Cc}]/u.test(name)) return;
  throw new Fault(
    'bad_request',
    `template name ${JSON.stringify(name.slice(0, 80))} is not a plain file name; write for example hostname.tpl`,
  );
}

/** Path of `templates/`; null when there is none. A link in its place is refused. */
async function templateDirectory(volume: string): Promise<string | null> {
  const path = join(volume, 'templates');
  try {
    if ((await lstat(path)).isDirectory()) return path;
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return null;
    throw err;
  }
  throw new Fault('bad_request', '"templates" of the instance is not a directory');
}

/** Text of a regular file; null when there is none. */
async function readPlainFile(path: string, maxBytes: number): Promise<string | null> {
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return null;
    throw new Fault('bad_request', `open ${path}, which must be a regular file`, { cause: err });
  }
  try {
    const stat = await file.stat();
    if (!stat.isFile() || stat.size > maxBytes) {
      throw new Fault('bad_request', `${path} is no regular file of at most ${String(maxBytes)} bytes`);
    }
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

async function replaceFile(path: string, content: string): Promise<void> {
  const fresh = `${path}.${randomUUID()}`;
  const file = await open(fresh, 'wx', 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
    await file.close();
    await rename(fresh, path);
  } catch (err) {
    await rm(fresh, { force: true });
    throw err;
  }
}

function isErrno(err: unknown, code: string): boolean {
  return err instanceof Error && 'code' in err && err.code === code;
}
