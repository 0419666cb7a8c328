/** What cannot be is refused with a reason, and leaves nothing behind. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Json } from '../../tempest/cloud/openstack.ts';
import { RunningCloud } from '../support/running-cloud.ts';

let cloud: RunningCloud;
let folder = '';
let image = '';

before(async () => {
  cloud = await RunningCloud.open();
  folder = await mkdtemp(join(tmpdir(), 'slipway-cloud-test-'));
  const file = join(folder, 'noise');
  await writeFile(file, randomBytes(100_000));
  const body = { name: 'test-noise', container_format: 'bare', disk_format: 'raw' };
  image = String((await cloud.demo.request('image', 'POST', '/images', body))['id']);
  await cloud.demo.upload(image, file);
});

after(async () => {
  try {
    await cloud.demo.request('image', 'DELETE', `/images/${image}`);
    await rm(folder, { recursive: true });
  } finally {
    await cloud.cleanUp();
  }
});

test('an image that is none ends in ERROR with a fault that says so', async () => {
  const id = await cloud.request('test-bad-image', { image: 'test-noise' });
  const server = await cloud.status(id, 'ERROR');
  // Nova adds it to servers in ERROR.
  const fault = server['fault'] as Json;
  assert.match(String(fault['message']), /image/i);
  await cloud.remove(id);
  await cloud.leavesNothing(id);
});

test('an image larger than the root disk of the flavor is refused', async () => {
  const file = join(folder, 'large');
  await writeFile(file, randomBytes(1024));
  const body = { name: 'test-large', container_format: 'bare', disk_format: 'raw', min_disk: 2 };
  const large = String((await cloud.demo.request('image', 'POST', '/images', body))['id']);
  await cloud.demo.upload(large, file);
  try {
    await assert.rejects(
      cloud.request('test-too-large', { image: 'test-large', flavor: 'tiny' }),
      (err: unknown) => err instanceof Error && err.message.includes('disk'),
    );
  } finally {
    await cloud.demo.request('image', 'DELETE', `/images/${large}`);
  }
});

test('a server that is deleted while it is built is gone, and so is all of it', async () => {
  const id = await cloud.request('test-early-delete', { image: 'debian-13', flavor: 'small' });
  await cloud.remove(id);
  await cloud.leavesNothing(id);
});

test('what is not supported is refused and the server goes on', async () => {
  const id = await cloud.boot('test-refused');
  const flavor = (await cloud.demo.list('compute', '/flavors', 'flavors')).find(
    (one) => one['name'] === 'small',
  );
  await cloud.act(id, { resize: { flavorRef: flavor?.['id'] } }).catch((err: unknown) => {
    assert.ok(err instanceof Error && /4\d\d|501/.test(err.message), String(err));
  });
  await cloud.status(id, 'ACTIVE');
  assert.equal((await cloud.container(id))?.status, 'Running');
});
