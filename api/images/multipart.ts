/**
 * A streaming reader of multipart/form-data: one part after the other, each
 * as an async iterable, nothing kept but a boundary's length.
 *
 * Own code because split images are the only multipart bodies there are, they
 * come in a fixed order, and their size has no limit.
 */
import { Fault } from '../../process/fault.ts';

export interface Part {
  readonly name: string;
  readonly filename: string;
  /** Must be read to its end before the next part is asked for. */
  readonly content: AsyncIterable<Buffer>;
}

const MAX_HEADER_BYTES = 16 * 1024;
const CRLF2 = Buffer.from('\r\n\r\n');

/** The boundary of a Content-Type; null when it is not multipart/form-data. */
export function boundaryOf(contentType: string | undefined): string | null {
  if (contentType === undefined || !/^multipart\/form-data\s*;/i.test(contentType)) return null;
  const match = /;\s*boundary=(?:"([^"]{1,70})"|([^\s";]{1,70}))/i.exec(contentType);
  const boundary = match?.[1] ?? match?.[2];
  if (boundary === undefined) throw new Fault('bad_request', 'the multipart body has no boundary');
  return boundary;
}

class Source {
  private readonly chunks: AsyncIterator<Buffer>;
  buffer: Buffer = Buffer.alloc(0);
  ended = false;

  constructor(stream: AsyncIterable<Buffer>) {
    this.chunks = stream[Symbol.asyncIterator]();
  }

  /** Appends the next chunk. False at the end. */
  async more(): Promise<boolean> {
    const next = await this.chunks.next();
    if (next.done === true) {
      this.ended = true;
      return false;
    }
    this.buffer = this.buffer.length === 0 ? next.value : Buffer.concat([this.buffer, next.value]);
    return true;
  }

  take(length: number): Buffer {
    const taken = this.buffer.subarray(0, length);
    this.buffer = this.buffer.subarray(length);
    return taken;
  }
}

function cutShort(): Fault {
  return new Fault('bad_request', 'the multipart body is cut short');
}

/** The parts of a body. Faults bad_request when it is malformed or cut short. */
export async function* readParts(stream: AsyncIterable<Buffer>, boundary: string): AsyncGenerator<Part> {
  const source = new Source(stream);
  const delimiter = Buffer.from(`\r\n--${boundary}`);
  // The first delimiter has no line end before it; give it one.
  source.buffer = Buffer.from('\r\n');
  let before = 0;
  for await (const chunk of contentUntil(source, delimiter)) {
    before += chunk.length;
    if (before > MAX_HEADER_BYTES) throw new Fault('bad_request', 'the multipart body has no first boundary');
  }
  while (!(await isLast(source))) {
    const head = await headers(source);
    const state = { finished: false };
    yield { ...head, content: marked(contentUntil(source, delimiter), state) };
    if (!state.finished) throw new Error(`part ${head.name} was not read to its end`);
  }
}

async function* marked(content: AsyncIterable<Buffer>, state: { finished: boolean }): AsyncGenerator<Buffer> {
  yield* content;
  state.finished = true;
}

/** What comes before the delimiter, which is taken away too. */
async function* contentUntil(source: Source, delimiter: Buffer): AsyncGenerator<Buffer> {
  for (;;) {
    const at = source.buffer.indexOf(delimiter);
    if (at >= 0) {
      if (at > 0) yield source.take(at);
      source.take(delimiter.length);
      return;
    }
    // The delimiter may begin in the last bytes.
    const sure = source.buffer.length - delimiter.length + 1;
    if (sure > 0) yield source.take(sure);
    if (!(await source.more())) throw cutShort();
  }
}

/** After a delimiter: `--` ends the body, a line end begins a part. */
async function isLast(source: Source): Promise<boolean> {
  while (source.buffer.length < 2) if (!(await source.more())) throw cutShort();
  const mark = source.take(2).toString('latin1');
  if (mark === '--') return true;
  if (mark !== '\r\n') throw new Fault('bad_request', 'the multipart body has a malformed boundary');
  return false;
}

async function headers(source: Source): Promise<{ name: string; filename: string }> {
  // A part without headers begins with the empty line at once.
  source.buffer = Buffer.concat([Buffer.from('\r\n'), source.buffer]);
  let at = source.buffer.indexOf(CRLF2);
  while (at < 0) {
    if (source.buffer.length > MAX_HEADER_BYTES)
      throw new Fault('bad_request', 'the multipart body has too long headers');
    if (!(await source.more())) throw cutShort();
    at = source.buffer.indexOf(CRLF2);
  }
  const text = source.take(at + CRLF2.length).toString('utf8');
  const disposition = /^content-disposition:[^\r\n]*$/im.exec(text)?.[0] ?? '';
  return { name: parameter(disposition, 'name'), filename: parameter(disposition, 'filename') };
}

function parameter(disposition: string, key: string): string {
  const match = new RegExp(`;\\s*${key}=(?:"((?:[^"\\\\]|\\\\.)*)"|([^\\s;]+))`, 'i').exec(disposition);
  return (match?.[1]?.replace(/\\(.)/g, '$1') ?? match?.[2] ?? '').slice(0, 255);
}
