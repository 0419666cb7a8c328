/** Servers of Nova as containers of a real daemon: their whole life, and what is left when a step fails. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import type { Vif } from '../../driver/cloud/vif.ts';
import { LxdClient, type Caller } from '../../driver/lxd/client.ts';
import { POWER, type Guests, type SpawnRequest } from '../../driver/lxd/guest-types.ts';
import { createGuests } from '../../driver/lxd/guests.ts';
import type { NovaInstance } from '../../driver/lxd/nova-instance.ts';
import { isNovaError } from '../../driver/rpc/nova-error.ts';
import { computeOptions, listeningLog, until } from '../support/messaging.ts';
import { novaInstance, novaVif } from '../support/nova-objects.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

const caller: Caller = { requestId: 'req-60e5' };
const log = listeningLog();
const TIMEOUT = { timeout: 120_000 };

let daemon: SlipwayDaemon;
let client: LxdClient;
let guests: Guests;
let fingerprint: string;
let made = 0;

before(async () => {
  daemon = await SlipwayDaemon.start({ faults: true });
  await daemon.done('POST', '/1.0/storage-pools', { name: 'default', driver: 'overlay' });
  fingerprint = await daemon.importImage(await buildTinyImage(daemon.dir), 'tiny');
  client = new LxdClient(daemon.socket);
  const options = computeOptions('[serial_console]\nenabled = true\nport_range = 23800:23820\n');
  guests = createGuests({ client, options, log: log.log });
});

after(async () => {
  await guests.close();
  client.close();
  await daemon.destroy();
});

/** Another server each time. */
function server(
  given: Readonly<Record<string, unknown>> = {},
  flavor: Readonly<Record<string, unknown>> = {},
): NovaInstance {
  made += 1;
  const uuid = `135877f5-8316-4b41-9393-${String(made).padStart(12, '0')}`;
  return novaInstance({ id: 0x6e0 + made, uuid, hostname: 'cap1', ...given }, flavor);
}

function nameOf(instance: NovaInstance): string {
  return `instance-${instance.id.toString(16).padStart(8, '0')}`;
}

function request(instance: NovaInstance, given: Partial<SpawnRequest> = {}): SpawnRequest {
  return { instance, fingerprint, vifs: [], drive: null, start: true, adminPassword: null, ...given };
}

/** A port that needs no other software: a link whose other end is on the host. */
function tap(devname: string, given: Partial<Vif> = {}): Vif {
  return novaVif({ type: 'tap', devname, ...given });
}

async function inside(instance: NovaInstance, ...command: readonly string[]): Promise<string> {
  const ran = await client.exec(caller, nameOf(instance), command);
  assert.equal(ran.exitCode, 0, ran.stderr);
  return ran.stdout;
}

const raises = (className: string) => (err: unknown) => isNovaError(err, className);

test('a server is made, found, renamed, measured and destroyed', TIMEOUT, async () => {
  const instance = server();
  const { uuid } = instance;
  await guests.spawn(caller, request(instance, { vifs: [tap('tapgr01')] }));
  assert.equal(await guests.power(caller, uuid), POWER.running);
  assert.deepEqual(await guests.list(caller), [{ uuid, name: nameOf(instance), power: POWER.running }]);
  assert.equal(await inside(instance, 'cat', '/sys/class/net/eth0/address'), 'fa:16:3e:8c:52:49\n');

  await guests.rename(caller, uuid, 'another');
  const found = await client.byUuid(caller, uuid);
  assert.equal(found?.description, 'another');
  assert.equal(found.config['boot.autostart'], 'false');

  const figures = await guests.diagnostics(caller, uuid);
  assert.ok(figures.uptimeS < 120 && figures.disks.every((disk) => disk.device !== ''));
  assert.equal(figures.memory.maximumMiB, 64);
  assert.ok((figures.cpus[0]?.timeNs ?? 0) > 0);
  assert.equal(figures.nics[0]?.mac, 'fa:16:3e:8c:52:49');

  await guests.destroy(caller, uuid);
  assert.equal(await guests.power(caller, uuid), POWER.noState);
  await guests.destroy(caller, uuid);
  assert.equal(await client.instance(caller, nameOf(instance)), null);
});

