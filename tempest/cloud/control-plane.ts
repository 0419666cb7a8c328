/**
 * The control plane: a system container of our own. It is configured once, in
 * an instance that is then kept stopped; what runs is a copy of that, so that a
 * fresh cloud costs a copy and a boot.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { until } from '../../api/setup/background.ts';
import type { StepReport } from '../../api/setup/progress.ts';
import { PROGRAM_ROOT } from '../../config/root.ts';
import { Fault, isFault } from '../../process/fault.ts';
import { pullFile, pushFile, pushFolder } from './guest-files.ts';
import {
  CONTROL,
  controlAddress,
  hostAddress,
  MANAGEMENT_BRIDGE,
  MASTER,
  PHYSICAL_NETWORK,
  REGION,
  type Cloud,
} from './setting.ts';

const GUEST_FILES = join(PROGRAM_ROOT, 'tempest', 'cloud', 'guest');
const GUEST_FOLDER = '/opt/cloud';
const STEP_FILE = '/run/cloud-step';
const SETUP_LOG = '/var/log/cloud-setup.log';
/** Set on the master when it is whole. */
const READY_KEY = 'user.cloud.ready';
const BOOT_MS = 180_000;
const ANSWER_MS = 300_000;
const STOP_S = 120;
const LAST_LINES = 15;

/** No default route: nothing inside has to reach further than this host. */
function networkFile(cloud: Cloud): string {
  return `[Match]
Name=eth0

[Network]
Address=${controlAddress(cloud.facts)}/24
LinkLocalAddressing=no
IPv6AcceptRA=no
`;
}

/** With a writable /sys networkd waits for a udev that is not there. */
const NETWORKD_FOLDER = '/etc/systemd/system/systemd-networkd.service.d';
const NETWORKD_DROP_IN = '[Service]\nBindReadOnlyPaths=/sys\n';

/** Read by the scripts of guest/. */
function settingsFile(cloud: Cloud): string {
  const values = {
    CONTROL_IP: controlAddress(cloud.facts),
    HOST_IP: hostAddress(cloud.facts),
    PASSWORD: cloud.facts.password,
    REGION,
    PHYSICAL_NETWORK,
  };
  const lines = Object.entries(values).map(([name, value]) => `export ${name}='${value}'`);
  return `${lines.join('\n')}\n`;
}

/** The bridge between the host and its control plane. Nothing is forwarded from or to it. */
export async function ensureManagementBridge(cloud: Cloud, report: StepReport): Promise<void> {
  const address = `${hostAddress(cloud.facts)}/24`;
  const path = `/1.0/networks/${MANAGEMENT_BRIDGE}`;
  // The shape is the daemon's own answer.
  const there = (await cloud.rest.find(path, cloud.signal)) as { config?: Record<string, string> } | null;
  if (there === null) {
    const config = {
      'ipv4.address': address,
      'ipv4.dhcp': 'false',
      'ipv4.nat': 'false',
      'ipv4.routing': 'false',
      'ipv6.address': 'none',
    };
    const body = { name: MANAGEMENT_BRIDGE, type: 'bridge', config };
    await cloud.rest.change('POST', '/1.0/networks', body, cloud.signal);
    report.result(`${MANAGEMENT_BRIDGE} made, ${address}`);
    return;
  }
  const found = there.config?.['ipv4.address'] ?? 'no address';
  if (found !== address) {
    throw new Fault(
      'conflict',
      `${MANAGEMENT_BRIDGE} has ${found} and not ${address}: it is not of this cloud`,
    );
  }
  report.result('there already');
}

/** True when there is a master, and it is whole. */
export async function hasMaster(cloud: Cloud): Promise<boolean> {
  return (await cloud.lxd.instance(cloud.caller, MASTER))?.config[READY_KEY] === 'true';
}

/** Makes and configures the master from the image of this fingerprint; what an interrupted run left goes first. */
export async function makeMaster(cloud: Cloud, image: string, report: StepReport): Promise<void> {
  await removeInstance(cloud, MASTER);
  report.detail('creating');
  await cloud.lxd.create(cloud.caller, {
    name: MASTER,
    source: { type: 'image', fingerprint: image },
    profiles: [],
    config: { 'security.nesting': 'true', 'boot.autostart': 'false' },
    devices: {
      root: { type: 'disk', path: '/', pool: 'default' },
      eth0: { type: 'nic', name: 'eth0', network: MANAGEMENT_BRIDGE },
      tun: { type: 'unix-char', source: '/dev/net/tun', path: '/dev/net/tun' },
    },
  });
  await pushGuestFiles(cloud);
  await boot(cloud, MASTER);
  await awaitRest(cloud, MASTER, report);
  await configure(cloud, report);
  report.detail('stopping');
  await cloud.lxd.changeState(cloud.caller, MASTER, { action: 'stop', timeoutS: STOP_S });
  await cloud.lxd.patch(cloud.caller, MASTER, { config: { [READY_KEY]: 'true' } });
}

