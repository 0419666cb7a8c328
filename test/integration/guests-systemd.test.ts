/** A server with a real init: what Nova asks of guests, asked of Debian. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Caller } from '../../driver/lxd/client.ts';
import { POWER } from '../../driver/lxd/guest-types.ts';
import { GuestHost } from '../support/guest-host.ts';
import { until } from '../support/messaging.ts';
import { novaInstance } from '../support/nova-objects.ts';
import { systemImage } from '../support/system-images.ts';

const caller: Caller = { requestId: 'req-deb1' };
const instance = novaInstance(
  { id: 0x7d1, uuid: '135877f5-8316-4b41-9393-0000000007d1', hostname: 'web-1' },
  { memory_mb: 256, root_gb: 2 },
);
const { uuid } = instance;
const name = 'instance-000007d1';

let host: GuestHost;

before(async () => {
  host = await GuestHost.open({ image: await systemImage('trixie') });
});

after(() => host.close());

function inside(...command: readonly string[]): Promise<string> {
  return host.inside(caller, name, command);
}

const isUp = () =>
  until('its services are up', async () => {
    const { stdout } = await host.client.exec(caller, name, ['systemctl', 'is-system-running']);
    return /running|degraded/.test(stdout);
  });

test('a systemd guest boots, has its name, its drive and its password', { timeout: 180_000 }, async () => {
  const drive = new Map([['openstack/latest/meta_data.json', Buffer.from('{}')]]);
  await host.guests.spawn(caller, host.request(instance, { drive, adminPassword: 'a-Secret-9' }));
  await isUp();
  assert.equal(await inside('hostname'), 'web-1\n');
  assert.equal(await inside('cat', '/etc/hostname'), 'web-1\n');
  assert.equal(await inside('cat', '/config-drive/openstack/latest/meta_data.json'), '{}');
  const shadow = () => inside('grep', '^root:', '/etc/shadow');
  await until('its password is set', async () => /^root:\$/.test(await shadow()));
  const before = await shadow();
  await host.guests.setPassword(caller, uuid, 'another-Secret-9');
  assert.notEqual(await shadow(), before);
  assert.match((await host.guests.consoleLog(caller, uuid)).toString(), /systemd/);
});

test('it shuts down by itself when it is asked to', { timeout: 180_000 }, async () => {
  await inside('touch', '/run/this-boot', '/kept');
  await host.guests.reboot(caller, instance, { hard: false, timeoutS: 90, vifs: [] });
  await isUp();
  assert.equal((await host.client.exec(caller, name, ['ls', '/run/this-boot'])).exitCode, 2);
  assert.equal(await inside('ls', '/kept'), '/kept\n');
  await inside('systemd-run', '--quiet', 'sh', '-c', 'sleep 0.2; poweroff');
  await until('it is off', async () => (await host.guests.power(caller, uuid)) === POWER.shutdown);
  await host.guests.destroy(caller, uuid);
});
