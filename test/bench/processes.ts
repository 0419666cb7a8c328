/** Memory and CPU time of processes, from /proc. */
import { readFile, readdir } from 'node:fs/promises';

/** USER_HZ of every architecture Linux has today. */
const TICK_MS = 10;

interface Stat {
  readonly ppid: number;
  /** Its own time and that of the children it has waited for. */
  readonly cpuMs: number;
}

async function readStat(pid: number): Promise<Stat | null> {
  try {
    const text = await readFile(`/proc/${String(pid)}/stat`, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const times = fields.slice(11, 15).map(Number);
    return { ppid: Number(fields[1]), cpuMs: times.reduce((sum, ticks) => sum + ticks, 0) * TICK_MS };
  } catch {
    return null; // it has ended
  }
}

/** Direct children of a process. */
export async function childrenOf(pid: number): Promise<number[]> {
  const all = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const stats = await Promise.all(all.map(async (one) => ({ one, stat: await readStat(one) })));
  return stats.filter(({ stat }) => stat?.ppid === pid).map(({ one }) => one);
}

export async function parentOf(pid: number): Promise<number> {
  return (await readStat(pid))?.ppid ?? 0;
}

/** CPU time of these processes and of the children they have waited for, in milliseconds. */
export async function cpuMs(pids: readonly number[]): Promise<number> {
  const stats = await Promise.all(pids.map(readStat));
  return stats.reduce((sum, stat) => sum + (stat?.cpuMs ?? 0), 0);
}

/** Proportional set size in MiB. */
export async function pssMiB(pid: number): Promise<number> {
  const text = await readFile(`/proc/${String(pid)}/smaps_rollup`, 'utf8');
  return Number(/^Pss:\s+(\d+) kB$/m.exec(text)?.[1] ?? '0') / 1024;
}
