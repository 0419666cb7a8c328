/** Processes die in the middle of work: every server ends ACTIVE or in ERROR with a reason, and can be deleted. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually } from '../../tempest/cloud/openstack.ts';
import { RunningCloud } from '../support/running-cloud.ts';

let cloud: RunningCloud;
const SETTLED_MS = 240_000;
/** Tasks of a build, in their order; between them there may be none. */
const TASKS = ['scheduling', 'networking', 'block_device_mapping', 'spawning'];

before(async () => {
  cloud = await RunningCloud.open();
});

after(async () => {
  await cloud.startCompute();
  await cloud.cleanUp();
});

test('the compute service is killed while it builds', async () => {
  for (const moment of ['scheduling', 'networking', 'spawning']) {
    const id = await cloud.request(`test-killed-${moment}`, { image: 'debian-13', flavor: 'small' });
    await eventually(`the build is at ${moment} or past it`, 60_000, async () => {
      const server = await cloud.server(id);
      const isOver = server['status'] !== 'BUILD';
      const task = TASKS.indexOf(String(server['OS-EXT-STS:task_state']));
      return isOver || task >= TASKS.indexOf(moment) ? true : null;
    });
    await cloud.killCompute();
    await cloud.startCompute();
    const end = await cloud.settled(id);
    if (end === 'ACTIVE') assert.equal((await cloud.container(id))?.status, 'Running');
    await cloud.remove(id);
    await cloud.leavesNothing(id);
  }
});

test('a request that comes while the compute service is away is done when it is back', async () => {
  const id = await cloud.boot('test-away');
  await cloud.stopCompute();
  await cloud.act(id, { 'os-stop': null });
  await cloud.startCompute();
  await cloud.status(id, 'SHUTOFF');
  assert.equal((await cloud.container(id))?.status, 'Stopped');
});

test('after a reboot of the host the servers that ran run again, and no others', async () => {
  const runs = await cloud.boot('test-runs');
  const stopped = await cloud.boot('test-stopped');
  await cloud.act(stopped, { 'os-stop': null });
  await cloud.status(stopped, 'SHUTOFF');
  await cloud.killCompute();
  const container = await cloud.container(runs);
  assert.ok(container !== null);
  // What a reboot leaves of a container: its files, and nothing that runs.
  await cloud.lxd.changeState({ requestId: '' }, container.name, { action: 'stop', force: true });
  await cloud.startCompute();
  await eventually('the server that ran runs again', SETTLED_MS, async () =>
    (await cloud.container(runs))?.status === 'Running' ? true : null,
  );
  await cloud.status(runs, 'ACTIVE');
  await cloud.status(stopped, 'SHUTOFF');
  assert.equal((await cloud.container(stopped))?.status, 'Stopped');
});

test('requests go through after broker and conductor were restarted, and servers never noticed', async () => {
  const id = await cloud.boot('test-unnoticed');
  const tick = ['cut', '-d', ' ', '-f', '22', '/proc/1/stat'];
  const first = await cloud.inside(id, tick);
  await cloud.inControl(['systemctl', 'restart', 'rabbitmq-server', 'nova-conductor']);
  assert.equal(await cloud.inside(id, tick), first);
  await cloud.computeListens();
  await cloud.openstack(['server', 'stop', id]);
  await cloud.status(id, 'SHUTOFF');
  await cloud.act(id, { 'os-start': null });
  await cloud.status(id, 'ACTIVE');
  assert.notEqual(await cloud.inside(id, tick), first);
});
