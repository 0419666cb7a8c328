/**
 * Ports of Open vSwitch bridges: the host's ends of nics of type `ovs`.
 *
 * Only the database is changed; ovs-vswitchd follows it. Every port that is
 * made or taken over here carries the names of its instance and of this
 * daemon's state folder, and only such ports are ever removed.
 */
import { Fault } from '../../process/fault.ts';
import type { StringMap } from '../db/rows.ts';
import type { Operation, Outcome, Ovsdb } from './ovsdb.ts';
import type { Row } from './ovsdb-values.ts';
import { map, mapOf, rowsOf, set, textOf, uuid, uuidOf, uuidsOf } from './ovsdb-values.ts';

const INSTANCE = 'slipway-instance';
const STATE = 'slipway-state';

export interface OvsPort {
  /** Of the interface on the host, and so of the port. */
  readonly name: string;
  readonly bridge: string;
  /** Name of the container. */
  readonly instance: string;
  readonly externalIds: StringMap;
  /** null: as the link is. */
  readonly mtu: number | null;
  /** Bits per second towards the guest; 0 for no limit. */
  readonly ingressBits: number;
  /** Bits per second that the guest sends; 0 for no limit. */
  readonly egressBits: number;
}

export interface OvsBridge {
  /**
   * True when frames pass through a program that hands checksums on as they
   * are: then a guest must not leave them to hardware.
   */
  readonly needsChecksums: boolean;
  /** True when what a guest sends can be limited: the program takes frames before the kernel would drop them. */
  readonly limitsEgress: boolean;
}

interface Found {
  readonly bridge: Row;
  readonly port: Row | null;
  /** The bridge that has the port; null when there is no port. */
  readonly owner: Row | null;
  readonly face: Row | null;
  /** The queue of the port, when it is one of ours. */
  readonly queue: string | null;
}

export class OvsPorts {
  private readonly ovsdb: Ovsdb;
  private readonly state: string;

  /** @param state folder of this daemon's state, by which it knows its ports */
  constructor(ovsdb: Ovsdb, state: string) {
    this.ovsdb = ovsdb;
    this.state = state;
  }

  /** Faults: bad_request when there is no such bridge; those of the connection. */
  async bridge(name: string): Promise<OvsBridge> {
    const [bridges, switches] = await this.ovsdb.transact([
      select('Bridge', [['name', '==', name]], ['datapath_type']),
      select('Open_vSwitch', [], ['other_config']),
    ]);
    const [bridge] = rowsOf(bridges);
    if (bridge === undefined) throw noBridge(name);
    const config = mapOf(rowsOf(switches)[0]?.['other_config']);
    // With this option frames carry a note of what is left to be computed.
    const hasNotes = config['userspace-tso-enable'] === 'true';
    const isProgram = textOf(bridge['datapath_type']) === 'netdev';
    return { needsChecksums: isProgram && !hasNotes, limitsEgress: !isProgram };
  }

  /**
   * Puts an interface of the host into a bridge. A port of the name that is
   * there already is taken over; one of ours in another bridge is moved.
   * Faults as `bridge`; conflict for another's port in another bridge.
   */
  async add(port: OvsPort): Promise<void> {
    const found = await this.find(port);
    const ids = { ...port.externalIds, [INSTANCE]: port.instance, [STATE]: this.state };
    const here = found.owner !== null && idOf(found.owner) === idOf(found.bridge);
    const operations: Operation[] = [];
    if (found.port !== null && found.face !== null && here) {
      operations.push(...updates(found.face, port, ids), ...withoutQueue(found.port, found.queue));
    } else {
      if (found.port !== null && found.owner !== null) {
        this.mustBeOurs(port, found);
        operations.push(detach(found.owner, found.port), ...withoutQueue(found.port, found.queue));
      }
      operations.push(...inserts(found.bridge, port, ids));
    }
    operations.push(...this.queue(port));
    operations.push({ op: 'comment', comment: `slipway: nic of ${port.instance}` });
    await this.ovsdb.transact(operations);
  }

  /** Takes a port of ours away; harmless when it is gone, or another's. Faults of the connection. */
  async remove(name: string): Promise<void> {
    const [faces, ports, queues] = await this.ovsdb.transact([
      select('Interface', [['name', '==', name]], ['external_ids']),
      select('Port', [['name', '==', name]], ['_uuid', 'qos']),
      this.selectQueues(),
    ]);
    const [port] = rowsOf(ports);
    const [face] = rowsOf(faces);
    if (port === undefined || !this.isOurs(face)) return;
    const id = idOf(port);
    await this.ovsdb.transact([
      {
        op: 'mutate',
        table: 'Bridge',
        where: [['ports', 'includes', uuid(id)]],
        mutations: [['ports', 'delete', uuid(id)]],
      },
      ...withoutQueue(port, queueOf(port, queues)),
      { op: 'comment', comment: `slipway: ${name} has gone` },
    ]);
  }

  /** Names of the ports that this daemon made. Faults of the connection. */
  async ours(): Promise<string[]> {
    const [faces] = await this.ovsdb.transact([
      select('Interface', [['external_ids', 'includes', map({ [STATE]: this.state })]], ['name']),
    ]);
    return rowsOf(faces).map((face) => textOf(face['name']));
  }

