/** A store and a runtime that know the tiny containers of a test, and nothing else. */
import { Fault } from '../../process/fault.ts';
import type { InstanceRow, StringMap } from '../../api/db/rows.ts';
import type { InstanceStore, Runtime } from '../../api/instances/types.ts';
import { instanceRow } from './rows.ts';
import type { TinyContainer } from './tiny-container.ts';

export function rowOf(name: string, config: StringMap = {}): InstanceRow {
  return instanceRow({ id: `id-of-${name}`, name, profiles: [], config });
}

function refuse(): never {
  throw new Fault('not_implemented', 'not part of this test');
}

export interface KnownContainer {
  readonly name: string;
  readonly initPid: number;
}

/** `config` may be changed by the test; it is read at each call. */
export function instanceParts(
  containers: readonly (TinyContainer | KnownContainer)[],
  configs: Readonly<Record<string, StringMap>> = {},
): { readonly store: InstanceStore; readonly runtime: Runtime } {
  const rows = (): InstanceRow[] => containers.map((each) => rowOf(each.name, configs[each.name]));
  const find = (matches: (row: InstanceRow) => boolean): InstanceRow => {
    const row = rows().find(matches);
    if (row === undefined) throw new Fault('not_found', 'Instance not found');
    return row;
  };
  const pidOf = (id: string): number => containers.find((each) => id === `id-of-${each.name}`)?.initPid ?? 0;
  const store: InstanceStore = {
    byName: (project, name) => find((row) => row.project === project && row.name === name),
    byId: (id) => find((row) => row.id === id),
    has: (project, name) => rows().some((row) => row.project === project && row.name === name),
    list: () => rows(),
    insert: refuse,
    change: refuse,
    setConfig: refuse,
    remove: refuse,
    expand: (row) => ({ row, config: row.config, devices: row.devices }),
  };
  const runtime: Runtime = {
    status: (id) => (pidOf(id) > 0 ? 'Running' : 'Stopped'),
    initPid: pidOf,
    start: refuse,
    stop: refuse,
    restart: refuse,
    freeze: refuse,
    unfreeze: refuse,
    apply: refuse,
    validate: refuse,
    state: refuse,
    states: refuse,
    forget: refuse,
  };
  return { store, runtime };
}
