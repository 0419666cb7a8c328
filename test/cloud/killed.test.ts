/**
 * Our own services die in the middle of a build, a delete and a reboot: every
 * server ends ACTIVE or in ERROR with a reason, can be deleted, and leaves nothing.
 */
import { after, afterEach, before, test } from 'node:test';
import { survives } from '../support/outage.ts';
import { RunningCloud } from '../support/running-cloud.ts';

let cloud: RunningCloud;

before(async () => {
  cloud = await RunningCloud.open();
});

afterEach(async () => {
  await cloud.startDaemon();
  await cloud.startCompute();
});

after(() => cloud.cleanUp());

test('the compute service is killed', () =>
  survives(cloud, 'compute', async () => {
    await cloud.killCompute();
    await cloud.startCompute();
  }));

test('the daemon is killed', () =>
  survives(cloud, 'daemon', async () => {
    await cloud.killDaemon();
    await cloud.startDaemon();
  }));
