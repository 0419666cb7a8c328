/**
 * `limits.read`, `limits.write` and `limits.max` of disk devices as cgroup
 * settings for the block device that lies below the pool or the source.
 */
import { readFile, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Fault } from '../../process/fault.ts';
import type { StringMap } from '../db/rows.ts';
import { isThere } from '../storage/layout.ts';
import { planDisk, splitDeviceNumber } from './disks.ts';
import type { CgroupSetting } from './limits.ts';
import { isPrivateSource } from './private-disks.ts';
import { rootVolume } from './root-plan.ts';
import type { RuntimeParts } from './runtime-parts.ts';
import type { Expanded } from './types.ts';
import { parseIoLimit } from './values.ts';

/**
 * @param unresolved what becomes of a disk without a block device: `refuse` it, or `skip` it where the
 * definition is one of before, whose sources may be gone by now
 */
export async function diskLimits(
  parts: Pick<RuntimeParts, 'host' | 'pools'>,
  expanded: Expanded,
  unresolved: 'refuse' | 'skip' = 'refuse',
): Promise<CgroupSetting[]> {
  const out: CgroupSetting[] = [];
  for (const [name, config] of Object.entries(expanded.devices)) {
    const limits = config['type'] === 'disk' ? limitTexts(config) : [];
    if (limits.length === 0) continue;
    const path =
      config['path'] === '/'
        ? parts.pools.get(expanded.row.pool).volumePath(rootVolume(expanded))
        : (config['source'] ?? '');
    const device = await blockDeviceOf(path);
    if (device === null) {
      if (unresolved === 'skip' || (await isLeftOut(name, config))) continue;
      throw new Fault(
        'bad_request',
        `device "${name}": ${path} lies on no block device, so its I/O cannot be limited`,
      );
    }
    for (const { direction, text } of limits) out.push(setting(parts, device, direction, text, name));
  }
  return out;
}

/** Whether a start does without the disk: its source is not there, and need not be. */
async function isLeftOut(name: string, config: StringMap): Promise<boolean> {
  const source = config['source'] ?? '';
  if (config['path'] === '/' || isPrivateSource(source) || (await isThere(source))) return false;
  return (await planDisk(name, config)) === null;
}

type Direction = 'read' | 'write';

function limitTexts(config: StringMap): { direction: Direction; text: string }[] {
  const out: { direction: Direction; text: string }[] = [];
  for (const direction of ['read', 'write'] as const) {
    const text = config['limits.max'] ?? config[`limits.${direction}`] ?? '';
    if (text !== '') out.push({ direction, text });
  }
  return out;
}

function setting(
  parts: Pick<RuntimeParts, 'host'>,
  device: string,
  direction: Direction,
  text: string,
  name: string,
): CgroupSetting {
  const limit = parseIoLimit(text);
  const [unit, amount] = 'iops' in limit ? ['iops', limit.iops] : ['bps', limit.bytesPerS];
  if (parts.host.v1['blkio'] !== undefined) {
    const file = `blkio.throttle.${direction}_${unit}_device`;
    return {
      controller: 'blkio',
      file,
      value: `${device} ${String(amount)}`,
      unlimited: `${device} 0`,
      device,
    };
  }
  if (!parts.host.unifiedControllers.includes('io')) {
    throw new Fault(
      'bad_request',
      `device "${name}": this host has no io controller, so I/O limits cannot be kept`,
    );
  }
  const key = `${direction === 'read' ? 'r' : 'w'}${unit}`;
  return {
    controller: 'unified',
    file: 'io.max',
    value: `${device} ${key}=${String(amount)}`,
    unlimited: `${device} ${key}=max`,
    device: `${device} ${key}`,
  };
}

/** `major:minor` of the whole disk below a path (or of the device node itself). */
async function blockDeviceOf(path: string): Promise<string | null> {
  const found = await stat(path).catch(() => null);
  if (found === null) return null;
  let number = splitDeviceNumber(found.isBlockDevice() ? found.rdev : found.dev);
  if (number.major === 0) {
    // btrfs and overlay use numbers of no device: ask the mount table for the source.
    const source = await mountSource(`${String(number.major)}:${String(number.minor)}`, path);
    const node = source === null ? null : await stat(source).catch(() => null);
    if (node?.isBlockDevice() !== true) return null;
    number = splitDeviceNumber(node.rdev);
  }
  return wholeDisk(`${String(number.major)}:${String(number.minor)}`);
}

async function mountSource(device: string, path: string): Promise<string | null> {
  const table = await readFile('/proc/self/mountinfo', 'utf8');
  let best: { target: string; source: string } | null = null;
  for (const line of table.split('\n')) {
    const [left, right] = line.split(' - ');
    const fields = left?.split(' ') ?? [];
    const source = right?.split(' ')[1];
    const target = fields[4];
    if (target === undefined || source === undefined) continue;
    const covers = path === target || path.startsWith(target.endsWith('/') ? target : `${target}/`);
    if (!covers && fields[2] !== device) continue;
    if (best === null || target.length > best.target.length) best = { target, source };
  }
  return best?.source ?? null;
}

/** The kernel limits whole disks only: a partition stands for its disk. */
async function wholeDisk(device: string): Promise<string> {
  const entry = join('/sys/dev/block', device);
  const isPartition = await stat(join(entry, 'partition')).then(
    () => true,
    () => false,
  );
  if (!isPartition) return device;
  const disk = dirname(await realpath(entry));
  return (await readFile(join('/sys/block', basename(disk), 'dev'), 'utf8')).trim();
}