test("other people's instances are neither seen nor touched", TIMEOUT, async () => {
  const instance = server();
  const source = { type: 'image', fingerprint };
  await client.create(caller, { name: nameOf(instance), source });
  assert.deepEqual(await guests.list(caller), []);
  await assert.rejects(guests.spawn(caller, request(instance)), raises('InstanceDeployFailure'));
  await guests.destroy(caller, instance.uuid);
  assert.notEqual(await client.instance(caller, nameOf(instance)), null);
  await client.delete(caller, nameOf(instance));
});

test('power states are those Nova asked for', TIMEOUT, async () => {
  const instance = server();
  const { uuid } = instance;
  const power = () => guests.power(caller, uuid);
  await guests.spawn(caller, request(instance, { start: false }));
  assert.equal(await power(), POWER.shutdown);
  await guests.powerOn(caller, uuid, [tap('tapgr02')]);
  await guests.powerOn(caller, uuid, [tap('tapgr02')]);
  assert.equal(await power(), POWER.running);
  await guests.pause(caller, uuid);
  assert.equal(await power(), POWER.paused);
  await guests.unpause(caller, uuid);
  await guests.suspend(caller, uuid);
  assert.equal(await power(), POWER.suspended);
  await guests.resume(caller, uuid);
  assert.equal(await power(), POWER.running);
  await guests.pause(caller, uuid);
  assert.equal(await power(), POWER.paused);
  await guests.powerOff(caller, uuid, 20);
  assert.equal(await power(), POWER.shutdown);
  await guests.powerOff(caller, uuid, 20);
  await guests.resume(caller, uuid);
  assert.equal(await power(), POWER.running);
  await guests.destroy(caller, uuid);
  await assert.rejects(guests.powerOn(caller, uuid, []), raises('InstanceNotFound'));
});

test(
  'a paused guest, and one that does not heed its init, can be stopped and destroyed',
  TIMEOUT,
  async () => {
    const instance = server();
    await guests.spawn(caller, request(instance));
    // Nobody hears the signal that asks for a halt.
    await inside(instance, 'sh', '-c', 'kill -STOP -1; :');
    await guests.pause(caller, instance.uuid);
    await guests.powerOff(caller, instance.uuid, 1);
    assert.equal(await guests.power(caller, instance.uuid), POWER.shutdown);
    await guests.powerOn(caller, instance.uuid, []);
    await guests.suspend(caller, instance.uuid);
    await guests.destroy(caller, instance.uuid);
    assert.equal(await guests.power(caller, instance.uuid), POWER.noState);
  },
);

test('reboots boot again, a hard one with the definition made anew', TIMEOUT, async () => {
  const instance = server();
  const { uuid } = instance;
  const vifs = [tap('tapgr03')];
  await guests.spawn(caller, request(instance, { vifs }));
  await inside(instance, 'touch', '/run/mark', '/kept');
  const hidden = ['sh', '-c', 'grep -c . /proc/uptime; ls /kept'];
  await guests.reboot(caller, instance, { hard: false, timeoutS: 20, vifs });
  assert.equal(await inside(instance, ...hidden), '1\n/kept\n');
  await client.patch(caller, nameOf(instance), { config: { 'limits.memory': '128MiB' } });
  const other = tap('tapgr04', { id: '11111111-2222-3333-4444-555555555555', address: 'fa:16:3e:00:00:04' });
  await guests.reboot(caller, instance, { hard: true, timeoutS: 20, vifs: [other] });
  assert.equal(await guests.power(caller, uuid), POWER.running);
  assert.equal((await guests.diagnostics(caller, uuid)).memory.maximumMiB, 64);
  assert.equal(await inside(instance, 'cat', '/sys/class/net/eth0/address'), 'fa:16:3e:00:00:04\n');
  assert.equal(await inside(instance, 'ls', '/kept'), '/kept\n');
  await guests.destroy(caller, uuid);
});