async function pushGuestFiles(cloud: Cloud): Promise<void> {
  const push = (path: string, content: string, mode: number): Promise<void> =>
    pushFile(cloud, MASTER, { path, content, mode });
  await pushFolder(cloud, MASTER, GUEST_FOLDER);
  for (const name of await readdir(GUEST_FILES)) {
    await push(`${GUEST_FOLDER}/${name}`, await readFile(join(GUEST_FILES, name), 'utf8'), 0o644);
  }
  await push(`${GUEST_FOLDER}/settings.sh`, settingsFile(cloud), 0o600);
  await push('/etc/systemd/network/10-cloud.network', networkFile(cloud), 0o644);
  await pushFolder(cloud, MASTER, NETWORKD_FOLDER);
  await push(`${NETWORKD_FOLDER}/cloud.conf`, NETWORKD_DROP_IN, 0o644);
  await push('/etc/hosts', `127.0.0.1 localhost\n${controlAddress(cloud.facts)} control\n`, 0o644);
}

async function boot(cloud: Cloud, name: string): Promise<void> {
  await cloud.lxd.changeState(cloud.caller, name, { action: 'start' });
}

/** Waits until systemd inside has nothing left to start. */
async function awaitRest(cloud: Cloud, name: string, report: StepReport): Promise<void> {
  report.detail('booting');
  const asked = ['systemctl', 'is-system-running'];
  await until(
    `systemd of ${name} finishes its start (see \`lxc console --show-log ${name}\`)`,
    BOOT_MS,
    async () => {
      const { stdout } = await cloud.lxd.exec(cloud.caller, name, asked);
      return ['running', 'degraded'].includes(stdout.trim()) ? true : null;
    },
    cloud.signal,
  );
}

async function configure(cloud: Cloud, report: StepReport): Promise<void> {
  const command = `bash ${GUEST_FOLDER}/configure.sh >${SETUP_LOG} 2>&1`;
  const running = { over: false };
  const watching = watchSteps(cloud, report, running);
  try {
    const { exitCode } = await cloud.lxd.exec(cloud.caller, MASTER, ['bash', '-c', command]);
    if (exitCode === 0) return;
    const log = await pullFile(cloud, MASTER, SETUP_LOG);
    const last = log.trim().split('\n').slice(-LAST_LINES).join('\n');
    throw new Fault('tool_failed', `configure ${MASTER} (${SETUP_LOG} inside): it ends with\n${last}`);
  } finally {
    running.over = true;
    await watching;
  }
}

const LOOK_EVERY_MS = 1500;

/** Tells which step the script inside is at. */
async function watchSteps(
  cloud: Cloud,
  report: StepReport,
  running: { readonly over: boolean },
): Promise<void> {
  while (!running.over && !cloud.signal.aborted) {
    try {
      const step = await pullFile(cloud, MASTER, STEP_FILE);
      report.detail(`configuring: ${step.trim()}`);
    } catch (err) {
      // Not written yet. What is wrong with the instance itself is told by the command that runs in it.
      if (!isFault(err)) throw err;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

/** Makes the running control plane from the master where there is none. */
export async function ensureControl(cloud: Cloud, report: StepReport): Promise<void> {
  const there = await cloud.lxd.instance(cloud.caller, CONTROL);
  if (there?.status === 'Running') {
    report.result('running already');
    return;
  }
  if (there === null) {
    report.detail('copying');
    await cloud.lxd.create(cloud.caller, { name: CONTROL, source: { type: 'copy', source: MASTER } });
    await cloud.lxd.patch(cloud.caller, CONTROL, { config: { [READY_KEY]: '' } });
  }
  // When it is ready is told by the services themselves.
  await boot(cloud, CONTROL);
}

export const SERVICES: readonly { readonly name: string; readonly port: number; readonly path: string }[] = [
  { name: 'Keystone', port: 5000, path: '/v3' },
  { name: 'Glance', port: 9292, path: '/healthcheck' },
  { name: 'Placement', port: 8778, path: '/' },
  { name: 'Nova', port: 8774, path: '/' },
  { name: 'Neutron', port: 9696, path: '/' },
  { name: 'Cinder', port: 8776, path: '/' },
  { name: 'Nova metadata', port: 8775, path: '/' },
];

/** True when a service answers anything over HTTP. */
export async function answers(cloud: Cloud, service: { port: number; path: string }): Promise<boolean> {
  const limit = new AbortController();
  const timer = setTimeout(() => {
    limit.abort();
  }, 5000);
  try {
    const url = `http://${controlAddress(cloud.facts)}:${String(service.port)}${service.path}`;
    const answer = await fetch(url, { signal: limit.signal });
    await answer.arrayBuffer();
    return answer.status < 500;
  } catch {
    return false;
  } finally {
    clearTimeout(timer);
  }
}

/** Waits for every service's first answer. Fault timeout names the one that is silent. */
export async function awaitServices(cloud: Cloud, report: StepReport): Promise<void> {
  for (const service of SERVICES) {
    report.detail(service.name);
    await until(
      `${service.name} answers on port ${String(service.port)} of ${controlAddress(cloud.facts)}`,
      ANSWER_MS,
      async () => ((await answers(cloud, service)) ? true : null),
      cloud.signal,
    );
  }
}

/** Stops and deletes; harmless when it is not there. */
export async function removeInstance(cloud: Cloud, name: string): Promise<void> {
  const there = await cloud.lxd.instance(cloud.caller, name);
  if (there === null) return;
  if (there.status !== 'Stopped') {
    await cloud.lxd.changeState(cloud.caller, name, { action: 'stop', force: true });
  }
  await cloud.lxd.delete(cloud.caller, name);
}
