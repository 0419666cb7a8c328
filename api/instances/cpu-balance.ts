/**
 * Which CPUs each running container is pinned to. Pure.
 *
 * `limits.cpu` is a count (placed on the CPUs with the fewest containers, as
 * LXD's balancer does) or a list of ranges (taken as it is).
 */
import { parseCpuLimit } from './values.ts';

export interface CpuWish {
  readonly id: string;
  /** `limits.cpu`; '' for no limit. */
  readonly text: string;
}

/** `cpuset.cpus` for each instance that has a limit; null stands for all CPUs. */
export function balanceCpus(wishes: readonly CpuWish[], cpuCount: number): Map<string, string | null> {
  const load = new Array<number>(cpuCount).fill(0);
  const out = new Map<string, string | null>();
  const counted: { id: string; count: number }[] = [];
  for (const wish of wishes) {
    const set = wish.text === '' ? null : parseCpuLimit(wish.text);
    if (set === null) {
      out.set(wish.id, null);
    } else if ('count' in set) {
      counted.push({ id: wish.id, count: set.count });
    } else {
      const here = set.cpus.filter((cpu) => cpu < cpuCount);
      for (const cpu of here) load[cpu] = (load[cpu] ?? 0) + 1;
      out.set(wish.id, here.length === 0 ? null : here.join(','));
    }
  }
  for (const { id, count } of counted) {
    if (count >= cpuCount) {
      out.set(id, null);
      continue;
    }
    const order = [...load.keys()].sort((a, b) => (load[a] ?? 0) - (load[b] ?? 0) || a - b);
    const chosen = order.slice(0, count).sort((a, b) => a - b);
    for (const cpu of chosen) load[cpu] = (load[cpu] ?? 0) + 1;
    out.set(id, chosen.join(','));
  }
  return out;
}
