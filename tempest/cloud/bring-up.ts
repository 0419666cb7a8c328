/** `npm run cloud`: the steps, each of which does only what is missing. */
import { join } from 'node:path';
import * as background from '../../api/setup/background.ts';
import { ensureNetwork, ensurePool, ensureProfile } from '../../api/setup/defaults.ts';
import { seconds, type Progress, type StepReport } from '../../api/setup/progress.ts';
import { PROGRAM_ROOT } from '../../config/root.ts';
import { ensureControlImage } from './control-image.ts';
import { awaitServices, ensureControl, ensureManagementBridge, ensureMaster } from './control-plane.ts';
import { installPackages, makeBase } from './debian-tree.ts';
import { ensureFacts, openCloud, type Cloud, type CloudPlaces } from './setting.ts';

/** The built program: the daemon and the compute service outlive this one. */
export const PROGRAM = [process.execPath, join(PROGRAM_ROOT, 'dist', 'process', 'slipway.js')];

export async function bringUp(
  places: CloudPlaces,
  progress: Progress,
  signal: AbortSignal,
  fresh: boolean,
): Promise<void> {
  const started = performance.now();
  const cloud = openCloud(places, await ensureFacts(places.home), progress, signal);
  try {
    await startDaemon(cloud);
    await raiseControlPlane(cloud);
  } finally {
    cloud.lxd.close();
  }
  void fresh;
  progress.line(`everything took ${seconds(performance.now() - started)}`);
}

async function startDaemon(cloud: Cloud): Promise<void> {
  const { progress, signal, rest, daemon } = cloud;
  await progress.step('daemon', async (report) => {
    await background.ensureLxcfs(daemon, signal);
    const running = await background.daemonPid(rest, signal);
    const pid = running ?? (await background.startDaemon(daemon, signal, PROGRAM));
    report.result(`${running === null ? 'started' : 'running already'}, process ${String(pid)}`);
  });
  await progress.step('storage, network and profile', async (report) => {
    const made = [
      await ensurePool(rest, signal),
      await ensureNetwork(rest, signal),
      await ensureProfile(rest, signal),
    ].filter((text) => text !== null);
    report.result(made.length === 0 ? 'there already' : made.join('; '));
  });
}

async function raiseControlPlane(cloud: Cloud): Promise<void> {
  const { progress } = cloud;
  const step = (what: string, work: (report: StepReport) => Promise<void>): Promise<void> =>
    progress.step(what, work);
  await step('Debian 13', (report) => makeBase(cloud.cache, { signal: cloud.signal, report }));
  await step('packages of OpenStack', (report) =>
    installPackages(cloud.cache, { signal: cloud.signal, report }),
  );
  const image = await progress.step('image of the control plane', (report) =>
    ensureControlImage(cloud, report),
  );
  await step('management network', (report) => ensureManagementBridge(cloud, report));
  await step('control plane, configured', (report) => ensureMaster(cloud, image, report));
  await step('control plane, started', (report) => ensureControl(cloud, report));
  await step('APIs answer', (report) => awaitServices(cloud, report));
}
