/** Servers of Nova as containers of a real daemon: their whole life, and what is left when a step fails. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Vif } from '../../driver/cloud/vif.ts';
import type { Caller } from '../../driver/lxd/client.ts';
import { POWER, type SpawnRequest } from '../../driver/lxd/guest-types.ts';
import type { NovaInstance } from '../../driver/lxd/nova-instance.ts';
import { isNovaError } from '../../driver/rpc/nova-error.ts';
import { GuestHost } from '../support/guest-host.ts';
import { listeningLog, until } from '../support/messaging.ts';
import { novaInstance, novaVif } from '../support/nova-objects.ts';

const caller: Caller = { requestId: 'req-60e5' };
const log = listeningLog();
const TIMEOUT = { timeout: 120_000 };

let host: GuestHost;
let made = 0;

before(async () => {
  const config = '[serial_console]\nenabled = true\nport_range = 23800:23820\n';
  host = await GuestHost.open({ config, log: log.log, faults: true });
});

after(() => host.close());

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

/** A port that needs no other software: a link whose other end is on the host. */
function tap(devname: string, given: Partial<Vif> = {}): Vif {
  return novaVif({ type: 'tap', devname, ...given });
}

function inside(instance: NovaInstance, ...command: readonly string[]): Promise<string> {
  return host.inside(caller, nameOf(instance), command);
}

const raises = (className: string) => (err: unknown) => isNovaError(err, className);

test('a server is made, found, renamed, measured and destroyed', TIMEOUT, async () => {
  const instance = server();
  const { uuid } = instance;
  await host.guests.spawn(caller, host.request(instance, { vifs: [tap('tapgr01')] }));
  assert.equal(await host.guests.power(caller, uuid), POWER.running);
  assert.deepEqual(await host.guests.list(caller), [{ uuid, name: nameOf(instance), power: POWER.running }]);
  assert.equal(await inside(instance, 'cat', '/sys/class/net/eth0/address'), 'fa:16:3e:8c:52:49\n');

  await host.guests.rename(caller, uuid, 'another');
  const found = await host.client.byUuid(caller, uuid);
  assert.equal(found?.description, 'another');
  assert.equal(found.config['boot.autostart'], 'false');

  const figures = await host.guests.diagnostics(caller, uuid);
  assert.ok(figures.uptimeS < 120 && figures.disks.every((disk) => disk.device !== ''));
  assert.equal(figures.memory.maximumMiB, 64);
  assert.ok((figures.cpus[0]?.timeNs ?? 0) > 0);
  assert.equal(figures.nics[0]?.mac, 'fa:16:3e:8c:52:49');

  await host.guests.destroy(caller, uuid);
  assert.equal(await host.guests.power(caller, uuid), POWER.noState);
  await host.guests.destroy(caller, uuid);
  assert.equal(await host.client.instance(caller, nameOf(instance)), null);
});

test("other people's instances are neither seen nor touched", TIMEOUT, async () => {
  const instance = server();
  const source = { type: 'image', fingerprint: host.fingerprint };
  await host.client.create(caller, { name: nameOf(instance), source });
  assert.deepEqual(await host.guests.list(caller), []);
  await assert.rejects(host.guests.spawn(caller, host.request(instance)), raises('InstanceDeployFailure'));
  await host.guests.destroy(caller, instance.uuid);
  assert.notEqual(await host.client.instance(caller, nameOf(instance)), null);
  await host.client.delete(caller, nameOf(instance));
});

