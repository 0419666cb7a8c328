/** The body of a message as it was before kombu packed it: option kombu_compression of a peer. */
import { unzipSync } from 'node:zlib';
import type { ConsumeMessage } from 'amqplib';
import { Fault } from '../../process/fault.ts';
import { isRecord } from './json.ts';

const HEADER = 'compression';
/** What kombu calls gzip is a zlib stream; both are read. */
const PACKED = 'application/x-gzip';
/** A small message must not become all of the memory there is. */
const MOST_BYTES = 128 * 2 ** 20;

/** Fault bad_request for a body that is packed in another way, or broken. */
export function bodyOf(message: Pick<ConsumeMessage, 'content' | 'properties'>): Buffer {
  const headers: unknown = message.properties.headers;
  const packed = isRecord(headers) ? headers[HEADER] : undefined;
  if (packed === undefined || packed === null || packed === '') return message.content;
  if (packed !== PACKED) {
    throw new Fault(
      'bad_request',
      `read a message: it is packed as ${JSON.stringify(packed)}, which is not known here; ` +
        'leave kombu_compression unset in the cloud, or set it to gzip',
    );
  }
  try {
    return unzipSync(message.content, { maxOutputLength: MOST_BYTES });
  } catch (cause) {
    throw new Fault('bad_request', 'read a message: it cannot be unpacked', { cause });
  }
}
