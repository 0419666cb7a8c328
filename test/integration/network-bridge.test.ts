/** Managed bridges on the real host: links, dnsmasq, nftables, guests that ask for leases. Needs root. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { openNative } from '../../native/index.ts';
import { SILENT } from '../../process/log.ts';
import { isFault } from '../../process/fault.ts';
import { Events } from '../../api/events/events.ts';
import type { ApiEvent, Requestor } from '../../api/events/events.ts';
import { openNetworks } from '../../api/network/networks.ts';
import type { NetworkParts, Reservation } from '../../api/network/parts.ts';
import type { BridgedNic, NetworkAdmin, Networks } from '../../api/network/types.ts';
import { runTool } from '../../api/tools.ts';
import { memoryDatabase } from '../support/fake-tables.ts';
import { Guest } from '../support/network-guests.ts';

const BRIDGE = `swnet${String(process.pid % 100_000)}`;
const who: Requestor = { username: 'root', protocol: 'unix', address: '@' };

const state = mkdtempSync(join(tmpdir(), 'slipway-networks-'));
execFileSync('chmod', ['0711', state]);
const db = memoryDatabase();
const events = new Events();
const told: ApiEvent[] = [];
events.subscribe((event) => told.push(event));
let users: string[] = [];
let reserved: Reservation[] = [];
const warned: string[] = [];

const native = openNative();
const parts: NetworkParts = {
  db,
  native,
  paths: { state, networks: join(state, 'networks') },
  log: SILENT,
  events,
  warnings: {
    raise: (warning) => {
      warned.push(`${warning.type}: ${warning.message}`);
      return Promise.resolve();
    },
    resolve: () => Promise.resolve(),
  },
  runTool,
  ovsConnection: () => 'unix:/nothing/listens/here',
  users: () => users,
  reservations: () => reserved,
};

let networks: Networks & NetworkAdmin;
const guests: Guest[] = [];

function guest(name: string, mac: string): { guest: Guest; nic: BridgedNic } {
  const hostName = `sw${name}${String(process.pid % 100_000)}`;
  const made = new Guest(`slipway-${name}-${String(process.pid)}`, hostName, mac, BRIDGE);
  guests.push(made);
  return {
    guest: made,
    nic: {
      project: 'default',
      instance: name,
      device: 'eth0',
      network: BRIDGE,
      parent: BRIDGE,
      hostName,
      hwaddr: mac,
      config: { type: 'nic', network: BRIDGE },
    },
  };
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 15_000; Date.now() < deadline; await sleep(50))
    if (await condition()) return;
  assert.fail(`not in time: ${what}`);
}

/** The bridge's chains; the table is shared with other daemons of the host. */
function chains(bridge = BRIDGE): string {
  const list = (name: string): string => {
    try {
      return execFileSync('nft', ['list', 'chain', 'inet', 'slipway', `${name}.${bridge}`], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      });
    } catch {
      return '';
    }
  };
  return ['pstrt', 'fwd', 'in', 'out'].map(list).join('');
}

function dnsmasqPid(): number {
  return Number(readFileSync(join(state, 'networks', BRIDGE, 'dnsmasq.pid'), 'utf8'));
}

async function gateway(family: 4 | 6): Promise<string> {
  const config = (await networks.get(BRIDGE)).config;
  return (config[`ipv${String(family)}.address`] ?? '').replace(/\/.*/, '');
}

before(async () => {
  networks = await openNetworks(parts);
});

after(async () => {
  for (const one of guests) one.remove();
  users = [];
  if ((await networks.list()).some((one) => one.managed && one.name === BRIDGE))
    await networks.remove(BRIDGE, who);
  rmSync(state, { recursive: true, force: true });
});

