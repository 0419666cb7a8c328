/**
 * What this host offers to containers, read once when the daemon starts.
 * The readers at the end are the only part that does I/O.
 */
import { mkdir, readFile, readdir, rmdir } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import type { CgroupLayout } from '../metrics/cgroup.ts';
import { readCgroupLayout } from '../metrics/cgroup.ts';
import type { HostRange } from '../idmap/idmap.ts';
import { hostRange } from '../idmap/idmap.ts';
import { HOST_ARCHITECTURE } from '../architectures.ts';
import { LXCFS_FOLDER } from '../lxcfs.ts';
import { isThere } from '../storage/layout.ts';

export interface HostFacts extends CgroupLayout {
  readonly swapAccounting: boolean;
  /** The kernel shares disks by weights. */
  readonly diskWeight: boolean;
  readonly memoryBytes: number;
  readonly cpuCount: number;
  /** liblxc's word for the machine, such as `x86_64`. */
  readonly architecture: string;
  readonly lxcfsPath: string;
  readonly appArmor: boolean;
  /** Optional paths of the host that guests see when they exist, without the leading slash. */
  readonly extraPaths: readonly string[];
  readonly idRange: HostRange;
  readonly bootId: string;
}

const EXTRA_PATHS = [
  'dev/fuse',
  'dev/mqueue',
  'dev/net/tun',
  'proc/sys/fs/binfmt_misc',
  'sys/firmware/efi/efivars',
  'sys/fs/fuse/connections',
  'sys/fs/pstore',
  'sys/kernel/config',
  'sys/kernel/debug',
  'sys/kernel/security',
  'sys/kernel/tracing',
];

export async function readHostFacts(): Promise<HostFacts> {
  const layout = readCgroupLayout();
  const memory = layout.v1['memory'];
  return {
    ...layout,
    unifiedControllers: await usableUnified(layout),
    diskWeight: await hasDiskWeight(layout),
    swapAccounting: memory === undefined || (await isThere(join(memory, 'memory.memsw.limit_in_bytes'))),
    memoryBytes: totalmem(),
    cpuCount: cpus().length,
    architecture: HOST_ARCHITECTURE,
    lxcfsPath: LXCFS_FOLDER,
    appArmor:
      (await readText('/sys/module/apparmor/parameters/enabled')).startsWith('Y') &&
      (await isThere('/sys/kernel/security/apparmor')),
    extraPaths: await existing('/', EXTRA_PATHS),
    idRange: hostRange(await readText('/etc/subuid'), await readText('/etc/subgid')),
    bootId: (await readText('/proc/sys/kernel/random/boot_id')).trim(),
  };
}

/** Beside v1 hierarchies liblxc gives its groups no controllers of v2 that the root has not passed on. */
async function usableUnified(layout: CgroupLayout): Promise<readonly string[]> {
  if (layout.unified === null || Object.keys(layout.v1).length === 0) return layout.unifiedControllers;
  const passed = (await readText(join(layout.unified, 'cgroup.subtree_control'))).trim().split(/\s+/);
  return layout.unifiedControllers.filter((controller) => passed.includes(controller));
}

/** The root of a hierarchy has no weight: a group below it tells, one of our own where there is none. */
async function hasDiskWeight(layout: CgroupLayout): Promise<boolean> {
  const blkio = layout.v1['blkio'];
  const [mount, file] = blkio === undefined ? [layout.unified, 'io.weight'] : [blkio, 'blkio.weight'];
  if (mount === null) return false;
  const [child] = await cgroupChildren(mount);
  if (child !== undefined) return isThere(join(mount, child, file));
  const probe = join(mount, `slipway.probe.${String(process.pid)}`);
  try {
    await mkdir(probe);
    return await isThere(join(probe, file));
  } catch {
    return false; // a hierarchy that cannot be written to shares nothing
  } finally {
    await rmdir(probe).catch(() => undefined);
  }
}

async function existing(root: string, names: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const name of names) if (await isThere(join(root, name))) found.push(name);
  return found;
}

/** '' for a file that is not there: each reader above treats that as "not offered". */
async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return '';
  }
}

/** Where all hierarchies of cgroups are mounted, those without a controller among them. */
export async function cgroupMounts(): Promise<string[]> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
  const mounts = lines.filter((line) => / - cgroup2? /.test(line)).map((line) => line.split(' ')[4] ?? '');
  return [...new Set(mounts)];
}

/** Names below a directory of cgroups, [] when it is not there. */
export async function cgroupChildren(path: string): Promise<string[]> {
  try {
    return (await readdir(path, { withFileTypes: true })).filter((e) => e.isDirectory()).map((e) => e.name);
  } catch {
    return [];
  }
}
