/**
 * The host's side of OVN: a switch, its controller and the metadata agent, in
 * namespaces of their own but for the network, which is the host's.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isAlive, startBackground, until } from '../../api/setup/background.ts';
import type { StepReport } from '../../api/setup/progress.ts';
import { runTool } from '../../api/tools.ts';
import { PROGRAM_ROOT } from '../../config/root.ts';
import { Fault } from '../../process/fault.ts';
import { treePath } from './debian-tree.ts';
import {
  controlAddress,
  hostAddress,
  PHYSICAL_NETWORK,
  PUBLIC_BRIDGE,
  replaceFile,
  type Cloud,
} from './setting.ts';

const SCRIPT = join(PROGRAM_ROOT, 'tempest', 'cloud', 'host', 'ovn-root.sh');
/** As `ovn-daemons.sh` makes them. */
const BRIDGES = ['br-int', PUBLIC_BRIDGE];
const START_MS = 60_000;
const END_MS = 30_000;

function folderOf(home: string): string {
  return join(home, 'ovn');
}

function pidFile(home: string): string {
  return join(folderOf(home), 'pid');
}

/** Of the process all the others live under; null when it does not run. */
export async function ovnPid(home: string): Promise<number | null> {
  const pid = Number((await readFile(pidFile(home), 'utf8').catch(() => '')).trim());
  if (!(pid > 0) || !isAlive(pid)) return null;
  const command = await readFile(`/proc/${String(pid)}/cmdline`, 'utf8').catch(() => '');
  return command.includes('ovn-root.sh') ? pid : null;
}

/** Starts what is not running, and points the daemon at the switch. */
export async function ensureOvnSide(cloud: Cloud, report: StepReport): Promise<void> {
  const folder = folderOf(cloud.home);
  if ((await ovnPid(cloud.home)) !== null) report.result('running already');
  else {
    await mkdir(folder, { recursive: true, mode: 0o755 });
    const datapath = await chooseDatapath();
    await writeSettings(cloud, folder, datapath);
    await start(cloud, folder);
    report.result(datapath === 'netdev' ? 'started; the switch is a program' : 'started');
  }
  const config = { 'network.ovs.connection': `unix:${join(folder, 'run', 'db.sock')}` };
  await cloud.rest.change('PATCH', '/1.0', { config }, cloud.signal);
}

/** The kernel's switch where there is one; else ovs-vswitchd forwards by itself. */
async function chooseDatapath(): Promise<'system' | 'netdev'> {
  if (!existsSync('/sys/module/openvswitch')) {
    await runTool('modprobe', ['openvswitch'], { okCodes: [0, 1] }).catch(() => undefined);
  }
  return existsSync('/sys/module/openvswitch') ? 'system' : 'netdev';
}

async function writeSettings(cloud: Cloud, folder: string, datapath: string): Promise<void> {
  const { facts } = cloud;
  const values = {
    CONTROL_IP: controlAddress(facts),
    HOST_IP: hostAddress(facts),
    HOST_NAME: facts.host,
    FLOATING_IP: `${facts.floating}.1`,
    PHYSICAL_NETWORK,
    PUBLIC_BRIDGE,
    DATAPATH: datapath,
  };
  const lines = Object.entries(values).map(([name, value]) => `${name}='${value}'`);
  await replaceFile(join(folder, 'settings.sh'), `${lines.join('\n')}\n`, 0o644);
  const agent = `[DEFAULT]
nova_metadata_host = ${controlAddress(facts)}
metadata_proxy_shared_secret = ${facts.password}
metadata_workers = 1
state_path = /var/lib/neutron
[agent]
root_helper = env
[oslo_concurrency]
lock_path = /run/lock/neutron
[ovs]
ovsdb_connection = unix:/run/openvswitch/db.sock
[ovn]
ovn_sb_connection = tcp:${controlAddress(facts)}:6642
`;
  await replaceFile(join(folder, 'metadata.ini'), agent, 0o600);
}

async function start(cloud: Cloud, folder: string): Promise<void> {
  await rm(join(folder, 'ready'), { force: true });
  const log = join(folder, 'start.log');
  const alone = ['--mount', '--pid', '--fork', '--kill-child'];
  const argv = ['unshare', ...alone, 'sh', SCRIPT, treePath(cloud.cache), folder];
  const pid = await startBackground(argv, log);
  await writeFile(pidFile(cloud.home), `${String(pid)}\n`);
  await until(
    `the host's side of OVN is up (see ${log} and ${join(folder, 'log')})`,
    START_MS,
    async () => {
      if (existsSync(join(folder, 'ready'))) return true;
      if (isAlive(pid)) return null;
      const last = (await readFile(log, 'utf8')).trim().split('\n').slice(-5).join('\n');
      throw new Fault('tool_failed', `start the host's side of OVN: it ended; ${log} ends with\n${last}`);
    },
    cloud.signal,
  );
}

/** Ends it and takes its devices away. False when it did not run. */
export async function stopOvnSide(home: string): Promise<boolean> {
  const pid = await ovnPid(home);
  if (pid !== null) {
    // The first process of the namespace tidies up; the one outside only waits for it.
    const children = await readFile(`/proc/${String(pid)}/task/${String(pid)}/children`, 'utf8').catch(
      () => '',
    );
    for (const child of children.trim().split(/\s+/).filter(Boolean)) process.kill(Number(child), 'SIGTERM');
    const ended = until('OVN ends', END_MS, () => (isAlive(pid) ? null : true));
    await ended.catch(() => {
      process.kill(pid, 'SIGKILL');
    });
  }
  await rm(pidFile(home), { force: true });
  if (existsSync(folderOf(home))) await removeDevices();
  return pid !== null;
}

/** What a switch that was killed leaves: devices of a program stay without it. */
async function removeDevices(): Promise<void> {
  for (const device of [...BRIDGES, 'ovs-netdev']) {
    if (existsSync(`/sys/class/net/${device}/tun_flags`)) await runTool('ip', ['link', 'delete', device]);
  }
}
