/** Lists of instances, from memory. */
import { Fault } from '../../process/fault.ts';
import type { InstanceRow } from '../db/rows.ts';
import { parseFilter } from '../filter.ts';
import { instanceUrl } from './instance-url.ts';
import type { InstanceParts } from './parts.ts';
import { renderFull, renderInstance } from './render.ts';
import type { InstanceFullWire } from './render.ts';
import type { InstanceWire } from '../wire/instances.ts';

export interface ListQuery {
  /** null for the instances of all projects that `mayList` lets pass. */
  readonly project: string | null;
  readonly mayList: (project: string) => boolean;
  readonly recursion: number;
  /** Text of `filter=`; '' for none. */
  readonly filter: string;
  /** `instance-type=`; '' for any. */
  readonly type: string;
  /** Prefix of the URLs: `/1.0/instances` or an alias. */
  readonly path: string;
}

export type ListParts = Pick<InstanceParts, 'store' | 'runtime'>;

/** URLs, instances, or full instances, by project and name. Fault bad_request for a bad filter or type. */
export async function listInstances(
  parts: ListParts,
  query: ListQuery,
): Promise<readonly (string | InstanceWire | InstanceFullWire)[]> {
  const matches = parseFilter(query.filter);
  const rows = rowsOf(parts, query);
  const isFiltered = query.filter.trim() !== '';
  if (query.recursion >= 2) {
    const full = await fullInstances(parts, rows);
    return isFiltered ? full.filter(matches) : full;
  }
  if (query.recursion === 0 && !isFiltered) return rows.map((row) => instanceUrl(row, '', query.path));
  const plain = rows.map((row) => renderInstance(parts.store.expand(row), parts.runtime.status(row.id)));
  const found = isFiltered ? plain.filter(matches) : plain;
  return query.recursion === 0 ? found.map((one) => instanceUrl(one, '', query.path)) : found;
}

/** One instance with its state. */
export async function fullInstance(parts: ListParts, row: InstanceRow): Promise<InstanceFullWire> {
  const state = await parts.runtime.state(row.id);
  return renderFull(parts.store.expand(row), parts.runtime.status(row.id), state);
}

async function fullInstances(parts: ListParts, rows: readonly InstanceRow[]): Promise<InstanceFullWire[]> {
  const states = await parts.runtime.states(rows.map((row) => row.id));
  return rows.flatMap((row, index) => {
    const state = states[index];
    // One that went away while the states were read is not listed.
    if (state === undefined) return [];
    return [renderFull(parts.store.expand(row), parts.runtime.status(row.id), state)];
  });
}

function rowsOf(parts: ListParts, query: ListQuery): InstanceRow[] {
  if (query.type === 'virtual-machine') return [];
  if (query.type !== '' && query.type !== 'container') {
    throw new Fault(
      'bad_request',
      `Invalid instance type ${JSON.stringify(query.type.slice(0, 40))}; write container`,
    );
  }
  const rows = query.project === null ? parts.store.list() : parts.store.list(query.project);
  return rows.filter((row) => row.phase !== 'creating' && query.mayList(row.project));
}
