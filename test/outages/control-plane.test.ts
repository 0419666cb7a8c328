/**
 * Services of the control plane die in the middle of a build, a delete and a
 * reboot: every server ends ACTIVE or in ERROR with a reason, can be deleted,
 * and leaves nothing.
 */
import { after, afterEach, before, test } from 'node:test';
import { awaitServices } from '../../tempest/cloud/control-plane.ts';
import { survives } from '../support/outage.ts';
import { RunningCloud } from '../support/running-cloud.ts';

let cloud: RunningCloud;
const quiet = { detail: () => undefined, result: () => undefined };

before(async () => {
  cloud = await RunningCloud.open();
});

afterEach(async () => {
  await cloud.startCompute();
});

after(() => cloud.cleanUp());

for (const [name, unit] of [
  ['broker', 'rabbitmq-server'],
  ['database', 'mariadb'],
  ['conductor', 'nova-conductor'],
] as const) {
  test(`the ${name} is killed`, () =>
    survives(cloud, name, async () => {
      await cloud.killInControl(unit);
      await awaitServices(cloud.cloud, quiet);
    }));
}