test('power states are those Nova asked for', TIMEOUT, async () => {
  const instance = server();
  const { uuid } = instance;
  const power = () => host.guests.power(caller, uuid);
  await host.guests.spawn(caller, host.request(instance, { start: false }));
  assert.equal(await power(), POWER.shutdown);
  await host.guests.powerOn(caller, uuid, [tap('tapgr02')]);
  await host.guests.powerOn(caller, uuid, [tap('tapgr02')]);
  assert.equal(await power(), POWER.running);
  await host.guests.pause(caller, uuid);
  assert.equal(await power(), POWER.paused);
  await host.guests.unpause(caller, uuid);
  await host.guests.suspend(caller, uuid);
  assert.equal(await power(), POWER.suspended);
  await host.guests.resume(caller, uuid);
  assert.equal(await power(), POWER.running);
  await host.guests.pause(caller, uuid);
  assert.equal(await power(), POWER.paused);
  await host.guests.powerOff(caller, uuid, 20);
  assert.equal(await power(), POWER.shutdown);
  await host.guests.powerOff(caller, uuid, 20);
  await host.guests.resume(caller, uuid);
  assert.equal(await power(), POWER.running);
  await host.guests.destroy(caller, uuid);
  await assert.rejects(host.guests.powerOn(caller, uuid, []), raises('InstanceNotFound'));
});

test(
  'a paused guest, and one that does not heed its init, can be stopped and destroyed',
  TIMEOUT,
  async () => {
    const instance = server();
    await host.guests.spawn(caller, host.request(instance));
    // Nobody hears the signal that asks for a halt.
    await inside(instance, 'sh', '-c', 'kill -STOP -1; :');
    await host.guests.pause(caller, instance.uuid);
    await host.guests.powerOff(caller, instance.uuid, 1);
    assert.equal(await host.guests.power(caller, instance.uuid), POWER.shutdown);
    await host.guests.powerOn(caller, instance.uuid, []);
    await host.guests.suspend(caller, instance.uuid);
    await host.guests.destroy(caller, instance.uuid);
    assert.equal(await host.guests.power(caller, instance.uuid), POWER.noState);
  },
);

test('reboots boot again, a hard one with the definition made anew', TIMEOUT, async () => {
  const instance = server();
  const { uuid } = instance;
  const vifs = [tap('tapgr03')];
  await host.guests.spawn(caller, host.request(instance, { vifs }));
  await inside(instance, 'touch', '/run/mark', '/kept');
  const hidden = ['sh', '-c', 'grep -c . /proc/uptime; ls /kept'];
  await host.guests.reboot(caller, instance, { hard: false, timeoutS: 20, vifs });
  assert.equal(await inside(instance, ...hidden), '1\n/kept\n');
  await host.client.patch(caller, nameOf(instance), { config: { 'limits.memory': '128MiB' } });
  const other = tap('tapgr04', { id: '11111111-2222-3333-4444-555555555555', address: 'fa:16:3e:00:00:04' });
  await host.guests.reboot(caller, instance, { hard: true, timeoutS: 20, vifs: [other] });
  assert.equal(await host.guests.power(caller, uuid), POWER.running);
  assert.equal((await host.guests.diagnostics(caller, uuid)).memory.maximumMiB, 64);
  assert.equal(await inside(instance, 'cat', '/sys/class/net/eth0/address'), 'fa:16:3e:00:00:04\n');
  assert.equal(await inside(instance, 'ls', '/kept'), '/kept\n');
  await host.guests.destroy(caller, uuid);
});

test('interfaces come and go, in a running guest and in a stopped one', TIMEOUT, async () => {
  const instance = server();
  const { uuid } = instance;
  const [first, second] = [
    tap('tapgr05'),
    tap('tapgr06', { id: '11111111-2222-3333-4444-666666666666', address: 'fa:16:3e:00:00:06' }),
  ];
  await host.guests.spawn(caller, host.request(instance, { vifs: [first] }));
  await host.guests.attachInterface(caller, instance, second);
  await host.guests.attachInterface(caller, instance, second);
  assert.equal(await inside(instance, 'cat', '/sys/class/net/eth1/address'), 'fa:16:3e:00:00:06\n');
  await host.guests.detachInterface(caller, uuid, first);
  await host.guests.detachInterface(caller, uuid, first);
  const left = await inside(instance, 'ls', '/sys/class/net');
  assert.deepEqual(
    left.split('\n').filter((nic) => nic.startsWith('eth')),
    ['eth1'],
  );
  await host.guests.powerOff(caller, uuid, 0);
  await host.guests.attachInterface(caller, instance, first);
  await host.guests.detachInterface(caller, uuid, second);
  await host.guests.powerOn(caller, uuid, [first]);
  assert.equal(await inside(instance, 'cat', '/sys/class/net/eth0/address'), 'fa:16:3e:8c:52:49\n');
  await host.guests.destroy(caller, uuid);
});

