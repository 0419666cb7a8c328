/** `--image FILE|DIR|URL`: whatever was given becomes one file, or two, to upload. */
import { createWriteStream, existsSync, statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Fault } from '../../process/fault.ts';
import { runTool } from '../tools.ts';

export interface ImageFiles {
  /** A unified image, a bare root, or the metadata part of a split image. */
  readonly file: string;
  /** The root part of a split image. */
  readonly rootfs: string | null;
}

export interface GatherOptions {
  /** Where downloads and packed folders go. */
  readonly work: string;
  readonly signal: AbortSignal;
  readonly onDetail: (text: string) => void;
}

const METADATA_PART = /^(lxd|incus|meta.*)\.tar(\.\w+)?$/;
const ROOT_PART = /^(rootfs|root)\.(squashfs|tar(\.\w+)?)$/;

/** An alias made from the last part of a path or URL: `My_Image.tar.xz` is `my-image`. */
export function aliasFor(given: string): string {
  const path = isUrl(given) ? new URL(given).pathname : resolve(given);
  const plain = basename(path).replace(/\.(tar(\.\w+)?|tgz|txz|squashfs|img)$/i, '');
  const alias = plain
    .toLowerCase()
    .replace(/[^a-z0-9.]+/g, '-')
    .replace(/^[-.]+|[-.]+$/g, '');
  return alias === '' ? 'image' : alias;
}

/** What tells two given images of the same name apart. */
export function givenOrigin(given: string): string {
  if (isUrl(given)) return given;
  const path = resolve(given);
  const facts = statSync(path, { throwIfNoEntry: false });
  if (facts === undefined || facts.isDirectory()) return path;
  return `${path}, ${String(facts.size)} bytes of ${facts.mtime.toISOString()}`;
}

function isUrl(given: string): boolean {
  return /^https?:\/\//i.test(given);
}

/** Fault bad_request when `given` is no image in any form that is understood. */
export async function gatherImage(given: string, options: GatherOptions): Promise<ImageFiles> {
  if (isUrl(given)) return { file: await download(given, options), rootfs: null };
  const path = resolve(given);
  if (!existsSync(path))
    throw new Fault('bad_request', `take the image ${given}: there is no such file or folder`);
  return statSync(path).isDirectory() ? gatherFolder(path, options) : { file: path, rootfs: null };
}

async function gatherFolder(folder: string, options: GatherOptions): Promise<ImageFiles> {
  const names = await readdir(folder);
  const metadata = names.find((name) => METADATA_PART.test(name));
  const root = names.find((name) => ROOT_PART.test(name));
  if (metadata !== undefined && root !== undefined) {
    return { file: join(folder, metadata), rootfs: join(folder, root) };
  }
  if (names.includes('metadata.yaml') && names.includes('rootfs')) {
    const parts = ['metadata.yaml', 'rootfs', ...names.filter((name) => name === 'templates')];
    return { file: await packFolder(folder, parts, options), rootfs: null };
  }
  if (names.includes('etc') && (names.includes('bin') || names.includes('usr'))) {
    return { file: await packFolder(folder, ['.'], options), rootfs: null };
  }
  throw new Fault(
    'bad_request',
    `take the image ${folder}: it holds neither a root file system (etc, usr) nor metadata.yaml with rootfs/, ` +
      'nor the two files of a split image',
  );
}

async function packFolder(folder: string, parts: readonly string[], options: GatherOptions): Promise<string> {
  options.onDetail('packing');
  const file = join(options.work, 'image.tar');
  const how = ['--create', '--numeric-owner', '--xattrs', '--xattrs-include=*', '--one-file-system'];
  await runTool('tar', [...how, '-f', file, '-C', folder, ...parts], {
    timeoutMs: 0,
    signal: options.signal,
  });
  return file;
}

async function download(url: string, options: GatherOptions): Promise<string> {
  const answer = await fetch(url, { signal: options.signal }).catch((cause: unknown) => {
    options.signal.throwIfAborted();
    throw new Fault('unavailable', `download ${url}`, { cause });
  });
  if (!answer.ok || answer.body === null) {
    throw new Fault(
      'unavailable',
      `download ${url}: the server says ${String(answer.status)} ${answer.statusText}`,
    );
  }
  const total = Number(answer.headers.get('content-length') ?? '0');
  const file = join(options.work, basename(new URL(url).pathname) || 'image');
  let got = 0;
  const count = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      got += chunk.length;
      options.onDetail(bytesDone(got, total));
      done(null, chunk);
    },
  });
  // The two declarations of web streams, node's and the DOM's, differ only in name.
  const body = Readable.fromWeb(answer.body as Parameters<typeof Readable.fromWeb>[0]);
  await pipeline(body, count, createWriteStream(file), { signal: options.signal });
  return file;
}

export function bytesDone(done: number, total: number): string {
  const mb = (bytes: number): string => (bytes / 1e6).toFixed(0);
  return total > 0 ? `${mb(done)} of ${mb(total)} MB` : `${mb(done)} MB`;
}
