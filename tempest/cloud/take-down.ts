/** `npm run cloud -- down`: the reverse of bringing it up. The daemon stays; `npm run down` ends it. */
import { rm } from 'node:fs/promises';
import type { Progress } from '../../api/setup/progress.ts';
import { UUID_KEY } from '../../driver/lxd/client.ts';
import { isFault } from '../../process/fault.ts';
import { PLACE, stopCompute } from './compute-host.ts';
import { dropControlImage } from './control-image.ts';
import { removeInstance } from './control-plane.ts';
import { ensureDaemon } from './daemon.ts';
import { stopOvnSide } from './ovn-side.ts';
import {
  CONTROL,
  MANAGEMENT_BRIDGE,
  MASTER,
  openCloud,
  readFacts,
  type Cloud,
  type CloudPlaces,
} from './setting.ts';

export interface TakeDownWish {
  readonly purge: boolean;
  readonly cache: boolean;
}

const STOP_S = 60;

export async function takeDown(
  places: CloudPlaces,
  wish: TakeDownWish,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const facts = await readFacts(places.home);
  if (facts === null) progress.line(`there is no cloud in ${places.home}`);
  else {
    const cloud = openCloud(places, facts, progress, signal);
    try {
      await stopAll(cloud);
      if (wish.purge) await purge(cloud);
    } finally {
      cloud.lxd.close();
    }
  }
  if (wish.purge) for (const path of [places.home, PLACE]) await rm(path, { recursive: true, force: true });
  if (wish.cache) await rm(places.cache, { recursive: true, force: true });
}

/** Servers are stopped by the daemon and not through Nova: the next start brings back what ran. */
async function stopAll(cloud: Cloud): Promise<void> {
  const { progress } = cloud;
  await progress.step('compute service', async (report) => {
    report.result((await stopCompute(cloud.home)) ? 'stopped' : 'did not run');
  });
  // Containers may have outlived their daemon, and only a daemon knows which they are.
  await ensureDaemon(cloud);
  await progress.step('servers', async (report) => {
    report.result(`${String(await stopServers(cloud))} stopped`);
  });
  await progress.step("host's side of OVN", async (report) => {
    report.result((await stopOvnSide(cloud.home)) ? 'stopped' : 'did not run');
  });
  await progress.step('control plane', async (report) => {
    report.result((await stopControl(cloud)) ? 'stopped' : 'did not run');
  });
}

async function stopServers(cloud: Cloud): Promise<number> {
  const running = (await cloud.lxd.novaInstances(cloud.caller)).filter((one) => one.status !== 'Stopped');
  const stops = running.map((one) =>
    cloud.lxd.changeState(cloud.caller, one.name, { action: 'stop', force: true }),
  );
  await Promise.all(stops);
  return running.length;
}

async function stopControl(cloud: Cloud): Promise<boolean> {
  const there = await cloud.lxd.instance(cloud.caller, CONTROL);
  if (there === null || there.status === 'Stopped') return false;
  try {
    await cloud.lxd.changeState(cloud.caller, CONTROL, { action: 'stop', timeoutS: STOP_S });
  } catch (err) {
    if (!isFault(err)) throw err;
    await cloud.lxd.changeState(cloud.caller, CONTROL, { action: 'stop', force: true });
  }
  return true;
}

/** The servers of a control plane that is about to go: nobody else knows them. */
export async function removeServers(cloud: Cloud): Promise<number> {
  const all = await cloud.lxd.novaInstances(cloud.caller);
  for (const one of all) {
    if ((one.config[UUID_KEY] ?? '') !== '') await removeInstance(cloud, one.name);
  }
  return all.length;
}

async function purge(cloud: Cloud): Promise<void> {
  const { rest, progress, signal } = cloud;
  await progress.step('servers, control plane, image and network', async (report) => {
    report.detail('servers');
    await removeServers(cloud);
    report.detail('control plane');
    for (const name of [CONTROL, MASTER]) await removeInstance(cloud, name);
    await dropControlImage(cloud);
    const bridge = `/1.0/networks/${MANAGEMENT_BRIDGE}`;
    if ((await rest.find(bridge, signal)) !== null) await rest.change('DELETE', bridge, undefined, signal);
    await rest.change('PATCH', '/1.0', { config: { 'network.ovs.connection': '' } }, signal);
    report.result('removed');
  });
}
