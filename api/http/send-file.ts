/** File answers: one file with ranges and If-Modified-Since, or several as multipart/form-data. */
import { randomBytes } from 'node:crypto';
import { close, createReadStream, fstat, open, type ReadStream, type Stats } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { Fault } from '../../process/fault.ts';
import type { Answer } from './route.ts';

type FileAnswer = Extract<Answer, { kind: 'file' }>;
type MultipartAnswer = Extract<Answer, { kind: 'multipart' }>;

const CHUNK_BYTES = 512 * 1024;
const statOf: (fd: number) => Promise<Stats> = promisify(fstat);
const openFd: (path: string, flags: string) => Promise<number> = promisify(open);
const closeFd: (fd: number) => Promise<void> = promisify(close);

/** What a `Range` header asks for; `whole` for none or one that is not understood, as RFC 9110 wants. */
export function parseRange(
  header: string | undefined,
  size: number,
): { readonly start: number; readonly end: number } | 'whole' | 'outside' {
  const found = /^bytes=(\d*)-(\d*)$/.exec(header?.trim() ?? '');
  if (found === null || (found[1] === '' && found[2] === '')) return 'whole';
  const last = size - 1;
  if (found[1] === '') {
    const length = Number(found[2]);
    return length === 0 || size === 0 ? 'outside' : { start: Math.max(0, size - length), end: last };
  }
  const start = Number(found[1]);
  const end = found[2] === '' ? last : Math.min(Number(found[2]), last);
  if (found[2] !== '' && Number(found[2]) < start) return 'whole';
  return start > last ? 'outside' : { start, end };
}

/** Sends one file. An `fd` is closed here in every case. */
export async function sendFile(req: IncomingMessage, res: ServerResponse, answer: FileAnswer): Promise<void> {
  const { content } = answer;
  setTypeAndName(res, answer.filename);
  if ('bytes' in content) {
    const range = sendHead(req, res, content.bytes.length, null);
    res.end(range === null ? undefined : content.bytes.subarray(range.start, range.end + 1));
    return;
  }
  const file = 'path' in content ? await openPath(content.path) : new OpenFile(content.fd);
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw new Fault('bad_request', `"${answer.filename}" is not a regular file`);
    const range = sendHead(req, res, stat.size, stat.mtime);
    if (range !== null) await copyRange(res, file, range);
    res.end();
  } finally {
    await file.close();
  }
}

/** Sends the parts one after the other, each named by its identifier. */
export async function sendMultipart(res: ServerResponse, answer: MultipartAnswer): Promise<void> {
  const boundary = randomBytes(24).toString('hex');
  const parts: { head: string; size: number; file: OpenFile }[] = [];
  try {
    for (const { name, filename, path } of answer.parts) {
      const file = await openPath(path);
      const head =
        `--${boundary}\r\nContent-Disposition: form-data; name="${quoted(name)}"; ` +
        `filename="${quoted(filename)}"\r\nContent-Type: application/octet-stream\r\n\r\n`;
      parts.push({ head, size: 0, file });
    }
    for (const part of parts) part.size = (await part.file.stat()).size;
    const tail = `--${boundary}--\r\n`;
    const length = parts.reduce(
      (sum, part) => sum + Buffer.byteLength(part.head) + part.size + 2,
      tail.length,
    );
    res.setHeader('Content-Type', `multipart/form-data; boundary=${boundary}`);
    res.setHeader('Content-Length', length);
    res.writeHead(200);
    for (const { head, size, file } of parts) {
      res.write(head);
      if (size > 0) await copyRange(res, file, { start: 0, end: size - 1 });
      res.write('\r\n');
    }
    res.end(tail);
  } finally {
    for (const { file } of parts) await file.close();
  }
}

/** A descriptor that is closed once: by the stream that reads it, or by close(). */
class OpenFile {
  private readonly fd: number;
  private isStreamed = false;

  constructor(fd: number) {
    this.fd = fd;
  }

  stat(): Promise<Stats> {
    return statOf(this.fd);
  }

