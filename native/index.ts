/**
 * The front door of the border with C: the only file that loads the addon, and
 * all that the rest of the daemon sees (with types.ts and steps.ts).
 *
 * The addon reads, the helper acts: nothing here forks inside Node, and
 * nothing can hold a thread for longer than a read of a cgroup file takes.
 */
import { constants } from 'node:os';
import { isFault } from '../process/fault.ts';
import { findBinaries, loadBinding } from './binding.ts';
import type { Binding } from './binding.ts';
import { startExec } from './exec.ts';
import { StepError, systemFault } from './faults.ts';
import { openFileSession } from './files.ts';
import type { FilesTarget } from './files.ts';
import { runPlan } from './helper.ts';
import { Launcher } from './launcher.ts';
import { CommandSocket } from './monitor.ts';
import { steps } from './steps.ts';
import type { Step } from './steps.ts';
import type { ExecProcess, ExecRequest, FileSession, Monitor, Native, NetInterface } from './types.ts';

export interface NativeOptions {
  /** Deadline of one plan, in milliseconds. */
  readonly timeoutMs?: number;
  /** Deadline of one question to a monitor. */
  readonly monitorTimeoutMs?: number;
  /** Deadline for a command to be started in a container. */
  readonly execTimeoutMs?: number;
  /** Deadline of one question about files. */
  readonly filesTimeoutMs?: number;
}

const PLAN_TIMEOUT_MS = 120_000;
const MONITOR_TIMEOUT_MS = 5_000;
const EXEC_TIMEOUT_MS = 30_000;
const FILES_TIMEOUT_MS = 30_000;
/** As many as libuv has; the kernel does what is asked of different namespaces side by side. */
const THREADS = 4;
/** Fewer items than this are read before another thread has begun. */
const ITEMS_PER_THREAD = 64;
/** Any map will do to find out whether maps work. */
const PROBE_MAP = [{ kind: 'b', nsId: 0, hostId: 1_000_000, range: 65_536 }] as const;
/** What mount_setattr says where idmapped mounts are not possible. */
const NO_IDMAP: readonly number[] = [
  constants.errno.EINVAL,
  constants.errno.EPERM,
  constants.errno.ENOSYS,
  constants.errno.EOPNOTSUPP,
];

/** Loads the addon and finds the helper. Throws when they are not built. */
export function openNative(options: NativeOptions = {}): Native {
  const binaries = findBinaries();
  return new BuiltNative(loadBinding(binaries.addon), binaries.helper, options);
}

class BuiltNative implements Native {
  readonly helperPath: string;
  private readonly binding: Binding;
  private readonly launcher: Launcher;
  private readonly options: Required<NativeOptions>;

  constructor(binding: Binding, helperPath: string, options: NativeOptions) {
    this.binding = binding;
    this.helperPath = helperPath;
    this.launcher = new Launcher(binding, helperPath);
    this.options = {
      timeoutMs: options.timeoutMs ?? PLAN_TIMEOUT_MS,
      monitorTimeoutMs: options.monitorTimeoutMs ?? MONITOR_TIMEOUT_MS,
      execTimeoutMs: options.execTimeoutMs ?? EXEC_TIMEOUT_MS,
      filesTimeoutMs: options.filesTimeoutMs ?? FILES_TIMEOUT_MS,
    };
  }

  get liblxcVersion(): string {
    return this.binding.liblxcVersion();
  }

  hasApiExtension(name: string): boolean {
    return this.binding.hasApiExtension(name);
  }

  async run(plan: readonly Step[], options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    await runPlan(this.launcher, plan, { timeoutMs: this.options.timeoutMs, ...options });
  }

  async start(plan: readonly Step[]): Promise<{ readonly initPid: number }> {
    const answer = await runPlan(this.launcher, plan, { timeoutMs: this.options.timeoutMs });
    const initPid = answer['initPid'];
    return { initPid: typeof initPid === 'number' ? initPid : 0 };
  }

  exec(request: ExecRequest): ExecProcess {
    return startExec(this.launcher, request, this.options.execTimeoutMs);
  }

  openFiles(where: FilesTarget): Promise<FileSession> {
    return openFileSession(this.launcher, where, this.options.filesTimeoutMs);
  }

  monitor(lxcPath: string, name: string): Monitor {
    return new CommandSocket(this.binding, lxcPath, name, this.options.monitorTimeoutMs);
  }

  readFiles(paths: readonly string[]): Promise<(string | null)[]> {
    return inThreads(paths, (part) => this.binding.readFiles(part));
  }

  interfaces(pids: readonly number[]): Promise<(NetInterface[] | null)[]> {
    return inThreads(pids, async (part) => {
      const found = await this.binding.interfaces(part);
      if (typeof found === 'number') throw systemFault('open a netlink socket', found);
      return found;
    });
  }

  pipe(): { readonly read: number; readonly write: number } {
    const pair = this.binding.pipe();
    if (typeof pair === 'number') throw systemFault('make a pipe', pair);
    return { read: pair[0], write: pair[1] };
  }

  closeFd(fd: number): void {
    const ret = this.binding.closeFd(fd);
    if (ret < 0) throw systemFault(`close descriptor ${String(fd)}`, ret);
  }

  setWindowSize(fd: number, columns: number, rows: number): void {
    const ret = this.binding.setWindowSize(fd, columns, rows);
    if (ret < 0) throw systemFault('set the size of a terminal', ret);
  }

  peerCredentials(fd: number): { readonly pid: number; readonly uid: number; readonly gid: number } {
    const peer = this.binding.peerCredentials(fd);
    if (typeof peer === 'number') throw systemFault('ask who is at the other end of a socket', peer);
    return peer;
  }

  notifySystemd(message: string): void {
    const ret = this.binding.notify(message);
    if (ret < 0) throw systemFault('notify systemd', ret);
  }

  signalProcess(pid: number, signal: number): boolean {
    const ret = this.binding.signalProcess(pid, signal);
    if (ret === -constants.errno.ESRCH) return false;
    if (ret < 0) throw systemFault(`signal process ${String(pid)}`, ret);
    return true;
  }

  async waitGone(pid: number, timeoutMs: number): Promise<boolean> {
    const ret = await this.binding.waitGone(pid, timeoutMs);
    if (ret < 0) throw systemFault(`wait for process ${String(pid)}`, ret);
    return ret === 1;
  }

  async idmappedMountsWork(directory: string): Promise<boolean> {
    try {
      await this.run([steps.idmap(PROBE_MAP), ['probe-idmap', directory]]);
      return true;
    } catch (err) {
      const cause = isFault(err) ? err.cause : null;
      if (cause instanceof StepError && NO_IDMAP.includes(cause.failure.errno)) return false;
      throw err;
    }
  }
}

/** Gives parts of a long list to several threads; the answers are in the order of the items. */
async function inThreads<T, U>(
  items: readonly T[],
  read: (part: readonly T[]) => Promise<U[]>,
): Promise<U[]> {
  const size = Math.max(ITEMS_PER_THREAD, Math.ceil(items.length / THREADS));
  if (items.length <= size) return read(items);
  const parts: Promise<U[]>[] = [];
  for (let at = 0; at < items.length; at += size) parts.push(read(items.slice(at, at + size)));
  return (await Promise.all(parts)).flat();
}