test('interfaces come and go, in a running guest and in a stopped one', TIMEOUT, async () => {
  const instance = server();
  const { uuid } = instance;
  const [first, second] = [
    tap('tapgr05'),
    tap('tapgr06', { id: '11111111-2222-3333-4444-666666666666', address: 'fa:16:3e:00:00:06' }),
  ];
  await guests.spawn(caller, request(instance, { vifs: [first] }));
  await guests.attachInterface(caller, instance, second);
  await guests.attachInterface(caller, instance, second);
  assert.equal(await inside(instance, 'cat', '/sys/class/net/eth1/address'), 'fa:16:3e:00:00:06\n');
  await guests.detachInterface(caller, uuid, first);
  await guests.detachInterface(caller, uuid, first);
  const left = await inside(instance, 'ls', '/sys/class/net');
  assert.deepEqual(
    left.split('\n').filter((nic) => nic.startsWith('eth')),
    ['eth1'],
  );
  await guests.powerOff(caller, uuid, 0);
  await guests.attachInterface(caller, instance, first);
  await guests.detachInterface(caller, uuid, second);
  await guests.powerOn(caller, uuid, [first]);
  assert.equal(await inside(instance, 'cat', '/sys/class/net/eth0/address'), 'fa:16:3e:8c:52:49\n');
  await guests.destroy(caller, uuid);
});

test('the limits of a flavor are enforced', TIMEOUT, async () => {
  const instance = server({}, { memory_mb: 48, root_gb: 1, ephemeral_gb: 1, swap: 16 });
  await guests.spawn(caller, request(instance));
  const fits = (mib: number) => ['dd', 'if=/dev/zero', 'of=/dev/null', `bs=${String(mib)}M`, 'count=1'];
  await inside(instance, ...fits(16));
  assert.notEqual((await client.exec(caller, nameOf(instance), fits(100))).exitCode, 0);
  const sizes = await inside(instance, 'sh', '-c', 'df -k / /mnt | tail -n 2 | tr -s " " | cut -d " " -f 2');
  for (const size of sizes.trim().split('\n'))
    assert.ok(Number(size) < 2 ** 20 && Number(size) > 900_000, size);
  const fill = await client.exec(caller, nameOf(instance), [
    'dd',
    'if=/dev/zero',
    'of=/mnt/full',
    'bs=1M',
    'count=1100',
  ]);
  assert.notEqual(fill.exitCode, 0);
  assert.match(fill.stderr, /No space left/);
  assert.equal(await inside(instance, 'stat', '-c', '%u %a', '/mnt'), '0 755\n');
  await inside(instance, 'rm', '/mnt/full');
  await inside(instance, 'touch', '/mnt/stays');
  await guests.reboot(caller, instance, { hard: true, timeoutS: 0, vifs: [] });
  assert.equal(await inside(instance, 'ls', '/mnt/stays'), '/mnt/stays\n');
  await guests.destroy(caller, instance.uuid);
});

test('a build that fails leaves nothing', TIMEOUT, async () => {
  const cases: readonly (readonly [NovaInstance, Partial<SpawnRequest>, string])[] = [
    [server({}, { extra_specs: { 'slipway:unheard': '1' } }), {}, 'BuildAbortException'],
    [server(), { vifs: [novaVif({ type: 'binding_failed' })] }, 'VirtualInterfaceCreateException'],
    [server(), { vifs: [novaVif({ type: 'bridge', devname: 'a name too long' })] }, 'BuildAbortException'],
    [server(), { fingerprint: '0'.repeat(64) }, 'InstanceDeployFailure'],
  ];
  for (const [instance, given, className] of cases) {
    await assert.rejects(guests.spawn(caller, request(instance, given)), raises(className), className);
    assert.equal(await client.instance(caller, nameOf(instance)), null);
  }
  // The start fails when all is made: the name of the link is taken on the host.
  const first = server();
  await guests.spawn(caller, request(first, { vifs: [tap('tapgr07')] }));
  const second = server();
  const failing = guests.spawn(caller, request(second, { vifs: [tap('tapgr07')] }));
  await assert.rejects(failing, raises('InstanceDeployFailure'));
  assert.equal(await client.instance(caller, nameOf(second)), null);
  await guests.destroy(caller, first.uuid);
  assert.deepEqual(await client.novaInstances(caller), []);
});

