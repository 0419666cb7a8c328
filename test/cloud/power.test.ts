/** Servers are stopped, started, frozen and made anew, and Nova's word for it is what the container does. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually } from '../../tempest/cloud/openstack.ts';
import { RunningCloud } from '../support/running-cloud.ts';

let cloud: RunningCloud;
let server = '';

before(async () => {
  cloud = await RunningCloud.open();
  server = await cloud.boot('test-power', { body: { config_drive: true } });
});

after(() => cloud.cleanUp());

async function state(): Promise<string> {
  return (await cloud.container(server))?.status ?? 'gone';
}

/** Of the first process of the guest, in ticks since the boot of the host. */
async function started(): Promise<string> {
  return (await cloud.inside(server, ['cut', '-d', ' ', '-f', '22', '/proc/1/stat'])).trim();
}

test('stop and start', async () => {
  await cloud.openstack(['server', 'stop', server]);
  await cloud.status(server, 'SHUTOFF');
  assert.equal(await state(), 'Stopped');
  await cloud.openstack(['server', 'start', server]);
  await cloud.status(server, 'ACTIVE');
  assert.equal(await state(), 'Running');
});

test('reboots, soft and hard, start the guest anew', async () => {
  for (const kind of ['SOFT', 'HARD']) {
    const before_ = await started();
    await cloud.act(server, { reboot: { type: kind } });
    await cloud.status(server, 'ACTIVE');
    assert.notEqual(await started(), before_, `${kind} reboot`);
  }
});

test('pause and suspend freeze the guest, and it goes on', async () => {
  const pairs = [
    ['pause', 'PAUSED', 'unpause'],
    ['suspend', 'SUSPENDED', 'resume'],
  ] as const;
  const first = await started();
  for (const [freeze, status, thaw] of pairs) {
    await cloud.act(server, { [freeze]: null });
    await cloud.status(server, status);
    assert.equal(await state(), 'Frozen');
    await cloud.act(server, { [thaw]: null });
    await cloud.status(server, 'ACTIVE');
    assert.equal(await state(), 'Running');
  }
  assert.equal(await started(), first);
});

test('a guest that ends by itself is SHUTOFF, and is not started behind the back of its owner', async () => {
  await cloud.inside(server, ['sh', '-c', 'poweroff & sleep 0.2']).catch(() => '');
  await cloud.status(server, 'SHUTOFF');
  assert.equal(await state(), 'Stopped');
  await cloud.act(server, { 'os-start': null });
  await cloud.status(server, 'ACTIVE');
});

test('rescue boots another root, with the own one beside it', async () => {
  await cloud.inside(server, ['sh', '-c', 'echo mine >/root/mark']);
  await cloud.act(server, { rescue: {} });
  await cloud.status(server, 'RESCUE');
  assert.equal((await cloud.inside(server, ['ls', '/root'])).trim(), '');
  await cloud.act(server, { unrescue: null });
  await cloud.status(server, 'ACTIVE');
  assert.equal((await cloud.inside(server, ['cat', '/root/mark'])).trim(), 'mine');
});

test('rebuild makes the root anew and keeps the address', async () => {
  const [before_] = await cloud.demo.list('network', `/ports?device_id=${server}`, 'ports');
  await cloud.inside(server, ['touch', '/root/mark']);
  const image = (await cloud.demo.list('image', '/images?name=busybox', 'images'))[0]?.['id'];
  await cloud.act(server, { rebuild: { imageRef: image } });
  await cloud.status(server, 'ACTIVE');
  assert.equal((await cloud.inside(server, ['ls', '/root'])).trim(), '');
  const [port] = await cloud.demo.list('network', `/ports?device_id=${server}`, 'ports');
  assert.deepEqual(port?.['fixed_ips'], before_?.['fixed_ips']);
  const wanted = (port?.['fixed_ips'] as readonly { ip_address: string }[])[0]?.ip_address ?? '';
  await eventually('the address is back', 30_000, async () =>
    (await cloud.inside(server, ['ip', '-4', 'addr'])).includes(wanted) ? true : null,
  );
});