test('a bridge made without addresses gets free ones, NAT, DHCP and a fixed MAC', async () => {
  await networks.create({ name: BRIDGE }, who);
  const view = await networks.get(BRIDGE);
  assert.equal(view.type, 'bridge');
  assert.equal(view.status, 'Created');
  assert.deepEqual(view.locations, ['none']);
  assert.match(view.config['ipv4.address'] ?? '', /^10\.\d+\.\d+\.1\/24$/);
  assert.match(view.config['ipv6.address'] ?? '', /^fd42:.*::1\/64$/);
  assert.equal(view.config['ipv4.nat'], 'true');
  assert.equal(view.config['ipv6.nat'], 'true');
  assert.ok(!Object.keys(view.config).some((key) => key.startsWith('volatile.')));

  const link = await networks.state(BRIDGE);
  assert.match(link.hwaddr, /^00:16:3e:/);
  assert.equal(link.state, 'up');
  assert.equal(link.bridge?.stp, false);
  assert.equal(link.bridge.forward_delay, 1500);
  assert.ok(
    link.addresses.some((one) => one.address === (view.config['ipv4.address'] ?? '').replace('/24', '')),
  );
  assert.ok(chains().includes(`chain in.${BRIDGE}`));
  assert.match(chains(), /ip saddr 10\.\S+ ip daddr != 10\.\S+ masquerade/);
  assert.equal(readFileSync('/proc/sys/net/ipv4/ip_forward', 'utf8').trim(), '1');
  assert.deepEqual(warned, []);
  const last = told.at(-1);
  assert.equal((last?.metadata as { action?: string } | undefined)?.action, 'network-created'); // shape of lifecycle()
  assert.equal(JSON.stringify(last).includes(`/1.0/networks/${BRIDGE}`), true);
});

test('guests get leases and are known by the name of their instance, whatever they call themselves', async () => {
  const one = guest('na', '00:16:3e:aa:00:01');
  const two = guest('nb', '00:16:3e:aa:00:02');
  await networks.plug(one.nic);
  await networks.plug(two.nic);
  await networks.plugged(one.nic);
  const server = await gateway(4);

  const first = one.guest.lease();
  assert.equal(first['router'], server);
  assert.equal(first['dns'], server);
  assert.equal(first['domain'], 'lxd');
  const second = two.guest.lease('-x', 'hostname:another-name');
  assert.notEqual(first['ip'], second['ip']);

  assert.deepEqual(two.guest.resolve('na.lxd', server), [first['ip']]);
  assert.ok(one.guest.resolve('nb', server).includes(second['ip'] ?? '?'));
  assert.deepEqual(one.guest.resolve('_gateway.lxd', server).sort(), [server, await gateway(6)].sort());
  assert.ok(one.guest.works('busybox', 'ping', '-c', '1', '-W', '2', second['ip'] ?? ''));

  const leases = await networks.leases(BRIDGE, 'default');
  assert.deepEqual(leases[0], {
    hostname: `${BRIDGE}.gw`,
    hwaddr: '',
    address: server,
    type: 'gateway',
    location: '',
  });
  assert.deepEqual(
    leases.find((lease) => lease.address === first['ip']),
    { hostname: 'na', hwaddr: '00:16:3e:aa:00:01', address: first['ip'], type: 'dynamic', location: 'none' },
  );
  assert.deepEqual(
    (await networks.state(BRIDGE)).bridge?.upper_devices.sort(),
    [one.nic.hostName, two.nic.hostName].sort(),
  );
});

test('guests make themselves an IPv6 address from the announcements and reach the host by it', async () => {
  const one = guests[0];
  assert.ok(one);
  const prefix = (await gateway(6)).replace(/::1$/, '');
  await until('an address by SLAAC', () =>
    one.run('ip', '-6', 'addr', 'show', 'dev', 'eth0', '-tentative').includes(prefix),
  );
  assert.ok(one.works('busybox', 'ping6', '-c', '1', '-W', '2', await gateway(6)));
});

test('a guest behind the bridge reaches other networks of the host by NAT', () => {
  const outside = new Guest(
    `slipway-out-${String(process.pid)}`,
    `swout${String(process.pid % 100_000)}`,
    '00:16:3e:aa:00:0f',
    BRIDGE,
  );
  guests.push(outside);
  execFileSync('ip', ['link', 'set', outside.hostName, 'nomaster']);
  execFileSync('ip', ['addr', 'add', '198.51.100.1/30', 'dev', outside.hostName]);
  outside.run('ip', 'addr', 'add', '198.51.100.2/30', 'dev', 'eth0');
  // It has no route to the bridge's subnet: only a translated packet finds its way back.
  assert.ok(guests[0]?.works('busybox', 'ping', '-c', '1', '-W', '2', '198.51.100.2'));
});

