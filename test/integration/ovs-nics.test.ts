/** Nics in a real Open vSwitch whose frames pass through a program, as Neutron's ports are. Needs root. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { LxdClient, type Caller } from '../../driver/lxd/client.ts';
import { PrivateOvs } from '../support/private-ovs.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

const PID = String(process.pid % 100_000);
const BRIDGE = `bro${PID}`;
const OTHER = `brx${PID}`;
const SUBNET = '10.249.7';
const DEADLINE_MS = 20_000;
const caller: Caller = { requestId: 'req-0755' };

let ovs: PrivateOvs;
let daemon: SlipwayDaemon;
let client: LxdClient;
/** Undone in reverse, as far as the set-up came. */
const undo: (() => unknown)[] = [];

type Device = Record<string, string>;

function nic(port: string, more: Device = {}): Device {
  return {
    type: 'nic',
    nictype: 'ovs',
    parent: BRIDGE,
    name: 'eth0',
    host_name: `tap${port}`,
    hwaddr: `fa:16:3e:07:55:${port.slice(-2)}`,
    mtu: '1400',
    'ovs.external_ids.iface-id': `port-${port}`,
    'ovs.external_ids.attached-mac': `fa:16:3e:07:55:${port.slice(-2)}`,
    ...more,
  };
}

async function create(name: string, device: Device, start = true): Promise<void> {
  await daemon.done('POST', '/1.0/instances', {
    name,
    profiles: [],
    devices: { root: { type: 'disk', path: '/', pool: 'default' }, net: device },
    source: { type: 'image', alias: 'tiny' },
    start,
  });
}

async function until<T>(what: string, look: () => Promise<T | null> | T | null): Promise<T> {
  const end = Date.now() + DEADLINE_MS;
  for (;;) {
    const found = await look();
    if (found !== null) return found;
    if (Date.now() > end) throw new Error(`${what}: not within ${String(DEADLINE_MS / 1000)} s`);
    await sleep(50);
  }
}

/** The address that the guest got by DHCP, through the bridge. */
function address(name: string, card = 'eth0'): Promise<string> {
  return until(`${name} gets a lease`, async () => {
    const state = await daemon.done('GET', `/1.0/instances/${name}/state`);
    const all = (state.network?.[card]?.addresses ?? []) as { family: string; address: string }[];
    return all.find((one) => one.family === 'inet')?.address ?? null;
  });
}

async function isAt(name: string, status: string): Promise<true | null> {
  return (await daemon.done('GET', `/1.0/instances/${name}`)).status === status ? true : null;
}

async function sh(name: string, script: string): Promise<string> {
  const ran = await client.exec(caller, name, ['sh', '-c', script]);
  assert.equal(ran.exitCode, 0, `${script}: ${ran.stderr}`);
  return ran.stdout.trim();
}

const gone = (port: string): Promise<true> =>
  until(`${port} leaves ${BRIDGE}`, () => (ovs.ports(BRIDGE).includes(port) ? null : true));

before(async () => {
  ovs = await PrivateOvs.start(`slipway-ovs-${PID}`);
  undo.push(() => ovs.stop());
  ovs.addBridge(BRIDGE);
  ovs.addBridge(OTHER);
  ovs.inside('ip', 'addr', 'add', `${SUBNET}.1/24`, 'dev', BRIDGE);
  const dnsmasq = spawn(
    'nsenter',
    [
      `--net=/run/netns/${ovs.namespace}`,
      'dnsmasq',
      '--keep-in-foreground',
      '--conf-file=/dev/null',
      '--port=0',
      '--no-ping',
      '--bind-interfaces',
      `--interface=${BRIDGE}`,
      `--dhcp-range=${SUBNET}.10,${SUBNET}.99,1h`,
      `--dhcp-leasefile=${join(ovs.dir, 'leases')}`,
      '--pid-file=',
    ],
    { stdio: 'ignore' },
  );
  undo.push(async () => {
    const ended = once(dnsmasq, 'exit');
    dnsmasq.kill();
    await ended;
  });
  daemon = await SlipwayDaemon.start({ runner: ovs.runner, faults: true });
  undo.push(() => daemon.destroy());
  await daemon.done('POST', '/1.0/storage-pools', { name: 'default', driver: 'overlay' });
  await daemon.importImage(await buildTinyImage(daemon.dir), 'tiny');
  await daemon.done('PATCH', '/1.0', { config: { 'network.ovs.connection': `unix:${ovs.socket}` } });
  client = new LxdClient(daemon.socket);
  undo.push(() => {
    client.close();
  });
});