  stream(range: { start: number; end: number }): ReadStream {
    this.isStreamed = true;
    return createReadStream('', { fd: this.fd, autoClose: true, highWaterMark: CHUNK_BYTES, ...range });
  }

  async close(): Promise<void> {
    if (!this.isStreamed) await closeFd(this.fd);
  }
}

function setTypeAndName(res: ServerResponse, filename: string): void {
  if (!res.hasHeader('Content-Type')) res.setHeader('Content-Type', 'application/octet-stream');
  res.setHeader('Content-Disposition', contentDisposition(filename));
}

/** LXD's `inline;filename=NAME`; a name that is no HTTP token is quoted, one with other letters encoded. */
export function contentDisposition(filename: string): string {
  if (/^[\w!#$&+.^`|~-]+$/.test(filename)) return `inline;filename=${filename}`;
  if (/^[\x20-\x7e]*$/.test(filename)) return `inline;filename="${quoted(filename)}"`;
  const encoded = encodeURIComponent(wellFormed(filename)).replace(
    /['()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16)}`,
  );
  return `inline;filename*=UTF-8''${encoded}`;
}

/** The text with halves of surrogate pairs replaced: encodeURIComponent throws at them. */
export function wellFormed(text: string): string {
  return Buffer.from(text).toString();
}

function quoted(text: string): string {
  return text.replace(/[\r\n\0]/g, '_').replace(/["\\]/g, '\\$&');
}

async function openPath(path: string): Promise<OpenFile> {
  try {
    return new OpenFile(await openFd(path, 'r'));
  } catch (err) {
    if (err instanceof Error && 'code' in err && err.code === 'ENOENT') {
      throw new Fault('not_found', 'the file is not there any more', { cause: err });
    }
    throw err;
  }
}

/** Writes status and headers; null when no bytes follow. */
function sendHead(
  req: IncomingMessage,
  res: ServerResponse,
  size: number,
  modified: Date | null,
): { start: number; end: number } | null {
  res.setHeader('Accept-Ranges', 'bytes');
  if (modified !== null) {
    res.setHeader('Last-Modified', modified.toUTCString());
    if (!isNewer(modified, req.headers['if-modified-since'])) {
      res.removeHeader('Content-Type');
      res.writeHead(304);
      return null;
    }
  }
  const range = isRangeValid(req, modified) ? parseRange(req.headers.range, size) : 'whole';
  if (range === 'outside') {
    res.setHeader('Content-Range', `bytes */${String(size)}`);
    res.setHeader('Content-Length', 0);
    res.writeHead(416);
    return null;
  }
  const bounds = range === 'whole' ? { start: 0, end: size - 1 } : range;
  if (range !== 'whole') {
    res.setHeader('Content-Range', `bytes ${String(bounds.start)}-${String(bounds.end)}/${String(size)}`);
  }
  res.setHeader('Content-Length', bounds.end - bounds.start + 1);
  res.writeHead(range === 'whole' ? 200 : 206);
  return req.method === 'HEAD' || bounds.end < bounds.start ? null : bounds;
}

function isNewer(modified: Date, header: string | undefined): boolean {
  const since = header === undefined ? Number.NaN : Date.parse(header);
  return Number.isNaN(since) || Math.floor(modified.getTime() / 1000) > Math.floor(since / 1000);
}

/** `If-Range` holds a date here, since files have no entity tag. */
function isRangeValid(req: IncomingMessage, modified: Date | null): boolean {
  const header = req.headers['if-range'];
  if (header === undefined) return true;
  return typeof header === 'string' && modified !== null && !isNewer(modified, header);
}

/** A file that became shorter meanwhile ends the connection: the length was promised. */
async function copyRange(
  res: ServerResponse,
  file: OpenFile,
  range: { start: number; end: number },
): Promise<void> {
  const source = file.stream(range);
  try {
    await pipeline(source, res, { end: false });
  } catch (err) {
    res.destroy();
    // The client went away: nobody is left to be told.
    if (err instanceof Error && 'code' in err && err.code === 'ERR_STREAM_PREMATURE_CLOSE') return;
    throw err;
  }
  if (source.bytesRead !== range.end - range.start + 1) res.destroy();
}
