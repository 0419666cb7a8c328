/**
 * Whatever the compute service stands on dies in the middle of a build, a
 * delete and a reboot: every server ends ACTIVE or in ERROR with a reason, can
 * be deleted, and leaves nothing.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { eventually } from '../../tempest/cloud/openstack.ts';
import { awaitServices } from '../../tempest/cloud/control-plane.ts';
import { RunningCloud } from '../support/running-cloud.ts';

let cloud: RunningCloud;
const quiet = { detail: () => undefined, result: () => undefined };
const BEGUN_MS = 60_000;

before(async () => {
  cloud = await RunningCloud.open();
});

afterEach(async () => {
  await cloud.startDaemon();
  await cloud.startCompute();
});

after(() => cloud.cleanUp());

/** Waits until a build is at this task, or over. */
async function begun(id: string, task: string): Promise<void> {
  await eventually(`${task} of ${id} has begun`, BEGUN_MS, async () => {
    const server = await cloud.server(id);
    return server['OS-EXT-STS:task_state'] === task || server['status'] === 'ACTIVE' ? true : null;
  });
}

/** Dies and comes back, while requests of all three kinds are under way. */
async function survives(name: string, die: () => Promise<void>): Promise<void> {
  const [doomed, booted] = await Promise.all([
    cloud.boot(`test-${name}-delete`),
    cloud.boot(`test-${name}-reboot`),
  ]);
  const built = await cloud.request(`test-${name}-build`, { image: 'debian-13', flavor: 'small' });
  await begun(built, 'spawning');
  await cloud.act(booted, { reboot: { type: 'HARD' } });
  await cloud.demo.request('compute', 'DELETE', `/servers/${doomed}`);
  await die();
  for (const id of [built, booted]) {
    const end = await cloud.settled(id);
    const container = await cloud.container(id);
    if (end === 'ACTIVE') assert.equal(container?.status, 'Running');
  }
  // What was asked for while nobody could do it may be asked for once more.
  for (const id of [doomed, built, booted]) await cloud.remove(id);
  for (const id of [doomed, built, booted]) await cloud.leavesNothing(id);
}

test('the compute service is killed', () =>
  survives('compute', async () => {
    await cloud.killCompute();
    await cloud.startCompute();
  }));

test('the daemon is killed', () =>
  survives('daemon', async () => {
    await cloud.killDaemon();
    await cloud.startDaemon();
  }));

for (const [name, unit] of [
  ['broker', 'rabbitmq-server'],
  ['database', 'mariadb'],
  ['conductor', 'nova-conductor'],
] as const) {
  test(`the ${name} is killed`, () =>
    survives(name, async () => {
      await cloud.killInControl(unit);
      await awaitServices(cloud.cloud, quiet);
    }));
}