test('a start with nothing new writes nothing; a changed address reaches dnsmasq', async () => {
  const one = guests[0];
  assert.ok(one);
  const file = join(state, 'networks', BRIDGE, 'dnsmasq.hosts', 'na.eth0');
  const nic: BridgedNic = {
    project: 'default',
    instance: 'na',
    device: 'eth0',
    network: BRIDGE,
    parent: BRIDGE,
    hostName: one.hostName,
    hwaddr: one.hwaddr,
    config: { type: 'nic', network: BRIDGE },
  };
  const before = readFileSync(file, 'utf8');
  assert.equal(before, '00:16:3e:aa:00:01,na\n');
  rmSync(file);
  await networks.plug(nic);
  assert.equal(existsSync(file), false, 'the same entry was written again');

  const fixed = (await gateway(4)).replace(/\.1$/, '.77');
  const config = { ...nic.config, 'ipv4.address': fixed };
  networks.validateNic(config, nic);
  await networks.plug({ ...nic, config });
  one.run('ip', 'addr', 'flush', 'dev', 'eth0', 'scope', 'global');
  await until('the static lease', () => one.lease()['ip'] === fixed);
  reserved = [
    { project: 'default', instance: 'na', device: 'eth0', hwaddr: one.hwaddr, ipv4: fixed, ipv6: null },
    {
      project: 'default',
      instance: 'nb',
      device: 'eth0',
      hwaddr: guests[1]?.hwaddr ?? '',
      ipv4: null,
      ipv6: null,
    },
  ];
  const leases = await networks.leases(BRIDGE, 'default');
  assert.equal(leases.find((lease) => lease.address === fixed)?.type, 'static');
  assert.throws(
    () => {
      networks.validateNic(config, { ...nic, instance: 'other' });
    },
    (err) => isFault(err, 'bad_request') && err.message.includes('already used'),
  );
});

test('dnsmasq and guests outlive the daemon; the next start adopts them', async () => {
  const pid = dnsmasqPid();
  const link = execFileSync('cat', [`/sys/class/net/${BRIDGE}/ifindex`], { encoding: 'utf8' });
  networks = await openNetworks(parts);
  assert.equal(dnsmasqPid(), pid);
  assert.equal(execFileSync('cat', [`/sys/class/net/${BRIDGE}/ifindex`], { encoding: 'utf8' }), link);
  assert.ok(existsSync(`/sys/class/net/${BRIDGE}/brif/${guests[1]?.hostName ?? ''}`));
  assert.equal(guests[1]?.resolve('na.lxd', await gateway(4)).length, 1);
});

test('a dnsmasq that died is started again, with the leases it had', async () => {
  const pid = dnsmasqPid();
  process.kill(pid, 'SIGKILL');
  await until('the end of dnsmasq', () => native.waitGone(pid, 1000));
  await networks.tend();
  assert.notEqual(dnsmasqPid(), pid);
  assert.notEqual(guests[1]?.resolve('nb.lxd', await gateway(4)).length, 0);
});

test('a live change keeps the bridge and its ports and replaces what changed', async () => {
  const index = readFileSync(`/sys/class/net/${BRIDGE}/ifindex`, 'utf8');
  const address = (await networks.get(BRIDGE)).config['ipv4.address'] ?? '';
  const pid = dnsmasqPid();
  await networks.replace(
    BRIDGE,
    {
      config: { 'ipv4.address': address, 'ipv4.nat': 'false', 'bridge.mtu': '1400' },
      description: 'changed',
    },
    who,
  );
  const view = await networks.get(BRIDGE);
  assert.deepEqual(view.config, { 'ipv4.address': address, 'ipv4.nat': 'false', 'bridge.mtu': '1400' });
  assert.equal(view.description, 'changed');
  assert.equal(readFileSync(`/sys/class/net/${BRIDGE}/ifindex`, 'utf8'), index);
  const link = await networks.state(BRIDGE);
  assert.equal(link.mtu, 1400);
  assert.ok(!link.addresses.some((one) => one.address.startsWith('fd42')));
  assert.equal(link.bridge?.upper_devices.length, 2);
  assert.ok(!chains().includes('masquerade'));
  assert.notEqual(dnsmasqPid(), pid);
  await networks.merge(BRIDGE, { config: { 'ipv4.nat': 'true', 'bridge.mtu': '' } }, who);
  assert.deepEqual((await networks.get(BRIDGE)).config, { 'ipv4.address': address, 'ipv4.nat': 'true' });
  assert.equal((await networks.get(BRIDGE)).description, 'changed');
  assert.ok(chains().includes('masquerade'));
});

test('a change that fails leaves everything as it was', async () => {
  const before = await networks.get(BRIDGE);
  const config = { ...before.config, 'raw.dnsmasq': 'no-such-option-at-all\n' };
  await assert.rejects(networks.replace(BRIDGE, { config, description: '' }, who), (err) => isFault(err));
  assert.deepEqual(await networks.get(BRIDGE), before);
  assert.ok(existsSync(`/proc/${String(dnsmasqPid())}`));
});