after(async () => {
  const failed: unknown[] = [];
  for (const step of undo.reverse()) {
    try {
      await step();
    } catch (err) {
      failed.push(err);
    }
  }
  assert.deepEqual(failed, []);
});

test('guests on one bridge get leases and move megabytes over TCP', async () => {
  await create('ovs-one', nic('aaaa01'));
  await create('ovs-two', nic('aaaa02'));
  assert.deepEqual(ovs.ports(BRIDGE), ['tapaaaa01', 'tapaaaa02']);
  assert.equal(ovs.externalId('tapaaaa01', 'iface-id'), 'port-aaaa01');
  assert.equal(ovs.externalId('tapaaaa01', 'attached-mac'), 'fa:16:3e:07:55:01');
  assert.equal(ovs.externalId('tapaaaa01', 'slipway-instance'), 'ovs-one');
  const to = await address('ovs-one');
  await address('ovs-two');
  const digest = await sh(
    'ovs-one',
    'mkdir -p /srv && dd if=/dev/urandom of=/srv/data bs=1M count=8 2>/dev/null && ' +
      'busybox httpd -p 80 -h /srv && md5sum </srv/data',
  );
  assert.equal(await sh('ovs-two', `timeout 20 busybox wget -q -O - http://${to}/data | md5sum`), digest);
  const facts = await sh('ovs-one', 'cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu');
  assert.equal(facts, 'fa:16:3e:07:55:01\n1400');
  assert.match(ovs.inside('ip', 'link', 'show', 'tapaaaa01'), /mtu 1400/);
});

test('the port goes with a stop, comes with a start and goes with the instance', async () => {
  await daemon.done('PUT', '/1.0/instances/ovs-two/state', { action: 'stop', force: true });
  assert.deepEqual(ovs.ports(BRIDGE), ['tapaaaa01']);
  await daemon.done('PUT', '/1.0/instances/ovs-two/state', { action: 'start' });
  assert.deepEqual(ovs.ports(BRIDGE), ['tapaaaa01', 'tapaaaa02']);
  await daemon.done('PUT', '/1.0/instances/ovs-two/state', { action: 'restart', force: true });
  assert.deepEqual(ovs.ports(BRIDGE), ['tapaaaa01', 'tapaaaa02']);
  // Its own shell may be the first to go.
  await client.exec(caller, 'ovs-two', ['poweroff']);
  await gone('tapaaaa02');
  await until('it is off', () => isAt('ovs-two', 'Stopped'));
  await daemon.done('DELETE', '/1.0/instances/ovs-two');
});

