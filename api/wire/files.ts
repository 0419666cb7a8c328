/**
 * The headers of `/1.0/instances/{name}/files`. Header values are text of the
 * client: each decoder answers undefined for an absent one and throws
 * Fault bad_request for one that is wrong.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { z } from 'zod';
import { Fault } from '../../process/fault.ts';

export type FileKind = 'file' | 'directory' | 'symlink';

export interface FileHeaders {
  readonly uid: number | undefined;
  readonly gid: number | undefined;
  readonly mode: number | undefined;
  readonly kind: FileKind;
  readonly append: boolean;
}

/** Names in a directory. */
export const fileList = z.array(z.string());
/** URLs of an instance's log files. */
export const logList = z.array(z.string());

export function readFileHeaders(headers: IncomingHttpHeaders): FileHeaders {
  const kind = oneOf(headers, 'x-lxd-type', ['file', 'directory', 'symlink'] as const, 'file');
  const write = oneOf(headers, 'x-lxd-write', ['overwrite', 'append'] as const, 'overwrite');
  return {
    uid: readId(headers, 'x-lxd-uid'),
    gid: readId(headers, 'x-lxd-gid'),
    mode: readMode(headers),
    kind,
    append: write === 'append',
  };
}

/** As they are sent in answers: `0644`, `2026-01-02 03:04:05 +0000 UTC`. */
export function writeFileHeaders(file: {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
  readonly kind: FileKind;
  readonly mtimeMs: number;
}): Record<string, string> {
  const modified = new Date(file.mtimeMs).toISOString();
  return {
    'X-LXD-uid': String(file.uid),
    'X-LXD-gid': String(file.gid),
    'X-LXD-mode': (file.mode & 0o7777).toString(8).padStart(4, '0'),
    'X-LXD-type': file.kind,
    'X-LXD-modified': `${modified.slice(0, 10)} ${modified.slice(11, 19)} +0000 UTC`,
  };
}

function single(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  const text = Array.isArray(value) ? value[0] : value;
  return text === '' ? undefined : text;
}

function oneOf<T extends string>(
  headers: IncomingHttpHeaders,
  name: string,
  allowed: readonly T[],
  fallback: T,
): T {
  const value = single(headers, name);
  if (value === undefined) return fallback;
  const found = allowed.find((each) => each === value);
  if (found === undefined) {
    throw new Fault('bad_request', `header ${name} must be one of ${allowed.join(', ')}`);
  }
  return found;
}

function readId(headers: IncomingHttpHeaders, name: string): number | undefined {
  const value = single(headers, name);
  if (value === undefined) return undefined;
  const id = /^\d{1,10}$/.test(value) ? Number(value) : NaN;
  if (!(id <= 4_294_967_294)) throw new Fault('bad_request', `header ${name} is not a user or group id`);
  return id;
}

/** Go's rules for numbers: `0644`, `0o644` are octal, `0x1a4` is hexadecimal, `420` is decimal. */
function readMode(headers: IncomingHttpHeaders): number | undefined {
  const value = single(headers, 'x-lxd-mode');
  if (value === undefined) return undefined;
  const [, octal, hexadecimal, decimal] =
    /^(?:0[oO]?([0-7]{1,11})|0[xX]([0-9a-fA-F]{1,8})|(0|[1-9]\d{0,9}))$/.exec(value) ?? [];
  let mode = NaN;
  if (octal !== undefined) mode = parseInt(octal, 8);
  else if (hexadecimal !== undefined) mode = parseInt(hexadecimal, 16);
  else if (decimal !== undefined) mode = Number(decimal);
  if (!(mode <= 0o7777)) {
    throw new Fault(
      'bad_request',
      'header x-lxd-mode is not a file mode; write it in octal, for example 0644',
    );
  }
  return mode;
}