test('a forgotten instance leaves no name and gives its lease back', async () => {
  const two = guests[1];
  assert.ok(two);
  const server = await gateway(4);
  assert.notEqual(two.resolve('nb.lxd', server).length, 0);
  await networks.forget('default', 'nb');
  reserved = reserved.filter((nic) => nic.instance !== 'nb');
  assert.deepEqual(readdirSync(join(state, 'networks', BRIDGE, 'dnsmasq.hosts')), ['na.eth0']);
  await until('the end of the lease', async () =>
    (await networks.leases(BRIDGE, 'default')).every((lease) => lease.hwaddr !== two.hwaddr),
  );
  assert.ok(!two.works('busybox', 'nslookup', 'nb.lxd', server));
});

test('a network in use is neither deleted nor renamed', async () => {
  users = ['/1.0/profiles/default'];
  assert.deepEqual((await networks.get(BRIDGE)).used_by, users);
  for (const attempt of [() => networks.remove(BRIDGE, who), () => networks.rename(BRIDGE, 'swother', who)]) {
    await assert.rejects(
      attempt,
      (err) => isFault(err, 'bad_request') && err.message === 'The network is currently in use',
    );
  }
  users = [];
});

test('names that are taken, in the table or on the host, are refused', async () => {
  await assert.rejects(networks.create({ name: BRIDGE }, who), (err) => isFault(err, 'already_exists'));
  await assert.rejects(networks.create({ name: 'lo' }, who), (err) => isFault(err, 'bad_request'));
  await assert.rejects(networks.replace('lo', { config: {} }, who), (err) => isFault(err, 'not_found'));
  await assert.rejects(networks.state('nothing-here'), (err) => isFault(err, 'not_found'));
});

test('interfaces of the host are listed beside the networks', async () => {
  const all = await networks.list();
  const lo = all.find((one) => one.name === 'lo');
  assert.deepEqual(lo, {
    config: {},
    description: '',
    name: 'lo',
    type: 'loopback',
    used_by: null,
    managed: false,
    status: '',
    locations: null,
  });
  assert.equal(all.filter((one) => one.name === BRIDGE).length, 1);
  assert.equal((await networks.state('lo')).type, 'loopback');
});

test('a renamed network keeps its configuration under the new name', async () => {
  const to = `swren${String(process.pid % 100_000)}`;
  const before = await networks.get(BRIDGE);
  await networks.rename(BRIDGE, to, who);
  assert.equal(existsSync(`/sys/class/net/${BRIDGE}`), false);
  assert.deepEqual((await networks.get(to)).config, before.config);
  assert.equal(chains(), '');
  await networks.rename(to, BRIDGE, who);
  assert.ok(existsSync(`/sys/class/net/${BRIDGE}/bridge`));
});

test('a deleted network leaves no link, rule, process or file behind', async () => {
  const pid = dnsmasqPid();
  await networks.remove(BRIDGE, who);
  assert.equal(existsSync(`/sys/class/net/${BRIDGE}`), false);
  assert.ok(await native.waitGone(pid, 2000));
  assert.equal(chains(), '');
  assert.deepEqual(readdirSync(join(state, 'networks')), ['.nics']);
  assert.deepEqual(await db.tables.networks.all(), []);
  await assert.rejects(networks.get(BRIDGE), (err) => isFault(err, 'not_found'));
});

test('what a crash left half made is gone after the next start', async () => {
  const config = { 'ipv4.address': '10.251.17.1/24', 'ipv6.address': 'none' };
  await networks.create({ name: BRIDGE, config }, who);
  const pid = dnsmasqPid();
  await db.tables.networks.update({ name: BRIDGE }, { status: 'Pending' });
  networks = await openNetworks(parts);
  assert.equal(networks.managed(BRIDGE), null);
  assert.equal(existsSync(`/sys/class/net/${BRIDGE}`), false);
  assert.ok(await native.waitGone(pid, 2000));

  await networks.create({ name: BRIDGE, config }, who);
  await db.tables.networks.remove({ name: BRIDGE });
  networks = await openNetworks(parts);
  assert.equal(existsSync(`/sys/class/net/${BRIDGE}`), false);
  assert.deepEqual(readdirSync(join(state, 'networks')), ['.nics']);
});
