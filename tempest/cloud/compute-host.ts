/** `slipway compute` on this machine: its user, its nova.conf, its process. */
import { existsSync } from 'node:fs';
import { chmod, chown, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isAlive, startBackground, until } from '../../api/setup/background.ts';
import type { StepReport } from '../../api/setup/progress.ts';
import { runTool } from '../../api/tools.ts';
import { PROGRAM_ROOT } from '../../config/root.ts';
import { Fault } from '../../process/fault.ts';
import { controlAddress, hostAddress, REGION, replaceFile, type Cloud } from './setting.ts';

const SCRIPT = join(PROGRAM_ROOT, 'tempest', 'cloud', 'host', 'compute.sh');
/** An ordinary user; the group is what lets it use the daemon's socket. */
const USER = 'slipway-compute';
const GROUP = 'slipway';
/** Where the project and Node are bound for that user; in a mount namespace of its own. */
export const PLACE = '/run/slipway-cloud';
const END_MS = 75_000;
const READY_MS = 120_000;
/** In its log once its queues are there: a request sent before would be lost. */
const READY_LINE = '"msg":"ready"';

export interface ComputeIdentity {
  readonly uid: number;
  readonly gid: number;
}

function folderOf(home: string): string {
  return join(home, 'compute');
}

export function computeLog(home: string): string {
  return join(folderOf(home), 'compute.log');
}

export function novaConfFile(home: string): string {
  return join(folderOf(home), 'nova.conf');
}

/** Makes the user and the group where they are missing. */
export async function ensureComputeUser(): Promise<ComputeIdentity> {
  const known = async (database: string, name: string): Promise<string | null> => {
    const { stdout } = await runTool('getent', [database, name], { okCodes: [0, 2] });
    return stdout.split(':')[2] ?? null;
  };
  if ((await known('group', GROUP)) === null) await runTool('groupadd', ['--system', GROUP]);
  if ((await known('passwd', USER)) === null) {
    await runTool('useradd', [
      '--system',
      '--gid',
      GROUP,
      '--no-create-home',
      '--shell',
      '/usr/sbin/nologin',
      USER,
    ]);
  }
  return { uid: Number(await known('passwd', USER)), gid: Number(await known('group', GROUP)) };
}

/** A daemon that was started before its group existed let in nobody but root. */
export async function openSocket(cloud: Cloud, identity: ComputeIdentity): Promise<void> {
  const socket = join(cloud.daemon.paths.state, 'unix.socket');
  if ((await stat(socket)).gid === identity.gid) return;
  await chown(socket, 0, identity.gid);
  await chmod(socket, 0o660);
}

export function novaConf(cloud: Cloud): string {
  const { facts } = cloud;
  const control = controlAddress(facts);
  const login = (section: string, user: string): string => `[${section}]
auth_type = password
auth_url = http://${control}:5000/v3
username = ${user}
password = ${facts.password}
user_domain_name = Default
project_name = service
project_domain_name = Default
`;
  return `[DEFAULT]
host = ${facts.host}
my_ip = ${hostAddress(facts)}
state_path = ${folderOf(cloud.home)}
transport_url = rabbit://openstack:${facts.password}@${control}:5672/
reserved_host_memory_mb = 1024
cpu_allocation_ratio = 16
resume_guests_state_on_host_boot = true
[slipway]
socket = ${join(cloud.daemon.paths.state, 'unix.socket')}
[glance]
region_name = ${REGION}
[cinder]
os_region_name = ${REGION}
[serial_console]
enabled = true
base_url = ws://${control}:6083/
proxyclient_address = ${hostAddress(facts)}
${login('placement', 'placement')}region_name = ${REGION}
${login('neutron', 'neutron')}region_name = ${REGION}
${login('service_user', 'nova')}send_service_user_token = true
`;
}

function pidFile(home: string): string {
  return join(folderOf(home), 'pid');
}

/** Null when the service does not run. */
export async function computePid(home: string): Promise<number | null> {
  const pid = Number((await readFile(pidFile(home), 'utf8').catch(() => '')).trim());
  if (!(pid > 0) || !isAlive(pid)) return null;
  const command = await readFile(`/proc/${String(pid)}/cmdline`, 'utf8').catch(() => '');
  return command.split('\0').includes('compute') ? pid : null;
}

/** Writes nova.conf and starts the service, unless it runs. */
export async function ensureCompute(cloud: Cloud, report: StepReport): Promise<void> {
  const running = await computePid(cloud.home);
  if (running !== null) {
    report.result(`running already, process ${String(running)}`);
    return;
  }
  const identity = await ensureComputeUser();
  await openSocket(cloud, identity);
  const folder = folderOf(cloud.home);
  await mkdir(folder, { recursive: true, mode: 0o750 });
  await chown(folder, identity.uid, identity.gid);
  const file = novaConfFile(cloud.home);
  await replaceFile(file, novaConf(cloud), 0o640);
  await chown(file, 0, identity.gid);
  report.result(`started, process ${String(await start(cloud, file))}`);
}

async function start(cloud: Cloud, file: string): Promise<number> {
  const log = computeLog(cloud.home);
  const program = [process.execPath, PROGRAM_ROOT, PLACE, 'compute', '--config-file', file];
  const argv = ['unshare', '--mount', 'sh', SCRIPT, USER, GROUP, ...program];
  await mkdir(PLACE, { recursive: true, mode: 0o755 });
  const before = existsSync(log) ? (await stat(log)).size : 0;
  const pid = await startBackground(argv, log);
  await writeFile(pidFile(cloud.home), `${String(pid)}\n`);
  await until(
    `the compute service takes requests (its log is ${log})`,
    READY_MS,
    async () => {
      if (!isAlive(pid)) throw await endedAtOnce(log);
      const said = (await readFile(log)).subarray(before).toString('utf8');
      return said.includes(READY_LINE) ? true : null;
    },
    cloud.signal,
  );
  return pid;
}

async function endedAtOnce(log: string): Promise<Fault> {
  const text = existsSync(log) ? await readFile(log, 'utf8') : '';
  const last = text.trim().split('\n').slice(-5).join('\n');
  return new Fault('tool_failed', `start the compute service: it ended at once; ${log} ends with\n${last}`);
}

/** Ends the service; what is under way is finished first. False when it did not run. */
export async function stopCompute(home: string): Promise<boolean> {
  const pid = await computePid(home);
  if (pid !== null) {
    process.kill(pid, 'SIGTERM');
    await until('the compute service ends', END_MS, () => (isAlive(pid) ? null : true)).catch(() => {
      process.kill(pid, 'SIGKILL');
    });
  }
  await rm(pidFile(home), { force: true });
  return pid !== null;
}