test('a build that is given up leaves nothing', TIMEOUT, async () => {
  const instance = server();
  const stop = new AbortController();
  const spawning = guests.spawn({ ...caller, signal: stop.signal }, request(instance));
  stop.abort(new Error('the service stops'));
  await assert.rejects(spawning, /the service stops/);
  assert.equal(await client.instance(caller, nameOf(instance)), null);
});

test('a daemon that dies in the middle of a build or a delete is waited for', TIMEOUT, async () => {
  const dies = async (point: string, work: (instance: NovaInstance) => Promise<unknown>) => {
    const instance = server();
    if (point.startsWith('delete.')) await guests.spawn(caller, request(instance));
    await daemon.arm(point);
    const outcome = work(instance).then(
      () => null,
      (err: unknown) => err,
    );
    await daemon.ended();
    await daemon.restart();
    return outcome;
  };
  for (const point of ['create.volume-landed', 'create.ready', 'start.container-up']) {
    const err = await dies(point, (instance) => guests.spawn(caller, request(instance)));
    assert.ok(isNovaError(err, 'HypervisorUnavailable'), point);
    assert.deepEqual(await guests.list(caller), [], point);
  }
  for (const point of ['delete.row-deleting', 'delete.volume-removed']) {
    assert.equal(await dies(point, ({ uuid }) => guests.destroy(caller, uuid)), null, point);
    assert.deepEqual(await guests.list(caller), [], point);
  }
  assert.deepEqual(await daemon.done('GET', '/1.0/instances'), []);
});

test('what an earlier try left is replaced', TIMEOUT, async () => {
  const instance = server();
  await guests.spawn(caller, request(instance));
  await inside(instance, 'touch', '/old');
  await guests.spawn(caller, request(instance));
  assert.equal((await client.exec(caller, nameOf(instance), ['ls', '/old'])).exitCode, 1);
  await guests.destroy(caller, instance.uuid);
});

test('a config drive is there before the first process, for root alone', TIMEOUT, async () => {
  const instance = server();
  const drive = new Map([['openstack/latest/meta_data.json', Buffer.from('{"admin_pass":"x"}')]]);
  await guests.spawn(caller, request(instance, { drive }));
  const path = '/config-drive/openstack/latest/meta_data.json';
  assert.equal(await inside(instance, 'cat', path), '{"admin_pass":"x"}');
  const asNobody = await client.exec(caller, nameOf(instance), [
    'su',
    '-s',
    '/bin/sh',
    'nobody',
    '-c',
    `cat ${path}`,
  ]);
  assert.notEqual(asNobody.exitCode, 0);
  await guests.destroy(caller, instance.uuid);
});

test('passwords are set, and are in no log and no list of processes', TIMEOUT, async () => {
  const instance = server();
  const { uuid } = instance;
  const shadow = () => inside(instance, 'grep', '^root:', '/etc/shadow');
  await guests.spawn(caller, request(instance, { adminPassword: 'first-Secret-1' }));
  await guests.setPassword(caller, uuid, 'second-Secret-2');
  const first = await shadow();
  assert.match(first, /^root:\$/);
  await guests.setPassword(caller, uuid, 'third-Secret-3');
  assert.notEqual(await shadow(), first);
  await assert.rejects(guests.setPassword(caller, uuid, 'two\nlines'), raises('InstancePasswordSetFailed'));
  const texts = `${await daemon.log()}${log.lines.join('\n')}`;
  assert.doesNotMatch(texts, /Secret/);
  await guests.powerOff(caller, uuid, 0);
  await assert.rejects(guests.setPassword(caller, uuid, 'x'), raises('InstancePasswordSetFailed'));
  await guests.destroy(caller, uuid);
});