  private async find(port: OvsPort): Promise<Found> {
    const [bridges, ports, faces, queues] = await this.ovsdb.transact([
      select('Bridge', [], ['_uuid', 'name', 'ports']),
      select('Port', [['name', '==', port.name]], ['_uuid', 'name', 'qos']),
      select('Interface', [['name', '==', port.name]], ['_uuid', 'external_ids']),
      this.selectQueues(),
    ]);
    const all = rowsOf(bridges);
    const bridge = all.find((one) => textOf(one['name']) === port.bridge);
    if (bridge === undefined) throw noBridge(port.bridge);
    const there = rowsOf(ports)[0] ?? null;
    const owner =
      there === null ? null : (all.find((one) => uuidsOf(one['ports']).includes(idOf(there))) ?? null);
    const queue = queueOf(there ?? undefined, queues);
    return { bridge, port: there, owner, face: rowsOf(faces)[0] ?? null, queue };
  }

  private mustBeOurs(port: OvsPort, found: Found): void {
    if (this.isOurs(found.face ?? undefined)) return;
    throw new Fault(
      'conflict',
      `put ${port.name} into OVS bridge "${port.bridge}": bridge "${textOf(found.owner?.['name'])}" has a port of that name`,
    );
  }

  /** Frames towards the guest wait in a queue of the link. */
  private queue(port: OvsPort): Operation[] {
    if (port.ingressBits === 0) return [];
    const row = {
      type: 'linux-htb',
      other_config: map({ 'max-rate': String(port.ingressBits) }),
      external_ids: map({ [INSTANCE]: port.instance, [STATE]: this.state }),
    };
    return [
      { op: 'insert', table: 'QoS', 'uuid-name': 'qos', row },
      {
        op: 'update',
        table: 'Port',
        where: [['name', '==', port.name]],
        row: { qos: ['named-uuid', 'qos'] },
      },
    ];
  }

  private selectQueues(): Operation {
    return select('QoS', [['external_ids', 'includes', map({ [STATE]: this.state })]], ['_uuid']);
  }

  private isOurs(face: Row | undefined): boolean {
    return mapOf(face?.['external_ids'])[STATE] === this.state;
  }
}

function select(table: string, where: readonly unknown[], columns: readonly string[]): Operation {
  return { op: 'select', table, where, columns };
}

function idOf(row: Row): string {
  return uuidOf(row['_uuid']);
}

function noBridge(name: string): Fault {
  return new Fault(
    'bad_request',
    `there is no OVS bridge "${name}" on this host; is its agent, or ovn-controller, running?`,
  );
}

function detach(bridge: Row, port: Row): Operation {
  return {
    op: 'mutate',
    table: 'Bridge',
    where: [['_uuid', '==', uuid(idOf(bridge))]],
    mutations: [['ports', 'delete', uuid(idOf(port))]],
  };
}

function updates(face: Row, port: OvsPort, ids: StringMap): Operation[] {
  const where = [['_uuid', '==', uuid(idOf(face))]];
  return [
    {
      op: 'mutate',
      table: 'Interface',
      where,
      mutations: [
        // An insert leaves the values of keys that are there.
        ['external_ids', 'delete', set(Object.keys(ids))],
        ['external_ids', 'insert', map(ids)],
      ],
    },
    { op: 'update', table: 'Interface', where, row: { mtu_request: port.mtu ?? set([]), ...policing(port) } },
  ];
}

function withoutQueue(port: Row, queue: string | null): Operation[] {
  if (queue === null) return [];
  return [
    { op: 'update', table: 'Port', where: [['_uuid', '==', uuid(idOf(port))]], row: { qos: set([]) } },
    { op: 'delete', table: 'QoS', where: [['_uuid', '==', uuid(queue)]] },
  ];
}

/** The queue of a port that is in a list of ours. */
function queueOf(port: Row | undefined, ours: Outcome | undefined): string | null {
  const known = rowsOf(ours).map(idOf);
  return uuidsOf(port?.['qos']).find((id) => known.includes(id)) ?? null;
}

/** Frames of the guest beyond the limit are dropped; kilobits are what the column counts in. */
function policing(port: OvsPort): Record<string, number> {
  const rate = Math.ceil(port.egressBits / 1000);
  // TCP needs room for about a second of bursts.
  return { ingress_policing_rate: rate, ingress_policing_burst: Math.ceil(rate * 0.8) };
}

function inserts(bridge: Row, port: OvsPort, ids: StringMap): Operation[] {
  return [
    {
      op: 'insert',
      table: 'Interface',
      'uuid-name': 'face',
      row: {
        name: port.name,
        external_ids: map(ids),
        ...(port.mtu === null ? {} : { mtu_request: port.mtu }),
        ...policing(port),
      },
    },
    {
      op: 'insert',
      table: 'Port',
      'uuid-name': 'port',
      row: { name: port.name, interfaces: ['named-uuid', 'face'] },
    },
    {
      op: 'mutate',
      table: 'Bridge',
      where: [['_uuid', '==', uuid(idOf(bridge))]],
      mutations: [['ports', 'insert', ['named-uuid', 'port']]],
    },
  ];
}
