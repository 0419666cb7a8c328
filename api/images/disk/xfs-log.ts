/** Whether the log of an xfs file system ends with an unmount: if not, what it holds is missing elsewhere. */
import { SECTOR_BYTES, refused } from './source.ts';
import type { Source } from './source.ts';

const MAGIC = 0xfeedbabe;
const CHUNK_BYTES = 1024 * 1024;
const MAX_LOG_BYTES = 2 ** 31;
/** Flag of the operation that only an unmount writes, and its place behind the record's header. */
const UNMOUNT = 0x20;
const FLAGS_AT = 9;

/** Fault bad_request for a log that would have to be played back. */
export function assertUnmounted(source: Source, at: number, length: number): void {
  if (length > MAX_LOG_BYTES) throw refused('its xfs log is impossibly large');
  let newest = -1n;
  let place = -1;
  for (let from = 0; from < length; from += CHUNK_BYTES) {
    const chunk = source.read(at + from, Math.min(CHUNK_BYTES, length - from));
    for (let i = 0; i + SECTOR_BYTES <= chunk.length; i += SECTOR_BYTES) {
      if (chunk.readUInt32BE(i) !== MAGIC) continue;
      const lsn = chunk.readBigUInt64BE(i + 16);
      if (lsn <= newest) continue;
      newest = lsn;
      place = from + i;
    }
  }
  if (place < 0) return;
  const first = source.read(at + ((place + SECTOR_BYTES) % length), SECTOR_BYTES);
  if ((first.readUInt8(FLAGS_AT) & UNMOUNT) !== 0) return;
  throw refused(
    'its xfs was in use when the image was taken; mount and unmount it once, or run xfs_repair -L',
  );
}
