/**
 * Disk and unix device entries of an instance as mounts of the container.
 * Reads the host's file system (is the source there, what is it); changes nothing.
 */
import type { Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { Fault } from '../../process/fault.ts';
import type { Step } from '../../native/steps.ts';
import { steps } from '../../native/steps.ts';
import type { StringMap } from '../db/rows.ts';
import { runTool } from '../tools.ts';
import { innerPathOf } from './device-keys.ts';
import type { MountEntry } from './lxc-config.ts';
import type { Expanded } from './types.ts';
import { isPrivateSource } from './private-disks.ts';
import { parseBool } from './values.ts';

export interface DevicePlan {
  readonly mounts: readonly MountEntry[];
  /** Nodes to make on the host before the start. */
  readonly nodes: readonly Step[];
  /** v1 device rules for privileged containers. */
  readonly rules: readonly string[];
}

/** Plans every disk (but the root) and every unix device. `nodeDir` is where device nodes are made. */
export async function planDevices(expanded: Expanded, nodeDir: string): Promise<DevicePlan> {
  const mounts: MountEntry[] = [];
  const nodes: Step[] = [];
  const rules: string[] = [];
  for (const [device, config] of orderedDevices(expanded)) {
    if (config['type'] === 'disk') {
      const mount = await planDisk(device, config);
      if (mount !== null) mounts.push(mount);
    } else {
      const plan = await planUnix(device, config, nodeDir);
      if (plan === null) continue;
      mounts.push(plan.mount);
      nodes.push(plan.node);
      rules.push(plan.rule);
    }
  }
  return { mounts, nodes, rules };
}

/** What is mounted below another mount comes after it, or would be hidden. */
export function parentsFirst(mounts: readonly MountEntry[]): MountEntry[] {
  const key = ({ target }: MountEntry): string => posix.normalize(`/${target}/`);
  return [...mounts].sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0));
}

/** LXD's order: disks by path, then the others by type and name. */
function orderedDevices(expanded: Expanded): [string, StringMap][] {
  const rank = (config: StringMap): string =>
    config['type'] === 'disk' ? `0${config['path'] ?? ''}` : `1${config['type'] ?? ''}`;
  return Object.entries(expanded.devices)
    .filter(
      ([, c]) =>
        (c['type'] === 'disk' && c['path'] !== '/' && !isPrivateSource(c['source'])) ||
        c['type'] === 'unix-char' ||
        c['type'] === 'unix-block',
    )
    .sort(([a, ca], [b, cb]) => (rank(ca) + a < rank(cb) + b ? -1 : 1));
}

function isRequired(config: StringMap): boolean {
  if (config['optional'] !== undefined) return !parseBool(config['optional']);
  return parseBool(config['required'], true);
}

/** null when an optional source is not there. */
export async function planDisk(device: string, config: StringMap): Promise<MountEntry | null> {
  const source = config['source'] ?? '';
  if (isPrivateSource(source)) {
    throw new Fault(
      'bad_request',
      `device "${device}": a disk of ${source} can only be added while the instance is stopped`,
    );
  }
  const found = await statOrNull(source);
  if (found === null) {
    if (!isRequired(config)) return null;
    throw new Fault(
      'bad_request',
      `device "${device}": the source ${source} is not there; create it or set required=false`,
    );
  }
  const readonly = parseBool(config['readonly']);
  const target = innerPathOf(config['path'] ?? '');
  if (found.isBlockDevice()) {
    const fstype = await fileSystemOf(device, source);
    const options = [readonly ? 'ro' : 'rw', ...rawOptions(config)];
    return { source, target, fstype, options, isDirectory: true };
  }
  const recursive = parseBool(config['recursive']);
  const options = [recursive ? 'rbind' : 'bind'];
  if (readonly) options.push('ro');
  const propagation = config['propagation'] ?? '';
  if (propagation !== '' && propagation !== 'private') options.push(propagation);
  if (parseBool(config['shift'])) options.push('idmap=container');
  options.push(...rawOptions(config));
  return { source, target, fstype: 'none', options, isDirectory: found.isDirectory() };
}

function rawOptions(config: StringMap): string[] {
  return (config['raw.mount.options'] ?? '').split(',').filter((option) => option !== '');
}

async function fileSystemOf(device: string, source: string): Promise<string> {
  const { stdout } = await runTool('blkid', ['-o', 'value', '-s', 'TYPE', source]);
  const fstype = stdout.trim();
  if (fstype === '') {
    throw new Fault(
      'bad_request',
      `device "${device}": there is no file system on ${source}; make one, or pass the disk as a unix-block device`,
    );
  }
  return fstype;
}

export interface UnixPlan {
  readonly mount: MountEntry;
  readonly node: Step;
  readonly rule: string;
}

/** null when an optional source is not there. */
export async function planUnix(device: string, config: StringMap, nodeDir: string): Promise<UnixPlan | null> {
  const kind = config['type'] === 'unix-block' ? 'b' : 'c';
  const source = config['source'] ?? config['path'] ?? '';
  const target = innerPathOf(config['path'] ?? config['source'] ?? '');
  const numbers = await deviceNumbers(device, config, source, kind);
  if (numbers === null) return null;
  const file = join(nodeDir, `unix.${device}.${target.replace(/^\/+/, '').replaceAll('/', '-')}`);
  const mode = config['mode'] ?? '0660';
  const node = steps.mknod(
    file,
    { kind, major: numbers.major, minor: numbers.minor, mode },
    Number(config['uid'] ?? '0'),
    Number(config['gid'] ?? '0'),
  );
  return {
    mount: {
      source: file,
      target,
      fstype: 'none',
      options: ['bind'],
      isDirectory: false,
    },
    node,
    rule: `${kind} ${String(numbers.major)}:${String(numbers.minor)} rwm`,
  };
}

async function deviceNumbers(
  device: string,
  config: StringMap,
  source: string,
  kind: 'b' | 'c',
): Promise<{ major: number; minor: number } | null> {
  if (config['major'] !== undefined && config['minor'] !== undefined) {
    return { major: Number(config['major']), minor: Number(config['minor']) };
  }
  const found = await statOrNull(source);
  const fits = kind === 'b' ? found?.isBlockDevice() === true : found?.isCharacterDevice() === true;
  if (found !== null && fits) return splitDeviceNumber(found.rdev);
  if (found === null && !isRequired(config)) return null;
  const word = kind === 'b' ? 'block' : 'character';
  throw new Fault(
    'bad_request',
    `device "${device}": ${source} is not a ${word} device of this host; give major and minor, or set required=false`,
  );
}

/** Linux' encoding of dev_t. */
export function splitDeviceNumber(rdev: number): { major: number; minor: number } {
  return { major: (rdev >>> 8) & 0xfff, minor: (rdev & 0xff) | ((rdev >>> 12) & 0xfff00) };
}

async function statOrNull(path: string): Promise<Stats | null> {
  try {
    return await stat(path);
  } catch (err) {
    // Only "not there" is an answer; anything else (EACCES, ELOOP) is told.
    if (err instanceof Error && 'code' in err && (err.code === 'ENOENT' || err.code === 'ENOTDIR'))
      return null;
    throw new Fault('bad_request', `look at the source ${path} on the host`, { cause: err });
  }
}
