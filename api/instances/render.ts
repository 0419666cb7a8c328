/**
 * Instances as the API shows them.
 *
 * What does not depend on the power state is rendered once per version of a
 * row (and of its profiles) and kept with it, so that a list of hundreds is a
 * matter of copying references.
 */
import type { InstanceWire } from '../wire/instances.ts';
import type { Expanded, InstanceStateWire, InstanceStatus } from './types.ts';
import { STATUS_CODES } from './types.ts';

type Still = Omit<InstanceWire, 'status' | 'status_code'>;

export type InstanceFullWire = InstanceWire & {
  readonly backups: null;
  readonly state: InstanceStateWire;
  readonly snapshots: null;
};

/** Keyed by the store's expanded rows, which live as long as their version does. */
const stills = new WeakMap<Expanded, Still>();

/** An Instance. */
export function renderInstance(expanded: Expanded, status: InstanceStatus): InstanceWire {
  return { ...stillOf(expanded), status, status_code: STATUS_CODES[status] };
}

/** An InstanceFull. There are no snapshots and backups yet: null, as LXD sends for none. */
export function renderFull(
  expanded: Expanded,
  status: InstanceStatus,
  state: InstanceStateWire,
): InstanceFullWire {
  return { ...renderInstance(expanded, status), backups: null, state, snapshots: null };
}

/** What the entity tag is made of: all that a PUT replaces, and the profiles' share of it. */
export function taggedPart(expanded: Expanded): unknown {
  const { row, config, devices } = expanded;
  return [
    row.architecture,
    row.config,
    row.devices,
    row.ephemeral,
    row.description,
    row.profiles,
    config,
    devices,
  ];
}

function stillOf(expanded: Expanded): Still {
  const known = stills.get(expanded);
  if (known !== undefined) return known;
  const { row } = expanded;
  const still: Still = {
    architecture: row.architecture,
    config: row.config,
    devices: row.devices,
    ephemeral: row.ephemeral,
    profiles: [...row.profiles],
    stateful: row.stateful,
    description: row.description,
    created_at: row.createdAt,
    expanded_config: expanded.config,
    expanded_devices: expanded.devices,
    name: row.name,
    last_used_at: row.lastUsedAt,
    location: 'none',
    type: 'container',
    project: row.project,
  };
  stills.set(expanded, still);
  return still;
}
