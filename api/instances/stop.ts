/**
 * Stops one instance, and tidies up behind one that ended on its own.
 *
 * Called in the instance's lane. Stopped means: the monitor's socket is
 * closed, host links and files are gone, and the row says STOPPED.
 */
import { readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault } from '../../process/fault.ts';
import { faultPoint } from '../../process/fault-points.ts';
import { containerName } from '../paths.ts';
import { isThere } from '../storage/layout.ts';
import { unfreezeInstance } from './freeze.ts';
import { hostNameKeys, removeHostEnds } from './host-ends.ts';
import { cgroupChildren, cgroupMounts } from './host.ts';
import type { HostFacts } from './host.ts';
import { cardStateKeys, fetchCards } from './lent-cards.ts';
import type { Running } from './power.ts';
import type { RuntimeParts } from './runtime-parts.ts';
import { logDir, pluggedNics, removeHostFiles, without } from './start.ts';
import type { StopOptions } from './types.ts';
import { CHANGING, HELD } from './volatile-keys.ts';

/** How long a killed container may take to be gone before its monitor is killed too. */
const KILL_DEADLINE_MS = 3_000;

const SIGKILL = 9;
const SIGPWR = 30;
/** What systemd takes for "halt", where init handles it. */
const SIGRTMIN_PLUS_3 = 37;

export async function stopInstance(
  parts: RuntimeParts,
  id: string,
  options: StopOptions,
  signal: AbortSignal,
): Promise<void> {
  const running = parts.powers.running(id);
  if (running === null) throw new Fault('bad_request', 'The instance is already stopped');
  // A container whose end could not be tidied up behind: its process ids may be others' by now.
  const hasEnded = running.isWatched && (await settled(running.gone));
  if (!hasEnded && parts.powers.state(id) === 'Frozen') await unfreezeInstance(parts, id);
  parts.powers.send(id, 'stop_asked');
  running.endExpected = true;
  faultPoint('stop.asked');
  try {
    const isForced = options.force || options.timeoutS === 0;
    if (!hasEnded && isForced) await kill(parts, id, running);
    else if (!hasEnded) await shutDown(parts, id, running, options.timeoutS, signal);
  } catch (err) {
    stopFailed(parts, id, running);
    // It may have ended between the deadline and this line: then nobody else would tidy up.
    if (await settled(running.gone)) parts.onEnded(id);
    throw err;
  }
  faultPoint('stop.container-gone');
  try {
    await tidyUp(parts, id);
  } catch (err) {
    // Another stop is let in, and the next look at the monitor tries again.
    stopFailed(parts, id, running);
    throw err;
  }
}

function stopFailed(parts: RuntimeParts, id: string, running: Running): void {
  running.endExpected = false;
  if (parts.powers.state(id) === 'Stopping') parts.powers.send(id, 'stop_failed');
}

/** Whether a promise has resolved by now. */
export async function settled(promise: Promise<void>): Promise<boolean> {
  return Promise.race([promise.then(() => true), sleep(0).then(() => false)]);
}

async function kill(parts: RuntimeParts, id: string, running: Running): Promise<void> {
  const monitorPid = running.isWatched
    ? await parentOf(running.initPid)
    : await monitorPidOf(parts.host, parts.store.byId(id));
  await killPayload(parts, running);
  faultPoint('stop.payload-killed');
  if (await within(running.gone, KILL_DEADLINE_MS)) return;
  // The monitor is wedged: without it nobody reaps the container.
  parts.log.warn('monitor did not notice the end of its container and is killed', {
    instance: parts.store.byId(id).name,
    pid: monitorPid,
  });
  if (monitorPid > 1) parts.native.signalProcess(monitorPid, SIGKILL);
  if (await within(running.gone, KILL_DEADLINE_MS)) {
    // What a monitor does last, this one could not do.
    const row = parts.store.byId(id);
    await removeCgroups(row.project, row.name);
    return;
  }
  throw new Fault(
    'timeout',
    'the container could not be killed; a process in it waits for a device of the host',
  );
}

/** `cgroup.kill` takes every process at once, also those that fork faster than one can count. */
async function killPayload(parts: RuntimeParts, running: Running): Promise<void> {
  if (parts.host.unified !== null) {
    try {
      await writeFile(join(parts.host.unified, running.cgroup, 'cgroup.kill'), '1');
      return;
    } catch (err) {
      parts.log.debug('no cgroup.kill, init is killed instead', { error: err });
    }
  }
  parts.native.signalProcess(running.initPid, SIGKILL);
}

async function shutDown(
  parts: RuntimeParts,
  id: string,
  running: Running,
  timeoutS: number,
  signal: AbortSignal,
): Promise<void> {
  const row = parts.store.byId(id);
  const raw = parts.store.expand(row).config['raw.lxc'] ?? '';
  const halt = await haltSignal(running.initPid, raw);
  if (!parts.native.signalProcess(running.initPid, halt)) {
    if (await within(running.gone, KILL_DEADLINE_MS)) return;
  }
  // A listener that comes too late is never called.
  signal.throwIfAborted();
  const aborted = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => {
      reject(signal.reason as Error); // an aborted piece of work throws the signal's reason
    });
  });
  const deadline = timeoutS < 0 ? running.gone.then(() => true) : within(running.gone, timeoutS * 1000);
  if (await Promise.race([deadline, aborted])) return;
  throw new Fault(
    'timeout',
    `Failed shutting down instance, status is "Running": it did not stop within ${String(timeoutS)} seconds; use force to kill it`,
  );
}