test('a nic is plugged into a running guest and out of it, and the guest reaches others over TCP', async () => {
  await create('ovs-hot', { type: 'none' });
  const devices = { root: { type: 'disk', path: '/', pool: 'default' } };
  const base = { architecture: 'x86_64', config: {}, profiles: [], ephemeral: false };
  await daemon.done('PUT', '/1.0/instances/ovs-hot', {
    ...base,
    devices: { ...devices, net: nic('aaaa03') },
  });
  assert.ok(ovs.ports(BRIDGE).includes('tapaaaa03'));
  await sh('ovs-hot', `ip addr add ${SUBNET}.203/24 dev eth0`);
  const to = await address('ovs-one');
  const size = await sh('ovs-hot', `timeout 20 busybox wget -q -O - http://${to}/data | wc -c`);
  assert.equal(size, String(8 * 1024 * 1024));
  assert.match(ovs.inside('ip', 'link', 'show', 'tapaaaa03'), /mtu 1400/);
  await daemon.done('PUT', '/1.0/instances/ovs-hot', { ...base, devices });
  assert.ok(!ovs.ports(BRIDGE).includes('tapaaaa03'));
  await daemon.done('PUT', '/1.0/instances/ovs-hot', {
    ...base,
    devices: { ...devices, net: nic('aaaa03', { parent: OTHER }) },
  });
  assert.deepEqual(ovs.ports(OTHER), ['tapaaaa03']);
  await daemon.done('PUT', '/1.0/instances/ovs-hot/state', { action: 'stop', force: true });
  await daemon.done('DELETE', '/1.0/instances/ovs-hot');
  assert.deepEqual(ovs.ports(OTHER), []);
});

test('ports outlive the daemon; those whose guest ended meanwhile are taken away', async () => {
  await create('ovs-lost', nic('aaaa04'));
  const state = await daemon.done('GET', '/1.0/instances/ovs-lost/state');
  await daemon.kill('SIGKILL');
  assert.deepEqual(ovs.ports(BRIDGE), ['tapaaaa01', 'tapaaaa04']);
  process.kill(state.pid, 'SIGKILL');
  // What an instance that nobody remembers has left.
  const ids = ['external_ids:slipway-instance=x', `external_ids:slipway-state="${daemon.state}"`];
  ovs.vsctl('--no-wait', 'add-port', BRIDGE, 'taporphan', '--', 'set', 'interface', 'taporphan', ...ids);
  ovs.vsctl('--no-wait', 'add-port', BRIDGE, 'tapforeign');
  await daemon.restart();
  await gone('tapaaaa04');
  await gone('taporphan');
  assert.deepEqual(ovs.ports(BRIDGE), ['tapaaaa01', 'tapforeign']);
  ovs.vsctl('--no-wait', 'del-port', 'tapforeign');
  assert.equal((await daemon.done('GET', '/1.0/instances/ovs-one')).status, 'Running');
  await daemon.done('DELETE', '/1.0/instances/ovs-lost');
});

test('a stop does not depend on Open vSwitch, and a start says what is missing', async () => {
  await create('ovs-away', nic('aaaa05'));
  await ovs.stopDatabase();
  await daemon.done('PUT', '/1.0/instances/ovs-away/state', { action: 'stop', force: true });
  await assert.rejects(
    daemon.done('PUT', '/1.0/instances/ovs-away/state', { action: 'start' }),
    /Open vSwitch: connect to unix:.*is ovsdb-server running/,
  );
  await ovs.startDatabase();
  assert.ok(ovs.ports(BRIDGE).includes('tapaaaa05'));
  // The daemon tidies up when it starts, and now and then.
  await daemon.kill('SIGTERM');
  await daemon.restart();
  await gone('tapaaaa05');
  await daemon.done('PUT', '/1.0/instances/ovs-away/state', { action: 'start' });
  assert.ok(ovs.ports(BRIDGE).includes('tapaaaa05'));
  await daemon.done('PUT', '/1.0/instances/ovs-away/state', { action: 'stop', force: true });
  await daemon.done('DELETE', '/1.0/instances/ovs-away');
});

test("a bridge that is not there, and a port that is another bridge's, are refused and leave nothing", async () => {
  await assert.rejects(
    create('ovs-none', nic('aaaa06', { parent: 'br-nowhere' })),
    /no OVS bridge "br-nowhere"/,
  );
  ovs.vsctl('--no-wait', 'add-port', OTHER, 'tapaaaa07');
  await assert.rejects(
    create('ovs-taken', nic('aaaa07')),
    new RegExp(`bridge "${OTHER}" has a port of that name`),
  );
  assert.deepEqual(ovs.ports(OTHER), ['tapaaaa07']);
  ovs.vsctl('--no-wait', 'del-port', 'tapaaaa07');
  for (const name of ['ovs-none', 'ovs-taken']) {
    assert.equal((await daemon.done('GET', `/1.0/instances/${name}`)).status, 'Stopped');
    await daemon.done('DELETE', `/1.0/instances/${name}`);
  }
});

