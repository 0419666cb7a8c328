/** Filters, limits, isolation and routes of nics, with guests that try to break them. Needs root. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { openNative } from '../../native/index.ts';
import { SILENT } from '../../process/log.ts';
import { isFault } from '../../process/fault.ts';
import { Events } from '../../api/events/events.ts';
import { openNetworks } from '../../api/network/networks.ts';
import type { NetworkParts } from '../../api/network/parts.ts';
import type { BridgedNic, NetworkAdmin, Networks } from '../../api/network/types.ts';
import { runTool } from '../../api/tools.ts';
import { memoryDatabase } from '../support/fake-tables.ts';
import { Guest } from '../support/network-guests.ts';

const PID = String(process.pid % 100_000);
const BRIDGE = `swnic${PID}`;
const GATEWAY = '10.251.33.1';
const who = { username: 'root', protocol: 'unix', address: '@' } as const;
const state = mkdtempSync(join(tmpdir(), 'slipway-nics-'));
execFileSync('chmod', ['0711', state]);

let spawned: string[] = [];
const native = openNative();
const parts: NetworkParts = {
  db: memoryDatabase(),
  native,
  paths: { state, networks: join(state, 'networks') },
  log: SILENT,
  events: new Events(),
  warnings: { raise: () => Promise.resolve(), resolve: () => Promise.resolve() },
  runTool: (program, args, options) => {
    spawned.push(program);
    return runTool(program, args, options);
  },
  ovsConnection: () => 'unix:/nothing/listens/here',
  users: () => [],
  reservations: () => [],
};

let networks: Networks & NetworkAdmin;
const guests: Guest[] = [];

function nicOf(name: string, mac: string, config: Record<string, string>): BridgedNic {
  const hostName = `sx${name}${PID}`;
  const network = { type: 'nic', network: BRIDGE };
  return {
    project: 'default',
    instance: name,
    device: 'eth0',
    network: BRIDGE,
    parent: BRIDGE,
    hostName,
    hwaddr: mac,
    config: { ...network, ...config },
  };
}

function attach(nic: BridgedNic): Guest {
  const guest = new Guest(`slipway-${nic.instance}-${String(process.pid)}`, nic.hostName, nic.hwaddr, BRIDGE);
  guests.push(guest);
  return guest;
}

async function start(nic: BridgedNic): Promise<Guest> {
  await networks.plug(nic);
  const guest = attach(nic);
  await networks.plugged(nic);
  return guest;
}

/** The rules of one nic; the table is shared with other daemons of the host. */
function rules(hostName: string): string {
  try {
    return execFileSync('nft', ['list', 'chain', 'bridge', 'slipway', `nic.${hostName}`], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  } catch {
    return '';
  }
}

function notes(): string[] {
  return readdirSync(join(state, 'networks', '.nics'));
}

before(async () => {
  networks = await openNetworks(parts);
  const config = { 'ipv4.address': `${GATEWAY}/24`, 'ipv6.address': 'fd42:251:33::1/64' };
  await networks.create({ name: BRIDGE, config }, who);
});

after(async () => {
  for (const guest of guests) guest.remove();
  await networks.remove(BRIDGE, who);
  rmSync(state, { recursive: true, force: true });
});

test('plugging a plain nic runs no program and leaves no note', async () => {
  const nic = nicOf('plain', '00:16:3e:bb:00:01', {});
  spawned = [];
  await networks.plug(nic);
  attach(nic);
  await networks.plugged(nic);
  await networks.unplug(nic);
  assert.deepEqual(spawned, []);
  assert.deepEqual(notes(), []);
  assert.equal(rules(nic.hostName), '');
});

test('a filtered nic gets its lease and works, but not with another address or MAC', async () => {
  const nic = nicOf('filt', '00:16:3e:bb:00:02', {
    'security.mac_filtering': 'true',
    'security.ipv4_filtering': 'true',
    'security.ipv6_filtering': 'true',
  });
  const guest = await start(nic);
  const lease = guest.lease();
  const ping = (...args: string[]): boolean => guest.works('busybox', 'ping', '-c', '1', '-W', '1', ...args);
  assert.ok(ping(GATEWAY), 'with its own address');

  const forged = '10.251.33.199';
  guest.run('ip', 'addr', 'add', `${forged}/24`, 'dev', 'eth0');
  assert.ok(!ping('-I', forged, GATEWAY), 'with a forged IPv4 address');
  assert.ok(
    !guest.works('busybox', 'arping', '-c', '1', '-w', '1', '-I', 'eth0', '-s', forged, GATEWAY),
    'forged ARP',
  );
  guest.run('ip', '-6', 'addr', 'add', 'fd42:251:33::bad/64', 'dev', 'eth0', 'nodad');
  assert.ok(
    !guest.works('busybox', 'ping6', '-c', '1', '-W', '1', '-I', 'fd42:251:33::bad', 'fd42:251:33::1'),
    'with a forged IPv6 address',
  );
  assert.ok(ping('-I', lease['ip'] ?? '', GATEWAY));

  guest.run('ip', 'link', 'set', 'eth0', 'address', '00:16:3e:bb:ff:ff');
  assert.ok(!ping('-I', lease['ip'] ?? '', GATEWAY), 'with a forged MAC');
  guest.run('ip', 'link', 'set', 'eth0', 'address', nic.hwaddr);
  assert.ok(ping('-I', lease['ip'] ?? '', GATEWAY));

  await networks.plug({ ...nic, config: { type: 'nic', network: BRIDGE } });
  assert.ok(ping('-I', forged, GATEWAY), 'the filter was taken away live');
  assert.deepEqual(notes(), []);
});

test('the notes of filters outlive the daemon, and a nic whose link is gone is cleaned up', async () => {
  const kept = nicOf('kept', '00:16:3e:bb:00:03', { 'security.mac_filtering': 'true' });
  await start(kept);
  const gone = nicOf('gone', '00:16:3e:bb:00:04', { 'security.mac_filtering': 'true' });
  await networks.plug(gone);
  assert.deepEqual(notes().sort(), [gone.hostName, kept.hostName].sort());
  networks = await openNetworks(parts);
  assert.deepEqual(notes(), [kept.hostName]);
  assert.equal(rules(gone.hostName), '');
  assert.ok(rules(kept.hostName).includes('ether saddr'));
  await networks.unplug(kept);
  assert.deepEqual(notes(), []);
  assert.equal(rules(kept.hostName), '');
});

test('limits are in the kernel while they are set', async () => {
  const nic = nicOf('limit', '00:16:3e:bb:00:05', { 'limits.ingress': '10Mbit', 'limits.egress': '20Mbit' });
  await start(nic);
  const classes = (): string =>
    execFileSync('tc', ['class', 'show', 'dev', nic.hostName], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  assert.match(classes(), /htb 1:10 .*rate 10Mbit/);
  assert.match(rules(nic.hostName), /limit rate over 2500000 bytes\/second/);

  const other = { ...nic, config: { type: 'nic', network: BRIDGE, 'limits.max': '5Mbit' } };
  await networks.plug(other);
  await networks.plugged(other);
  assert.match(classes(), /rate 5Mbit/);
  assert.match(rules(nic.hostName), /limit rate over 625000 bytes\/second/);

  const none = { ...nic, config: { type: 'nic', network: BRIDGE } };
  await networks.plug(none);
  await networks.plugged(none);
  assert.equal(classes(), '');
  assert.equal(rules(nic.hostName), '');
});

test('what a guest sends over a link of its own is limited as well', async () => {
  const config = { type: 'nic', nictype: 'p2p', 'limits.egress': '20Mbit' };
  const nic = { ...nicOf('p2p', '00:16:3e:bb:00:21', {}), network: null, parent: '', config };
  execFileSync('ip', ['link', 'add', nic.hostName, 'type', 'veth', 'peer', 'name', `${nic.hostName}x`]);
  const chain = (): string => {
    const args = ['list', 'chain', 'netdev', 'slipway', `nic.${nic.hostName}`];
    const ran = spawnSync('nft', args, { encoding: 'utf8' });
    return ran.status === 0 ? ran.stdout : '';
  };
  try {
    await networks.plug(nic);
    await networks.plugged(nic);
    assert.match(chain(), /ingress device "?sx.*limit rate over 2500000 bytes\/second/s);
    const faster = { ...nic, config: { ...config, 'limits.egress': '40Mbit' } };
    await networks.plug(faster);
    await networks.plugged(faster);
    assert.match(chain(), /5000000/);
    const free = { ...nic, config: { type: 'nic', nictype: 'p2p' } };
    await networks.plug(free);
    await networks.plugged(free);
    assert.equal(chain(), '');
    assert.deepEqual(notes(), []);
    await networks.plugged(nic);
  } finally {
    execFileSync('ip', ['link', 'delete', nic.hostName]);
  }
  await networks.unplug(nic);
  assert.equal(chain(), '');
  assert.deepEqual(notes(), []);
});

test('isolated ports do not reach each other but reach the host', async () => {
  const on = { 'security.port_isolation': 'true' };
  const one = await start(nicOf('iso1', '00:16:3e:bb:00:06', on));
  const two = await start(nicOf('iso2', '00:16:3e:bb:00:07', on));
  one.lease();
  const address = two.lease()['ip'] ?? '';
  assert.ok(one.works('busybox', 'ping', '-c', '1', '-W', '1', GATEWAY));
  assert.ok(!one.works('busybox', 'ping', '-c', '1', '-W', '1', address));
});

test('routes to a nic appear with it and go with it', async () => {
  const nic = nicOf('route', '00:16:3e:bb:00:08', {
    'ipv4.routes': '198.51.100.8/29, 203.0.113.0/28',
    'ipv6.routes': 'fd42:251:99::/64',
  });
  const routes = (family: string): string =>
    execFileSync('ip', [family, 'route', 'show', 'dev', BRIDGE], { encoding: 'utf8' });
  await start(nic);
  assert.match(routes('-4'), /198\.51\.100\.8\/29/);
  assert.match(routes('-6'), /fd42:251:99::\/64/);
  const fewer = { ...nic, config: { type: 'nic', network: BRIDGE, 'ipv4.routes': '203.0.113.0/28' } };
  await networks.plug(fewer);
  await networks.plugged(fewer);
  assert.ok(!routes('-4').includes('198.51.100.8/29'));
  await networks.unplug(fewer);
  assert.ok(!routes('-4').includes('203.0.113.0/28'));
  assert.deepEqual(notes(), []);
});

test('a vlan works where the bridge can filter, and is a clear refusal where it cannot', async () => {
  const nic = nicOf('vlan', '00:16:3e:bb:00:09', { vlan: '7' });
  const canFilter = existsSync(`/sys/class/net/${BRIDGE}/bridge/vlan_filtering`);
  await networks.plug(nic);
  attach(nic);
  if (canFilter) {
    await networks.plugged(nic);
    assert.match(
      execFileSync('bridge', ['vlan', 'show', 'dev', nic.hostName], { encoding: 'utf8' }),
      /\b7 PVID/,
    );
  } else {
    await assert.rejects(
      networks.plugged(nic),
      (err) => isFault(err, 'bad_request') && err.message.includes('vlan'),
    );
  }
  await networks.unplug(nic);
  assert.deepEqual(notes(), []);
});

test('a bridge is made for its first nic and goes with its last, unless it holds something else', async () => {
  const parent = `brq${PID}`;
  const port = (name: string, mac: string): BridgedNic => ({
    ...nicOf(name, mac, {}),
    network: null,
    parent,
    config: { type: 'nic', nictype: 'bridged', parent, 'parent.create': 'true' },
  });
  const isThere = (): boolean => existsSync(`/sys/class/net/${parent}/bridge`);
  const first = port('brq1', '00:16:3e:bb:00:11');
  const second = port('brq2', '00:16:3e:bb:00:12');
  await networks.unplug(first);
  await Promise.all([networks.plug(first), networks.plug(second)]);
  assert.ok(isThere());
  for (const nic of [first, second])
    guests.push(new Guest(`slipway-${nic.instance}-${PID}`, nic.hostName, nic.hwaddr, parent));
  const [one, two] = guests.slice(-2);
  one?.run('ip', 'addr', 'add', '10.251.34.1/24', 'dev', 'eth0');
  two?.run('ip', 'addr', 'add', '10.251.34.2/24', 'dev', 'eth0');
  assert.ok(one?.works('busybox', 'ping', '-c', '1', '-W', '2', '10.251.34.2'));
  // The daemon was started again meanwhile.
  networks = await openNetworks(parts);
  await networks.unplug(first);
  assert.ok(isThere(), 'the other nic is still in it');
  execFileSync('ip', ['link', 'delete', first.hostName]);
  await networks.unplug(second);
  assert.ok(!isThere());

  execFileSync('ip', ['link', 'add', parent, 'type', 'bridge']);
  await networks.plug(first);
  await networks.unplug(first);
  assert.ok(isThere(), 'somebody else made it');
  execFileSync('ip', ['link', 'delete', parent]);
  execFileSync('ip', ['link', 'add', parent, 'type', 'veth', 'peer', 'name', `${parent}x`]);
  await assert.rejects(networks.plug(first), (err) => isFault(err, 'conflict'));
  execFileSync('ip', ['link', 'delete', parent]);
});

test('a host name that is none never reaches a rule file', async () => {
  const nic = { ...nicOf('bad', '00:16:3e:bb:00:0a', {}), hostName: 'x"; drop' };
  await assert.rejects(networks.plug(nic), (err) => isFault(err, 'bad_request'));
});
