/** Ports on a Linux bridge, of guests that run already: they speak TCP with each other. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import type { Vif } from '../../driver/cloud/vif.ts';
import type { Caller } from '../../driver/lxd/client.ts';
import { GuestHost } from '../support/guest-host.ts';
import { until } from '../support/messaging.ts';
import { novaInstance, novaVif } from '../support/nova-objects.ts';

const caller: Caller = { requestId: 'req-b41d' };
const BRIDGE = 'brqguest0';
const SERVERS = [1, 2].map((at) =>
  novaInstance({ id: 0x7e0 + at, uuid: `135877f5-8316-4b41-9393-0000000007e${String(at)}` }),
);

let host: GuestHost;

before(async () => {
  host = await GuestHost.open();
  for (const instance of SERVERS) {
    await host.guests.spawn(caller, host.request(instance));
  }
});

after(() => host.close());

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
  return host.client.exec(caller, `instance-000007e${String(at)}`, ['sh', '-c', script]);
}

test('guests that got a port while they ran reach each other over it', { timeout: 120_000 }, async () => {
  for (const [index, instance] of SERVERS.entries()) {
    const at = index + 1;
    await host.guests.attachInterface(caller, instance, port(at));
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
    await host.guests.detachInterface(caller, instance.uuid, port(index + 1));
  }
  assert.ok(!existsSync(`/sys/class/net/${BRIDGE}`));
  for (const { uuid } of SERVERS) await host.guests.destroy(caller, uuid);
});
