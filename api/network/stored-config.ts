/** What is kept of a network's configuration beside what its owner wrote. Pure. */
import { Fault } from '../../process/fault.ts';
import type { StringMap } from '../db/rows.ts';

/** An empty value is no value. */
export function withoutEmpty(config: StringMap): Record<string, string> {
  return Object.fromEntries(Object.entries(config).filter(([, value]) => value !== ''));
}

/** volatile.* is ours and is shown to nobody. */
export function visible(config: StringMap): Record<string, string> {
  return Object.fromEntries(Object.entries(config).filter(([key]) => !key.startsWith('volatile.')));
}

export function volatileOf(config: StringMap): Record<string, string> {
  return Object.fromEntries(Object.entries(config).filter(([key]) => key.startsWith('volatile.')));
}

export function rejectVolatile(config: StringMap): void {
  const key = Object.keys(config).find((name) => name.startsWith('volatile.'));
  if (key !== undefined) throw new Fault('bad_request', `network key "${key}" cannot be set`);
}
