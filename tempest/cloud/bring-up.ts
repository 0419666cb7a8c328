/** `npm run cloud`: the steps, each of which does only what is missing. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ensureNetwork, ensurePool, ensureProfile } from '../../api/setup/defaults.ts';
import type { Progress, StepReport } from '../../api/setup/progress.ts';
import { Fault } from '../../process/fault.ts';
import { computeLog, computePid, ensureCompute, stopCompute } from './compute-host.ts';
import { ensureControlImage } from './control-image.ts';
import {
  awaitServices,
  ensureControl,
  ensureManagementBridge,
  hasMaster,
  makeMaster,
  removeInstance,
} from './control-plane.ts';
import { ensureDaemon } from './daemon.ts';
import { installPackages, makeBase } from './debian-tree.ts';
import { awaitTcp, ensureFloating, ensureServer, FIRST_SERVER } from './first-server.ts';
import { ADMIN, DEMO, eventually, OpenStack } from './openstack.ts';
import { ensureOvnSide, stopOvnSide } from './ovn-side.ts';
import { seedAsAdmin, seedAsTenant } from './seed.ts';
import { DEBIAN_IMAGE, ensureDebianImage, ensureTinyImage, TINY_IMAGE } from './server-images.ts';
import { CONTROL, ensureFacts, openCloud, type Cloud, type CloudPlaces } from './setting.ts';
import { removeServers } from './take-down.ts';
import { tell, writeOpenrc } from './tell.ts';

const SSH_PORT = 22;

export async function bringUp(
  places: CloudPlaces,
  progress: Progress,
  signal: AbortSignal,
  fresh: boolean,
): Promise<void> {
  const started = performance.now();
  const cloud = openCloud(places, await ensureFacts(places.home), progress, signal);
  try {
    await furnishDaemon(cloud);
    if (fresh) await discardState(cloud);
    await raiseControlPlane(cloud);
    await raiseHost(cloud);
    const address = await bootFirst(cloud);
    await writeOpenrc(cloud);
    await tell(cloud, address, performance.now() - started);
  } finally {
    cloud.lxd.close();
  }
}

/** What a copy of the master must not meet: servers and a compute node of the one before. */
async function discardState(cloud: Cloud): Promise<void> {
  await cloud.progress.step('state of the cloud before', async (report) => {
    await stopCompute(cloud.home);
    const count = await removeServers(cloud);
    await stopOvnSide(cloud.home);
    await removeInstance(cloud, CONTROL);
    for (const name of ['compute', 'ovn']) await rm(join(cloud.home, name), { recursive: true, force: true });
    report.result(`removed, ${String(count)} servers with it`);
  });
}

async function furnishDaemon(cloud: Cloud): Promise<void> {
  const { progress, signal, rest } = cloud;
  await ensureDaemon(cloud);
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
  await step('management network', (report) => ensureManagementBridge(cloud, report));
  if (!(await hasMaster(cloud))) {
    const image = await progress.step('image of the control plane', (report) =>
      ensureControlImage(cloud, report),
    );
    await step('control plane, configured', (report) => makeMaster(cloud, image, report));
  }
  await step('control plane, started', (report) => ensureControl(cloud, report));
  // It costs little and finds its databases by itself, so it starts beside the control plane.
  await step("host's side of OVN", (report) => ensureOvnSide(cloud, report));
  await step('APIs answer', (report) => awaitServices(cloud, report));
}

async function raiseHost(cloud: Cloud): Promise<void> {
  const { progress, facts } = cloud;
  const admin = new OpenStack(facts, ADMIN, cloud.signal);
  await progress.step('compute service', (report) => ensureCompute(cloud, report));
  await progress.step('the host is up and known', async (report) => {
    await awaitAgents(cloud, admin, report);
    await awaitHypervisor(cloud, admin, report);
  });
}

const HOST_MS = 120_000;

/** Neutron binds no port to a host whose controller it has not heard of. */
async function awaitAgents(cloud: Cloud, admin: OpenStack, report: StepReport): Promise<void> {
  report.detail('Neutron hears of its network controller');
  await eventually(`the network controller of ${cloud.facts.host} is known to Neutron`, HOST_MS, async () => {
    const agents = await admin.list('network', `/agents?host=${cloud.facts.host}`, 'agents');
    const isUp = agents.some(
      (one) => String(one['agent_type']).includes('ontroller') && one['alive'] === true,
    );
    return isUp ? true : null;
  });
}

async function awaitHypervisor(cloud: Cloud, admin: OpenStack, report: StepReport): Promise<void> {
  report.detail('Nova maps it to a cell');
  await eventually(
    `the compute service of ${cloud.facts.host} is up and mapped (its log is ${computeLog(cloud.home)})`,
    HOST_MS,
    async () => {
      if ((await computePid(cloud.home)) === null) {
        throw new Fault('tool_failed', `the compute service has ended; its log is ${computeLog(cloud.home)}`);
      }
      // Without details: these are asked of the compute service itself.
      const hypervisors = await admin.list('compute', '/os-hypervisors', 'hypervisors');
      const mine = hypervisors.find((one) => one['hypervisor_hostname'] === cloud.facts.host);
      return mine?.['state'] === 'up' ? true : null;
    },
  );
}

async function bootFirst(cloud: Cloud): Promise<string> {
  const { progress, facts, signal } = cloud;
  const admin = new OpenStack(facts, ADMIN, signal);
  const demo = new OpenStack(facts, DEMO, signal);
  await progress.step('flavors and networks', () => seedAsAdmin(cloud, admin));
  const network = await progress.step('network, rules and key of a tenant', () => seedAsTenant(cloud, demo));
  await progress.step(`image ${TINY_IMAGE}`, (report) => ensureTinyImage(cloud, admin, report));
  const image = await progress.step(`image ${DEBIAN_IMAGE}`, (report) =>
    ensureDebianImage(cloud, admin, report),
  );
  const wish = { name: FIRST_SERVER, image, flavor: 'small', network };
  const server = await progress.step('first server', (report) => ensureServer(demo, wish, report));
  return progress.step('first server answers over TCP', async (report) => {
    const address = await ensureFloating(demo, server);
    await awaitTcp(address, SSH_PORT);
    report.result(`ssh at ${address}`);
    return address;
  });
}
