/** What dies in the middle of a build, a delete and a reboot, and what must be true afterwards. */
import assert from 'node:assert/strict';
import { eventually } from '../../tempest/cloud/openstack.ts';
import type { RunningCloud } from './running-cloud.ts';

const BEGUN_MS = 60_000;

/** Waits until a build is at this task, or over. */
async function begun(cloud: RunningCloud, id: string, task: string): Promise<void> {
  await eventually(`${task} of ${id} has begun`, BEGUN_MS, async () => {
    const server = await cloud.server(id);
    return server['OS-EXT-STS:task_state'] === task || server['status'] === 'ACTIVE' ? true : null;
  });
}

/** Dies and comes back, while requests of all three kinds are under way. */
export async function survives(cloud: RunningCloud, name: string, die: () => Promise<void>): Promise<void> {
  const [doomed, booted] = await Promise.all([
    cloud.boot(`test-${name}-delete`),
    cloud.boot(`test-${name}-reboot`),
  ]);
  const built = await cloud.request(`test-${name}-build`, { image: 'debian-13', flavor: 'small' });
  await begun(cloud, built, 'spawning');
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
