/** Networks and host interfaces as the API shows them. */
import type { NetInterface } from '../../native/types.ts';
import type { NetworkRow } from '../db/rows.ts';
import type { NetworkWire } from '../wire/networks.ts';
import { interfaceType } from './host-interfaces.ts';
import { visible } from './stored-config.ts';

export function renderNetwork(row: NetworkRow, users: readonly string[], isBroken: boolean): NetworkWire {
  return {
    config: visible(row.config),
    description: row.description,
    name: row.name,
    type: row.type,
    used_by: [...users],
    managed: true,
    status: isBroken ? 'Unavailable' : row.status,
    locations: ['none'],
  };
}

/** An interface that is not ours: no status, and null where LXD has nothing to tell. */
export async function renderInterface(one: NetInterface, users: readonly string[]): Promise<NetworkWire> {
  return {
    config: {},
    description: '',
    name: one.name,
    type: await interfaceType(one),
    used_by: users.length === 0 ? null : [...users],
    managed: false,
    status: '',
    locations: null,
  };
}

/** The fields LXD makes the entity tag of a network from. */
export function etagParts(network: NetworkWire): unknown {
  const { name, managed, type, description, config } = network;
  return [name, managed, type, description, config];
}
