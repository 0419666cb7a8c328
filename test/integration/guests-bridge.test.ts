/** Ports on a Linux bridge, of guests that run already: they speak TCP with each other. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import type { Vif } from '../../driver/cloud/vif.ts';
import { LxdClient, type Caller } from '../../driver/lxd/client.ts';
import type { Guests } from '../../driver/lxd/guest-types.ts';
import { createGuests } from '../../driver/lxd/guests.ts';
import { computeOptions, listeningLog, until } from '../support/messaging.ts';
import { novaInstance, novaVif } from '../support/nova-objects.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

const caller: Caller = { requestId: 'req-b41d' };
const BRIDGE = 'brqguest0';
const SERVERS = [1, 2].map((at) =>
  novaInstance({ id: 0x7e0 + at, uuid: `135877f5-8316-4b41-9393-0000000007e${String(at)}` }),
);

let daemon: SlipwayDaemon;
let client: LxdClient;
let guests: Guests;

before(async () => {
  daemon = await SlipwayDaemon.start();
  await daemon.done('POST', '/1.0/storage-pools', { name: 'default', driver: 'overlay' });
  const fingerprint = await daemon.importImage(await buildTinyImage(daemon.dir), 'tiny');
  client = new LxdClient(daemon.socket);
  guests = createGuests({ client, options: computeOptions(''), log: listeningLog().log });
  for (const instance of SERVERS) {
    const request = { instance, fingerprint, vifs: [], drive: null, start: true, adminPassword: null };
    await guests.spawn(caller, request);
  }
});

after(async () => {
  await guests.close();
  client.close();
  await daemon.destroy();
});

function port(at: number): Vif {
  const { network } = novaVif();
  return novaVif({
    id: `0fd0776f-418c-4b7f-bd82-00000000000${String(at)}`,
    address: `fa:16:3e:00:07:0${String(at)}`,
    devname: `tapgbr0${String(at)}`,
    type: 'bridge',
    network: { ...network, bridge: BRIDGE },
  });
}

function inside(at: number, script: string) {
  return client.exec(caller, `instance-000007e${String(at)}`, ['sh', '-c', script]);
}

test('guests that got a port while they ran reach each other over it', { timeout: 120_000 }, async () => {
  for (const [index, instance] of SERVERS.entries()) {
    const at = index + 1;
    await guests.attachInterface(caller, instance, port(at));
    const set = await inside(at, `ip addr add 192.0.2.${String(at)}/24 dev eth0 && ip link set eth0 up`);
    assert.equal(set.exitCode, 0, set.stderr);
  }
  assert.ok(existsSync(`/sys/class/net/${BRIDGE}/brif/tapgbr01`));
  const serving = inside(1, 'echo hello | timeout 60 nc -l -p 7000');
  await until('the other one answers', async () => {
    const { stdout } = await inside(2, 'timeout 5 nc 192.0.2.1 7000 < /dev/null');
    return stdout === 'hello\n';
  });
  await serving;
  for (const [index, instance] of SERVERS.entries()) {
    await guests.detachInterface(caller, instance.uuid, port(index + 1));
  }
  assert.ok(!existsSync(`/sys/class/net/${BRIDGE}`));
  for (const { uuid } of SERVERS) await guests.destroy(caller, uuid);
});
