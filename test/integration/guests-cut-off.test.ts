/** Guests whose life was interrupted: a rescue that was cut off, a boot that was ended at once. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { LxdClient, type Caller } from '../../driver/lxd/client.ts';
import { POWER, type Guests } from '../../driver/lxd/guest-types.ts';
import { createGuests } from '../../driver/lxd/guests.ts';
import { computeOptions, listeningLog } from '../support/messaging.ts';
import { novaInstance } from '../support/nova-objects.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

const caller: Caller = { requestId: 'req-cut0' };
const TIMEOUT = { timeout: 120_000 };
const instance = novaInstance({ id: 0xc17, uuid: '135877f5-8316-4b41-9393-000000000c17' });
const { uuid } = instance;
const name = 'instance-00000c17';

let daemon: SlipwayDaemon;
let client: LxdClient;
let guests: Guests;
let fingerprint: string;

before(async () => {
  daemon = await SlipwayDaemon.start();
  await daemon.done('POST', '/1.0/storage-pools', { name: 'default', driver: 'overlay' });
  fingerprint = await daemon.importImage(await buildTinyImage(daemon.dir), 'tiny');
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
  assert.equal(ran.exitCode, 0, ran.stderr);
  return ran.stdout;
}

function spawn(adminPassword: string | null): Promise<void> {
  return guests.spawn(caller, { instance, fingerprint, vifs: [], drive: null, start: true, adminPassword });
}

test('a rescue that was cut off is taken back, however far it came', TIMEOUT, async () => {
  await spawn(null);
  await guests.cancelRescue(caller, uuid);
  assert.equal(await guests.power(caller, uuid), POWER.running);
  await inside('sh', '-c', 'echo mine > /etc/state');
  await guests.rescue(caller, { instance, fingerprint, vifs: [], drive: null, password: null });
  await guests.cancelRescue(caller, uuid);
  assert.equal(await guests.power(caller, uuid), POWER.shutdown);

  // The compute service ended before the one that looks after it was made.
  const aside = { 'user.nova.uuid': '', 'user.nova.kept_for': uuid };
  await client.patch(caller, name, { config: aside });
  await client.rename(caller, name, `${name}-rescued`);
  await guests.cancelRescue(caller, uuid);
  // It ended before the start.
  await guests.unrescue(caller, uuid);
  assert.equal(await guests.power(caller, uuid), POWER.running);
  assert.equal(await inside('cat', '/etc/state'), 'mine\n');
  await guests.destroy(caller, uuid);
  assert.equal(await client.instance(caller, name), null);
});

test('a guest that is turned off at once has its password all the same', TIMEOUT, async () => {
  await spawn('a-Secret-9');
  await guests.powerOff(caller, uuid, 0);
  await guests.powerOn(caller, uuid, []);
  assert.match(await inside('cat', '/etc/shadow'), /^root:\$/m);
  await guests.destroy(caller, uuid);
});

test('a daemon that dies while a first password is set, sets it when it is back', TIMEOUT, async () => {
  await spawn('a-Secret-9');
  await daemon.kill();
  await daemon.restart();
  await guests.powerOff(caller, uuid, 0);
  await guests.powerOn(caller, uuid, []);
  assert.match(await inside('cat', '/etc/shadow'), /^root:\$/m);
  await guests.destroy(caller, uuid);
});
