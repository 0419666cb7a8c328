/**
 * Instances as the API shows them.
 *
 * An instance is rendered once per version of its row, of its profiles and of
 * its status, so that a list of hundreds is a matter of copying references.
 */
import type { InstanceWire } from '../wire/instances.ts';
import type { Expanded, InstanceStateWire, InstanceStatus } from './types.ts';
import { STATUS_CODES } from './types.ts';

export type InstanceFullWire = InstanceWire & {
  readonly backups: null;
  readonly state: InstanceStateWire;
  readonly snapshots: null;
};

/** Keyed by the store's expanded rows, which live as long as their version does. */
const rendered = new WeakMap<Expanded, InstanceWire>();

/** An Instance. The same object again while nothing has changed; nobody may write to it. */
export function renderInstance(expanded: Expanded, status: InstanceStatus): InstanceWire {
  const known = rendered.get(expanded);
  if (known?.status === status) return known;
  const fresh = render(expanded, status);
  rendered.set(expanded, fresh);
  return fresh;
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

function render({ row, config, devices }: Expanded, status: InstanceStatus): InstanceWire {
  return {
    architecture: row.architecture,
    config: row.config,
    devices: row.devices,
    ephemeral: row.ephemeral,
    profiles: [...row.profiles],
    stateful: row.stateful,
    description: row.description,
    created_at: row.createdAt,
    expanded_config: config,
    expanded_devices: devices,
    name: row.name,
    status,
    status_code: STATUS_CODES[status],
    last_used_at: row.lastUsedAt,
    location: 'none',
    type: 'container',
    project: row.project,
  };
}
