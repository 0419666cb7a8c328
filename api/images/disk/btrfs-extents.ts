/** Compressed extents of btrfs: zlib, lzo, zstd. */
import { constants, inflateSync } from 'node:zlib';
import { unlzo } from './lzo.ts';
import { damaged } from './source.ts';
import { unzstd } from './zstd.ts';

/** Exactly `plainBytes`; what was not stored is zeros. */
export function unpackExtent(
  compression: number,
  packed: Buffer,
  plainBytes: number,
  sectorBytes: number,
): Buffer {
  if (plainBytes > 2 ** 20) throw damaged('a compressed extent is impossibly large');
  const plain = unpack(compression, packed, plainBytes, sectorBytes);
  return plain.length >= plainBytes ? plain : Buffer.concat([plain, Buffer.alloc(plainBytes - plain.length)]);
}

function unpack(compression: number, packed: Buffer, plainBytes: number, sectorBytes: number): Buffer {
  switch (compression) {
    case 0:
      return packed;
    case 1:
      return zlib(packed, plainBytes);
    case 2:
      return lzoSegments(packed, plainBytes, sectorBytes);
    case 3:
      return unzstd(packed, plainBytes);
    default:
      throw damaged(`compression ${String(compression)} of an extent is not known`);
  }
}

function zlib(packed: Buffer, plainBytes: number): Buffer {
  try {
    return inflateSync(packed, { maxOutputLength: plainBytes, finishFlush: constants.Z_SYNC_FLUSH });
  } catch (err) {
    throw damaged(`a compressed extent cannot be read (${String(err).slice(0, 80)})`);
  }
}

/** Each segment unpacks to one sector; no length of a segment straddles two sectors. */
function lzoSegments(packed: Buffer, plainBytes: number, sectorBytes: number): Buffer {
  const total = Math.min(packed.readUInt32LE(0), packed.length);
  const parts: Buffer[] = [];
  let bytes = 0;
  let at = 4;
  while (at + 4 <= total && bytes < plainBytes) {
    const left = sectorBytes - (at % sectorBytes);
    if (left < 4) {
      at += left;
      continue;
    }
    const length = packed.readUInt32LE(at);
    at += 4;
    if (at + length > packed.length) throw damaged('a compressed extent is cut short');
    const part = unlzo(packed.subarray(at, at + length), sectorBytes);
    parts.push(part);
    bytes += part.length;
    at += length;
  }
  return Buffer.concat(parts);
}