/** The number to send: `lxc.signal.halt` of raw.lxc, else what init handles. Rule of liblxc. */
async function haltSignal(initPid: number, rawLxc: string): Promise<number> {
  const own = /^\s*lxc\.signal\.halt\s*=\s*(\S+)\s*$/m.exec(rawLxc)?.[1];
  if (own !== undefined) return signalNumber(own);
  let status = '';
  try {
    status = await readFile(`/proc/${String(initPid)}/status`, 'utf8');
  } catch {
    // Gone already: any signal will do.
    return SIGPWR;
  }
  const bit = 1n << BigInt(SIGRTMIN_PLUS_3 - 1);
  const handles = /^Sig(?:Blk|Cgt):\s*([0-9a-f]+)$/gm;
  for (const match of status.matchAll(handles)) {
    if ((BigInt(`0x${match[1] ?? '0'}`) & bit) !== 0n) return SIGRTMIN_PLUS_3;
  }
  return SIGPWR;
}

const SIGNALS: Readonly<Record<string, number>> = {
  HUP: 1,
  INT: 2,
  QUIT: 3,
  KILL: 9,
  USR1: 10,
  USR2: 12,
  TERM: 15,
  PWR: 30,
};

function signalNumber(text: string): number {
  if (/^\d+$/.test(text)) return Number(text);
  const name = text.replace(/^SIG/, '');
  const realtime = /^RTMIN\+(\d+)$/.exec(name);
  return realtime === null ? (SIGNALS[name] ?? SIGPWR) : 34 + Number(realtime[1]);
}

async function within(done: Promise<unknown>, ms: number): Promise<boolean> {
  const timer = new AbortController();
  try {
    return await Promise.race([
      done.then(() => true),
      sleep(ms, false, { signal: timer.signal }).catch(() => false),
    ]);
  } finally {
    timer.abort();
  }
}

async function parentOf(pid: number): Promise<number> {
  try {
    return Number(/^PPid:\s*(\d+)$/m.exec(await readFile(`/proc/${String(pid)}/status`, 'utf8'))?.[1] ?? '0');
  } catch {
    return 0; // gone: there is nothing to kill
  }
}

/** Removes what a container that has ended leaves, and notes that it is stopped. Idempotent. */
export async function tidyUp(parts: RuntimeParts, id: string): Promise<{ readonly reboot: boolean }> {
  const row = parts.store.byId(id);
  const expanded = parts.store.expand(row);
  const running = parts.powers.running(id);
  running?.close();
  // A helper inside would keep the container's mounts and namespaces alive.
  await parts.closeFiles(id);
  for (const nic of pluggedNics(parts, expanded)) await parts.networks.unplug(nic);
  await fetchCards(parts, expanded, running);
  await removeHostEnds(row.config);
  faultPoint('stop.nics-unplugged');
  await removeHostFiles(parts, row);
  faultPoint('stop.files-removed');
  const marker = join(logDir(parts, row), 'reboot');
  const reboot = await isThere(marker);
  if (reboot) await rm(marker, { force: true });
  await parts.store.change(id, {
    phase: 'ready',
    config: {
      ...without(
        row.config,
        ...hostNameKeys(row.config),
        ...cardStateKeys(row.config),
        'volatile.idmap.current',
        HELD,
        CHANGING,
      ),
      'volatile.last_state.power': 'STOPPED',
    },
  });
  faultPoint('stop.row-stopped');
  parts.powers.send(id, 'init_gone');
  return { reboot };
}

/** The process that answers for a container, from its cgroup; 0 when there is none. */
export async function monitorPidOf(
  host: HostFacts,
  row: { readonly project: string; readonly name: string },
): Promise<number> {
  const mount = host.unified ?? Object.values(host.v1)[0] ?? '';
  return firstProcess(join(mount, `lxc.monitor.${containerName(row.project, row.name)}`));
}

/** 0 for an empty cgroup, or none. */
export async function firstProcess(cgroup: string): Promise<number> {
  try {
    return Number((await readFile(join(cgroup, 'cgroup.procs'), 'utf8')).split('\n')[0] ?? '0');
  } catch {
    return 0; // gone
  }
}

/** Removes empty cgroups that a killed monitor left behind. Busy ones stay. */
export async function removeCgroups(project: string, name: string): Promise<void> {
  for (const mount of await cgroupMounts()) {
    for (const kind of ['payload', 'monitor']) {
      await removeTree(join(mount, `lxc.${kind}.${containerName(project, name)}`));
    }
  }
}

async function removeTree(path: string): Promise<void> {
  for (const child of await cgroupChildren(path)) await removeTree(join(path, child));
  try {
    await rmdir(path);
  } catch (err) {
    const code = err instanceof Error && 'code' in err ? err.code : '';
    if (code !== 'ENOENT' && code !== 'EBUSY' && code !== 'ENOTEMPTY') throw err;
  }
}