test('the limits of a flavor are enforced', TIMEOUT, async () => {
  const instance = server({}, { memory_mb: 48, root_gb: 1, ephemeral_gb: 1, swap: 16 });
  await host.guests.spawn(caller, host.request(instance));
  const fits = (mib: number) => ['dd', 'if=/dev/zero', 'of=/dev/null', `bs=${String(mib)}M`, 'count=1'];
  await inside(instance, ...fits(16));
  assert.notEqual((await host.client.exec(caller, nameOf(instance), fits(100))).exitCode, 0);
  const sizes = await inside(instance, 'sh', '-c', 'df -k / /mnt | tail -n 2 | tr -s " " | cut -d " " -f 2');
  for (const size of sizes.trim().split('\n'))
    assert.ok(Number(size) < 2 ** 20 && Number(size) > 900_000, size);
  const fill = await host.client.exec(caller, nameOf(instance), [
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
  await host.guests.reboot(caller, instance, { hard: true, timeoutS: 0, vifs: [] });
  assert.equal(await inside(instance, 'ls', '/mnt/stays'), '/mnt/stays\n');
  await host.guests.destroy(caller, instance.uuid);
});

test('a build that fails leaves nothing', TIMEOUT, async () => {
  const cases: readonly (readonly [NovaInstance, Partial<SpawnRequest>, string])[] = [
    [server({}, { extra_specs: { 'slipway:unheard': '1' } }), {}, 'BuildAbortException'],
    [server(), { vifs: [novaVif({ type: 'binding_failed' })] }, 'VirtualInterfaceCreateException'],
    [server(), { vifs: [novaVif({ type: 'bridge', devname: 'a name too long' })] }, 'BuildAbortException'],
    [server(), { fingerprint: '0'.repeat(64) }, 'InstanceDeployFailure'],
  ];
  for (const [instance, given, className] of cases) {
    await assert.rejects(
      host.guests.spawn(caller, host.request(instance, given)),
      raises(className),
      className,
    );
    assert.equal(await host.client.instance(caller, nameOf(instance)), null);
  }
  // The start fails when all is made: the name of the link is taken on the host.
  const first = server();
  await host.guests.spawn(caller, host.request(first, { vifs: [tap('tapgr07')] }));
  const second = server();
  const failing = host.guests.spawn(caller, host.request(second, { vifs: [tap('tapgr07')] }));
  await assert.rejects(failing, raises('InstanceDeployFailure'));
  assert.equal(await host.client.instance(caller, nameOf(second)), null);
  await host.guests.destroy(caller, first.uuid);
  assert.deepEqual(await host.client.novaInstances(caller), []);
});

test('a build that is given up leaves nothing', TIMEOUT, async () => {
  const instance = server();
  const stop = new AbortController();
  const spawning = host.guests.spawn({ ...caller, signal: stop.signal }, host.request(instance));
  stop.abort(new Error('the service stops'));
  await assert.rejects(spawning, /the service stops/);
  assert.equal(await host.client.instance(caller, nameOf(instance)), null);
});

test('a daemon that dies in the middle of a build or a delete is waited for', TIMEOUT, async () => {
  const dies = async (point: string, work: (instance: NovaInstance) => Promise<unknown>) => {
    const instance = server();
    if (point.startsWith('delete.')) await host.guests.spawn(caller, host.request(instance));
    await host.daemon.arm(point);
    const outcome = work(instance).then(
      () => null,
      (err: unknown) => err,
    );
    await host.daemon.ended();
    await host.daemon.restart();
    return outcome;
  };
  for (const point of ['create.volume-landed', 'create.ready', 'start.container-up']) {
    const err = await dies(point, (instance) => host.guests.spawn(caller, host.request(instance)));
    assert.ok(isNovaError(err, 'HypervisorUnavailable'), point);
    assert.deepEqual(await host.guests.list(caller), [], point);
  }
  for (const point of ['delete.row-deleting', 'delete.volume-removed']) {
    assert.equal(await dies(point, ({ uuid }) => host.guests.destroy(caller, uuid)), null, point);
    assert.deepEqual(await host.guests.list(caller), [], point);
  }
  assert.deepEqual(await host.daemon.done('GET', '/1.0/instances'), []);
});

test('what an earlier try left is replaced', TIMEOUT, async () => {
  const instance = server();
  await host.guests.spawn(caller, host.request(instance));
  await inside(instance, 'touch', '/old');
  await host.guests.spawn(caller, host.request(instance));
  assert.equal((await host.client.exec(caller, nameOf(instance), ['ls', '/old'])).exitCode, 1);
  await host.guests.destroy(caller, instance.uuid);
});

test('a config drive is there before the first process, for root alone', TIMEOUT, async () => {
  const instance = server();
  const drive = new Map([['openstack/latest/meta_data.json', Buffer.from('{"admin_pass":"x"}')]]);
  await host.guests.spawn(caller, host.request(instance, { drive }));
  const path = '/config-drive/openstack/latest/meta_data.json';
  assert.equal(await inside(instance, 'cat', path), '{"admin_pass":"x"}');
  const asNobody = await host.client.exec(caller, nameOf(instance), [
    'su',
    '-s',
    '/bin/sh',
    'nobody',
    '-c',
    `cat ${path}`,
  ]);
  assert.notEqual(asNobody.exitCode, 0);
  await host.guests.destroy(caller, instance.uuid);
});

test('passwords are set, and are in no log and no list of processes', TIMEOUT, async () => {
  const instance = server();
  const { uuid } = instance;
  const shadow = () => inside(instance, 'grep', '^root:', '/etc/shadow');
  await host.guests.spawn(caller, host.request(instance, { adminPassword: 'first-Secret-1' }));
  await host.guests.setPassword(caller, uuid, 'second-Secret-2');
  const first = await shadow();
  assert.match(first, /^root:\$/);
  await host.guests.setPassword(caller, uuid, 'third-Secret-3');
  assert.notEqual(await shadow(), first);
  await assert.rejects(
    host.guests.setPassword(caller, uuid, 'two\nlines'),
    raises('InstancePasswordSetFailed'),
  );
  const texts = `${await host.daemon.log()}${log.lines.join('\n')}`;
  assert.doesNotMatch(texts, /Secret/);
  await host.guests.powerOff(caller, uuid, 0);
  await assert.rejects(host.guests.setPassword(caller, uuid, 'x'), raises('InstancePasswordSetFailed'));
  await host.guests.destroy(caller, uuid);
});

test('a rescue boots another root, beside which the old one lies', TIMEOUT, async () => {
  const instance = server({}, { ephemeral_gb: 1 });
  const { uuid } = instance;
  const vifs = [tap('tapgr08')];
  await host.guests.spawn(caller, host.request(instance, { vifs }));
  await inside(instance, 'sh', '-c', 'echo broken > /etc/state; chown 100:100 /etc/state');
  await host.guests.rescue(caller, host.rescueRequest(instance, { vifs, password: 'pw' }));

  assert.equal(await host.guests.power(caller, uuid), POWER.running);
  assert.equal((await host.guests.list(caller)).length, 1);
  assert.equal((await host.client.exec(caller, nameOf(instance), ['ls', '/etc/state'])).exitCode, 1);
  assert.equal(await inside(instance, 'cat', '/mnt/rescued/etc/state'), 'broken\n');
  assert.equal(await inside(instance, 'stat', '-c', '%u', '/mnt/rescued/etc/state'), '100\n');
  assert.equal(await inside(instance, 'cat', '/sys/class/net/eth0/address'), 'fa:16:3e:8c:52:49\n');
  await inside(instance, 'sh', '-c', 'echo mended > /mnt/rescued/etc/state');
  await assert.rejects(
    host.guests.rescue(caller, host.rescueRequest(instance, { vifs })),
    raises('InstanceNotRescuable'),
  );
  const kept = `${nameOf(instance)}-rescued`;
  await assert.rejects(host.client.changeState(caller, kept, { action: 'start' }), /stop that one first/);
  await assert.rejects(host.client.delete(caller, kept), /stop that one first/);
  await assert.rejects(host.client.pullFile(caller, kept, '/etc/state'), /stop that one first/);
  await host.guests.reboot(caller, instance, { hard: true, timeoutS: 0, vifs });
  assert.equal(await inside(instance, 'cat', '/mnt/rescued/etc/state'), 'mended\n');

  await host.guests.unrescue(caller, uuid);
  assert.equal(await host.guests.power(caller, uuid), POWER.running);
  assert.equal(await inside(instance, 'cat', '/etc/state'), 'mended\n');
  assert.equal(await host.client.instance(caller, kept), null);
  await host.guests.unrescue(caller, uuid);

  await host.guests.rescue(caller, host.rescueRequest(instance, { vifs }));
  await host.guests.destroy(caller, uuid);
  assert.deepEqual(await host.client.novaInstances(caller), []);
  assert.equal(await host.client.instance(caller, kept), null);
});

test('a rescue that fails puts the guest back', TIMEOUT, async () => {
  const instance = server();
  const { uuid } = instance;
  await host.guests.spawn(caller, host.request(instance));
  const failing = host.rescueRequest(instance, { fingerprint: '0'.repeat(64) });
  await assert.rejects(host.guests.rescue(caller, failing), raises('InstanceNotRescuable'));
  assert.equal(await host.guests.power(caller, uuid), POWER.shutdown);
  assert.equal((await host.client.byUuid(caller, uuid))?.name, nameOf(instance));
  await host.guests.powerOn(caller, uuid, []);
  await host.guests.destroy(caller, uuid);
});

test('the console log is what the guest printed', TIMEOUT, async () => {
  const instance = server();
  await host.guests.spawn(caller, host.request(instance));
  await inside(instance, 'sh', '-c', 'echo hello from within > /dev/console');
  await until('it is in the log', async () =>
    (await host.guests.consoleLog(caller, instance.uuid)).toString().includes('hello from within'),
  );
  await host.guests.destroy(caller, instance.uuid);
  await assert.rejects(host.guests.consoleLog(caller, instance.uuid), raises('InstanceNotFound'));
});

test('cloud-init is told where to look', TIMEOUT, async () => {
  const instance = server({}, { vcpus: 8 });
  await host.guests.spawn(caller, host.request(instance));
  assert.match(await inside(instance, 'cat', '/proc/1/environ'), /product_name=OpenStack Nova\0/);
  assert.equal(await inside(instance, 'sh', '-c', 'ls /dev/lxd 2>/dev/null; hostname'), 'cap1\n');
  const config = (await host.client.byUuid(caller, instance.uuid))?.config ?? {};
  assert.match(config['user.meta-data'] ?? '', /^public-keys:\n {2}- "ssh-rsa AAAA test"\n$/m);
  assert.equal(config['user.user-data'], '#cloud-config\n');
  await host.guests.destroy(caller, instance.uuid);
});

test('the host tells what it has', TIMEOUT, async () => {
  const capacity = await host.guests.capacity(caller);
  assert.ok(capacity.cpus > 0 && capacity.memoryMb > 0 && capacity.diskGb > 0);
  assert.match(`${capacity.cpu.arch} ${capacity.lxcVersion}`, /^x86_64 \d+\.\d+/);
});
