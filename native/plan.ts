/** The wire form of plans and of file requests (see native/README.md). */
import { Fault } from '../process/fault.ts';
import type { Step } from './steps.ts';

const LIMIT = 16 * 1024 * 1024;

/** One list: its length, then its strings, each ended by NUL. */
export function encodeList(list: readonly string[]): string {
  for (const value of list) {
    if (value.includes('\0')) throw new Fault('bad_request', 'a NUL byte is in a path or argument');
  }
  return [String(list.length), ...list, ''].join('\0');
}

/** A whole plan, ended by an empty list. Fault bad_request for a NUL byte, too_large beyond 16 MiB. */
export function encodePlan(plan: readonly Step[]): Buffer {
  const bytes = Buffer.from(`${plan.map(encodeList).join('')}0\0`);
  if (bytes.length >= LIMIT) throw new Fault('too_large', 'a plan for the helper is larger than 16 MiB');
  return bytes;
}
