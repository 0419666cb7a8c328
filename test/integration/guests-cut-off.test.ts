/** Guests whose life was interrupted: a rescue that was cut off, a boot that was ended at once. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Caller } from '../../driver/lxd/client.ts';
import { POWER } from '../../driver/lxd/guest-types.ts';
import { GuestHost } from '../support/guest-host.ts';
import { novaInstance } from '../support/nova-objects.ts';

const caller: Caller = { requestId: 'req-cut0' };
const TIMEOUT = { timeout: 120_000 };
const instance = novaInstance({ id: 0xc17, uuid: '135877f5-8316-4b41-9393-000000000c17' });
const { uuid } = instance;
const name = 'instance-00000c17';

let host: GuestHost;

before(async () => {
  host = await GuestHost.open();
});

after(() => host.close());

function inside(...command: readonly string[]): Promise<string> {
  return host.inside(caller, name, command);
}

function spawn(adminPassword: string | null): Promise<void> {
  return host.guests.spawn(caller, host.request(instance, { adminPassword }));
}

test('a rescue that was cut off is taken back, however far it came', TIMEOUT, async () => {
  await spawn(null);
  await host.guests.cancelRescue(caller, uuid);
  assert.equal(await host.guests.power(caller, uuid), POWER.running);
  await inside('sh', '-c', 'echo mine > /etc/state');
  await host.guests.rescue(caller, host.rescueRequest(instance));
  await host.guests.cancelRescue(caller, uuid);
  assert.equal(await host.guests.power(caller, uuid), POWER.shutdown);

  // The compute service ended before the one that looks after it was made.
  const aside = { 'user.nova.uuid': '', 'user.nova.kept_for': uuid };
  await host.client.patch(caller, name, { config: aside });
  await host.client.rename(caller, name, `${name}-rescued`);
  await host.guests.cancelRescue(caller, uuid);
  // It ended before the start.
  await host.guests.unrescue(caller, uuid);
  assert.equal(await host.guests.power(caller, uuid), POWER.running);
  assert.equal(await inside('cat', '/etc/state'), 'mine\n');
  await host.guests.destroy(caller, uuid);
  assert.equal(await host.client.instance(caller, name), null);
});

test('a guest that is turned off at once has its password all the same', TIMEOUT, async () => {
  await spawn('a-Secret-9');
  await host.guests.powerOff(caller, uuid, 0);
  await host.guests.powerOn(caller, uuid, []);
  assert.match(await inside('cat', '/etc/shadow'), /^root:\$/m);
  await host.guests.destroy(caller, uuid);
});

test('a daemon that dies while a first password is set, sets it when it is back', TIMEOUT, async () => {
  await spawn('a-Secret-9');
  await host.daemon.kill();
  await host.daemon.restart();
  await host.guests.powerOff(caller, uuid, 0);
  await host.guests.powerOn(caller, uuid, []);
  assert.match(await inside('cat', '/etc/shadow'), /^root:\$/m);
  await host.guests.destroy(caller, uuid);
});
