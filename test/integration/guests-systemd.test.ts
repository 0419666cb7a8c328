/** A server with a real init: what Nova asks of guests, asked of Debian. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { LxdClient, type Caller } from '../../driver/lxd/client.ts';
import { POWER, type Guests } from '../../driver/lxd/guest-types.ts';
import { createGuests } from '../../driver/lxd/guests.ts';
import { computeOptions, listeningLog, until } from '../support/messaging.ts';
import { novaInstance } from '../support/nova-objects.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';
import { systemImage } from '../support/system-images.ts';

const caller: Caller = { requestId: 'req-deb1' };
const instance = novaInstance(
  { id: 0x7d1, uuid: '135877f5-8316-4b41-9393-0000000007d1', hostname: 'web-1' },
  { memory_mb: 256, root_gb: 2 },
);
const { uuid } = instance;
const name = 'instance-000007d1';

let daemon: SlipwayDaemon;
let client: LxdClient;
let guests: Guests;
let fingerprint: string;

before(async () => {
  daemon = await SlipwayDaemon.start();
  await daemon.done('POST', '/1.0/storage-pools', { name: 'default', driver: 'overlay' });
  fingerprint = await daemon.importImage(await systemImage('trixie'), 'debian');
  client = new LxdClient(daemon.socket);
  guests = createGuests({ client, options: computeOptions(''), log: listeningLog().log });
});

after(async () => {
  await guests.close();
  client.close();
  await daemon.destroy();
});

async function inside(...command: readonly string[]): Promise<string> {
  const ran = await client.exec(caller, name, command);
  assert.equal(ran.exitCode, 0, `${command.join(' ')}: ${ran.stderr}`);
  return ran.stdout;
}

const isUp = () =>
  until('its services are up', async () => {
    const { stdout } = await client.exec(caller, name, ['systemctl', 'is-system-running']);
    return /running|degraded/.test(stdout);
  });

test('a systemd guest boots, has its name, its drive and its password', { timeout: 180_000 }, async () => {
  const drive = new Map([['openstack/latest/meta_data.json', Buffer.from('{}')]]);
  const request = { instance, fingerprint, vifs: [], drive, start: true, adminPassword: 'a-Secret-9' };
  await guests.spawn(caller, request);
  await isUp();
  assert.equal(await inside('hostname'), 'web-1\n');
  assert.equal(await inside('cat', '/etc/hostname'), 'web-1\n');
  assert.equal(await inside('cat', '/config-drive/openstack/latest/meta_data.json'), '{}');
  const shadow = () => inside('grep', '^root:', '/etc/shadow');
  await until('its password is set', async () => /^root:\$/.test(await shadow()));
  const before = await shadow();
  await guests.setPassword(caller, uuid, 'another-Secret-9');
  assert.notEqual(await shadow(), before);
  assert.match((await guests.consoleLog(caller, uuid)).toString(), /systemd/);
});

test('it shuts down by itself when it is asked to', { timeout: 180_000 }, async () => {
  await inside('touch', '/run/this-boot', '/kept');
  await guests.reboot(caller, instance, { hard: false, timeoutS: 90, vifs: [] });
  await isUp();
  assert.equal((await client.exec(caller, name, ['ls', '/run/this-boot'])).exitCode, 2);
  assert.equal(await inside('ls', '/kept'), '/kept\n');
  await inside('systemd-run', '--quiet', 'sh', '-c', 'sleep 0.2; poweroff');
  await until('it is off', async () => (await guests.power(caller, uuid)) === POWER.shutdown);
  await guests.destroy(caller, uuid);
});