test('a limit towards the guest is a queue that goes with the port, one the other way is refused', async () => {
  await create('ovs-slow', nic('aaaa08', { 'limits.ingress': '8Mbit' }));
  const classes = (): string => ovs.inside('tc', 'class', 'show', 'dev', 'tapaaaa08');
  const queues = (): string => ovs.vsctl('--columns=other_config', '--bare', 'list', 'qos');
  await until('the queue', () => (/htb .*rate 8Mbit/.test(classes()) ? true : null));
  await daemon.done('PATCH', '/1.0/instances/ovs-slow', {
    devices: { net: nic('aaaa08', { 'limits.ingress': '4Mbit' }) },
  });
  await until('another queue', () => (/htb .*rate 4Mbit/.test(classes()) ? true : null));
  assert.equal(queues(), 'max-rate=4000000');
  await daemon.done('PUT', '/1.0/instances/ovs-slow/state', { action: 'stop', force: true });
  assert.equal(queues(), '');
  await daemon.done('PATCH', '/1.0/instances/ovs-slow', {
    devices: { net: nic('aaaa08', { 'limits.max': '8Mbit' }) },
  });
  await assert.rejects(
    daemon.done('PUT', '/1.0/instances/ovs-slow/state', { action: 'start' }),
    /limits.egress cannot be kept on OVS bridge/,
  );
  await daemon.done('DELETE', '/1.0/instances/ovs-slow');
});

test('a port that vanished from the database is put back', async () => {
  ovs.vsctl('del-port', 'tapaaaa01');
  await daemon.kill('SIGTERM');
  await daemon.restart();
  await until('the port is back', () => (ovs.ports(BRIDGE).includes('tapaaaa01') ? true : null));
  assert.equal(ovs.externalId('tapaaaa01', 'iface-id'), 'port-aaaa01');
});

test('a start that a crash cut off before the port was made is finished with it', async () => {
  await create('ovs-cut', nic('aaaa09'), false);
  for (const point of ['start.container-up', 'start.monitor-watched']) {
    await daemon.arm(point);
    await daemon.request('PUT', '/1.0/instances/ovs-cut/state', { action: 'start' });
    assert.equal(await daemon.ended(), 'SIGKILL');
    assert.ok(!ovs.ports(BRIDGE).includes('tapaaaa09'), point);
    await daemon.restart();
    assert.equal((await daemon.done('GET', '/1.0/instances/ovs-cut')).status, 'Running', point);
    assert.ok(ovs.ports(BRIDGE).includes('tapaaaa09'), point);
    await daemon.done('PUT', '/1.0/instances/ovs-cut/state', { action: 'stop', force: true });
  }
  await daemon.done('DELETE', '/1.0/instances/ovs-cut');
});

test('after a reboot of the host an instance that ran has its port again', async () => {
  const before = await daemon.done('GET', '/1.0/instances/ovs-one/state');
  await daemon.kill('SIGKILL');
  process.kill(before.pid, 'SIGKILL');
  await until('the link goes', () => (ovs.inside('ip', '-br', 'link').includes('tapaaaa01') ? null : true));
  await writeFile(join(daemon.state, 'boot_id'), 'of an earlier boot');
  await daemon.restart();
  await until('it runs', () => isAt('ovs-one', 'Running'));
  assert.deepEqual(ovs.ports(BRIDGE), ['tapaaaa01']);
  assert.equal(ovs.externalId('tapaaaa01', 'iface-id'), 'port-aaaa01');
  const facts = await sh('ovs-one', 'cat /sys/class/net/eth0/address');
  assert.equal(facts, 'fa:16:3e:07:55:01');
  await address('ovs-one');
});