test('a rescue boots another root, beside which the old one lies', TIMEOUT, async () => {
  const instance = server({}, { ephemeral_gb: 1 });
  const { uuid } = instance;
  const vifs = [tap('tapgr08')];
  await guests.spawn(caller, request(instance, { vifs }));
  await inside(instance, 'sh', '-c', 'echo broken > /etc/state; chown 100:100 /etc/state');
  await guests.rescue(caller, { instance, fingerprint, vifs, drive: null, password: 'pw' });

  assert.equal(await guests.power(caller, uuid), POWER.running);
  assert.equal((await guests.list(caller)).length, 1);
  assert.equal((await client.exec(caller, nameOf(instance), ['ls', '/etc/state'])).exitCode, 1);
  assert.equal(await inside(instance, 'cat', '/mnt/rescued/etc/state'), 'broken\n');
  assert.equal(await inside(instance, 'stat', '-c', '%u', '/mnt/rescued/etc/state'), '100\n');
  assert.equal(await inside(instance, 'cat', '/sys/class/net/eth0/address'), 'fa:16:3e:8c:52:49\n');
  await inside(instance, 'sh', '-c', 'echo mended > /mnt/rescued/etc/state');
  await assert.rejects(
    guests.rescue(caller, { instance, fingerprint, vifs, drive: null, password: null }),
    raises('InstanceNotRescuable'),
  );
  const kept = `${nameOf(instance)}-rescued`;
  await assert.rejects(client.changeState(caller, kept, { action: 'start' }), /stop that one first/);
  await assert.rejects(client.delete(caller, kept), /stop that one first/);
  await assert.rejects(client.pullFile(caller, kept, '/etc/state'), /stop that one first/);
  await guests.reboot(caller, instance, { hard: true, timeoutS: 0, vifs });
  assert.equal(await inside(instance, 'cat', '/mnt/rescued/etc/state'), 'mended\n');

  await guests.unrescue(caller, uuid);
  assert.equal(await guests.power(caller, uuid), POWER.running);
  assert.equal(await inside(instance, 'cat', '/etc/state'), 'mended\n');
  assert.equal(await client.instance(caller, kept), null);
  await guests.unrescue(caller, uuid);

  await guests.rescue(caller, { instance, fingerprint, vifs, drive: null, password: null });
  await guests.destroy(caller, uuid);
  assert.deepEqual(await client.novaInstances(caller), []);
  assert.equal(await client.instance(caller, kept), null);
});

test('a rescue that fails puts the guest back', TIMEOUT, async () => {
  const instance = server();
  const { uuid } = instance;
  await guests.spawn(caller, request(instance));
  const failing = { instance, fingerprint: '0'.repeat(64), vifs: [], drive: null, password: null };
  await assert.rejects(guests.rescue(caller, failing), raises('InstanceNotRescuable'));
  assert.equal(await guests.power(caller, uuid), POWER.shutdown);
  assert.equal((await client.byUuid(caller, uuid))?.name, nameOf(instance));
  await guests.powerOn(caller, uuid, []);
  await guests.destroy(caller, uuid);
});

test('the console log is what the guest printed', TIMEOUT, async () => {
  const instance = server();
  await guests.spawn(caller, request(instance));
  await inside(instance, 'sh', '-c', 'echo hello from within > /dev/console');
  await until('it is in the log', async () =>
    (await guests.consoleLog(caller, instance.uuid)).toString().includes('hello from within'),
  );
  await guests.destroy(caller, instance.uuid);
  await assert.rejects(guests.consoleLog(caller, instance.uuid), raises('InstanceNotFound'));
});

test('cloud-init is told where to look', TIMEOUT, async () => {
  const instance = server({}, { vcpus: 8 });
  await guests.spawn(caller, request(instance));
  assert.match(await inside(instance, 'cat', '/proc/1/environ'), /product_name=OpenStack Nova\0/);
  assert.equal(await inside(instance, 'sh', '-c', 'ls /dev/lxd 2>/dev/null; hostname'), 'cap1\n');
  const config = (await client.byUuid(caller, instance.uuid))?.config ?? {};
  assert.match(config['user.meta-data'] ?? '', /^public-keys:\n {2}- "ssh-rsa AAAA test"\n$/m);
  assert.equal(config['user.user-data'], '#cloud-config\n');
  await guests.destroy(caller, instance.uuid);
});

test('the host tells what it has', TIMEOUT, async () => {
  const capacity = await guests.capacity(caller);
  assert.ok(capacity.cpus > 0 && capacity.memoryMb > 0 && capacity.diskGb > 0);
  assert.match(`${capacity.cpu.arch} ${capacity.lxcVersion}`, /^x86_64 \d+\.\d+/);
});
