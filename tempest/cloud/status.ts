/** `npm run cloud -- status`: what of the cloud runs. */
import * as background from '../../api/setup/background.ts';
import type { Progress } from '../../api/setup/progress.ts';
import { describeChain } from '../../process/fault.ts';
import { computePid } from './compute-host.ts';
import { answers, SERVICES } from './control-plane.ts';
import { ADMIN, OpenStack, type Json } from './openstack.ts';
import { ovnPid } from './ovn-side.ts';
import { CONTROL, controlAddress, openCloud, readFacts, type Cloud, type CloudPlaces } from './setting.ts';

/** Prints it. Resolves to 0 when everything runs, 3 (as `systemctl status` has it) otherwise. */
export async function showStatus(
  places: CloudPlaces,
  progress: Progress,
  signal: AbortSignal,
): Promise<number> {
  const facts = await readFacts(places.home);
  if (facts === null) {
    progress.line(`there is no cloud in ${places.home}; "npm run cloud" makes one`);
    return 3;
  }
  const cloud = openCloud(places, facts, progress, signal);
  try {
    const findings = [...(await processes(cloud)), ...(await services(cloud))];
    for (const [what, state] of findings) progress.line(`${what.padEnd(18)} ${state ?? 'does not run'}`);
    const isWhole = findings.every(([, state]) => state !== null);
    if (isWhole) await showCloud(cloud);
    return isWhole ? 0 : 3;
  } finally {
    cloud.lxd.close();
  }
}

type Finding = readonly [what: string, state: string | null];

async function processes(cloud: Cloud): Promise<Finding[]> {
  const shown = (pid: number | null): string | null => (pid === null ? null : `process ${String(pid)}`);
  const daemon = await background.daemonPid(cloud.rest, cloud.signal);
  const control = daemon === null ? null : await cloud.lxd.instance(cloud.caller, CONTROL);
  return [
    ['daemon', shown(daemon)],
    ['control plane', control?.status === 'Running' ? controlAddress(cloud.facts) : null],
    ["host's side of OVN", shown(await ovnPid(cloud.home))],
    ['compute service', shown(await computePid(cloud.home))],
  ];
}

async function services(cloud: Cloud): Promise<Finding[]> {
  return Promise.all(
    SERVICES.map(async (service): Promise<Finding> => {
      const isThere = await answers(cloud, service);
      return [service.name, isThere ? `port ${String(service.port)}` : null];
    }),
  );
}

async function showCloud(cloud: Cloud): Promise<void> {
  const admin = new OpenStack(cloud.facts, ADMIN, cloud.signal);
  try {
    const kinds = ['services', 'servers'] as const;
    const [workers, servers] = await Promise.all([
      admin.list('compute', '/os-services', kinds[0]),
      admin.list('compute', '/servers/detail?all_tenants=true', kinds[1]),
    ]);
    for (const one of workers)
      cloud.progress.line(`${textOf(one, 'binary').padEnd(18)} ${textOf(one, 'state')}`);
    cloud.progress.line(`servers            ${String(servers.length)}`);
    for (const one of servers)
      cloud.progress.line(`  ${textOf(one, 'status').padEnd(10)} ${textOf(one, 'name')}`);
  } catch (err) {
    cloud.progress.line(`Nova does not tell more: ${describeChain(err)}`);
  }
}

function textOf(thing: Json, key: string): string {
  return String(thing[key] ?? '');
}
