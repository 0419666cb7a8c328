/** Entity tags. LXD hashes the writable part of an object; clients only echo the value, so any stable hash will do. */
import { createHash } from 'node:crypto';
import { Fault } from '../process/fault.ts';

/** Hex SHA-256 of the value's JSON with the keys of every object sorted. */
export function etagOf(value: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify([value], withSortedKeys))
    .digest('hex');
}

/** Fault etag_mismatch when an If-Match header is there and is not the tag of `value`. */
export function checkIfMatch(header: string | undefined, value: unknown): void {
  if (header === undefined || header === '') return;
  const given = header.replace(/^"|"$/g, '');
  const current = etagOf(value);
  if (given !== current) {
    throw new Fault('etag_mismatch', `ETag doesn't match: ${given.slice(0, 80)} vs ${current}`);
  }
}

function withSortedKeys(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const entries: [string, unknown][] = Object.entries(value);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}
