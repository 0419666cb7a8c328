/**
 * Is this host fit to run containers? Each question is answered by trying the
 * thing itself, in a network namespace or folder that vanishes, rather than by
 * reading names of kernel options.
 */
import { existsSync, readFileSync, statfsSync } from 'node:fs';
import { release } from 'node:os';
import { dirname } from 'node:path';
import { hostRange } from '../idmap/idmap.ts';
import { LXCFS_FOLDER, lxcfsState } from '../lxcfs.ts';
import { runTool } from '../tools.ts';

/** missing: containers will not run. degraded: they will, with less. */
export type Verdict = 'ok' | 'degraded' | 'missing';

export interface Finding {
  readonly area: 'program' | 'kernel' | 'network' | 'storage' | 'limits';
  readonly name: string;
  readonly verdict: Verdict;
  /** What was found. */
  readonly found: string;
  /** What to do about it; '' when it is well. */
  readonly advice: string;
}

const NODE_FLOOR = 20;
const OVERLAY_IDMAP_KERNEL = [5, 19] as const;
const LEAST_FREE_BYTES = 2 * 1024 ** 3;
const LEAST_INOTIFY_INSTANCES = 1024;
const LEAST_KEYS = 2000;
const ISOLATED_RANGE = 65_536;
/** Fewer ranges than this is worth a word. */
const MANY_RANGES = 100;

type Rating = Pick<Finding, 'verdict' | 'found' | 'advice'>;

const ok = (found: string): Rating => ({ verdict: 'ok', found, advice: '' });
const degraded = (found: string, advice: string): Rating => ({ verdict: 'degraded', found, advice });
const missing = (found: string, advice: string): Rating => ({ verdict: 'missing', found, advice });

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return '';
  }
}

/** True when the program ends well; a program that is not there has been reported as missing already. */
async function succeeds(program: string, args: readonly string[], stdin = ''): Promise<boolean> {
  return runTool(program, args, { stdin, timeoutMs: 10_000 }).then(
    () => true,
    () => false,
  );
}

export function checkNode(): Finding {
  const major = Number(process.versions.node.split('.')[0]);
  const found = `Node ${process.versions.node}`;
  return {
    area: 'program',
    name: 'Node',
    ...(major >= NODE_FLOOR ? ok(found) : missing(found, `install Node ${String(NODE_FLOOR)} or newer`)),
  };
}

export function checkKernel(): Finding {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  const [wantMajor, wantMinor] = OVERLAY_IDMAP_KERNEL;
  const enough = major > wantMajor || (major === wantMajor && minor >= wantMinor);
  return {
    area: 'kernel',
    name: 'version',
    ...(enough
      ? ok(`Linux ${release()}`)
      : degraded(
          `Linux ${release()}`,
          'Linux 5.19 is the first with overlays of idmapped layers; use the storage driver dir or btrfs',
        )),
  };
}

export function checkNamespaces(): Finding {
  const wanted = ['user', 'mnt', 'pid', 'net', 'ipc', 'uts', 'cgroup'];
  const absent = wanted.filter((name) => !existsSync(`/proc/self/ns/${name}`));
  const users = Number(readText('/proc/sys/user/max_user_namespaces') || '0');
  let rating = ok(wanted.join(' '));
  if (absent.length > 0)
    rating = missing(`without ${absent.join(' ')}`, 'boot a kernel with these namespaces');
  else if (users === 0) {
    rating = missing('user.max_user_namespaces is 0', 'sysctl -w user.max_user_namespaces=65536');
  }
  return { area: 'kernel', name: 'namespaces', ...rating };
}

export async function checkOverlay(): Promise<Finding> {
  const has = (): boolean => /\boverlay$/m.test(readText('/proc/filesystems'));
  if (!has()) await succeeds('modprobe', ['overlay']);
  return {
    area: 'storage',
    name: 'overlayfs',
    ...(has()
      ? ok('in the kernel')
      : degraded('not in the kernel', 'use the storage drivers dir or btrfs, or load the module overlay')),
  };
}

/** `works` asks the kernel for one; it comes from the native part, which may not be built. */
export async function checkIdmappedMounts(
  works: ((directory: string) => Promise<boolean>) | null,
  directory: string,
): Promise<Finding> {
  let at = directory;
  while (!existsSync(at)) at = dirname(at);
  let rating: Rating;
  if (works === null) {
    rating = degraded('not tried: the native part is not built', 'npm run build:native');
  } else if (await works(at)) rating = ok(`they work below ${at}`);
  else {
    rating = degraded(
      `the file system of ${at} has none`,
      'put the state folder on ext4, xfs or btrfs; without them only privileged containers run',
    );
  }
  return { area: 'storage', name: 'idmapped mounts', ...rating };
}

export function checkCgroups(): Finding {
  const mounts = readText('/proc/self/mountinfo').split('\n');
  const v2 = mounts.some((line) => / - cgroup2 /.test(line));
  const v1 = mounts.some((line) => / - cgroup /.test(line));
  const advice = 'mount cgroup2 at /sys/fs/cgroup (Debian: boot without systemd.unified_cgroup_hierarchy=0)';
  let rating: Rating;
  if (!v1 && !v2) rating = missing('no cgroup file system is mounted', advice);
  else {
    const controllers = v1
      ? mounts.flatMap((line) => / - cgroup .* (\S+)$/.exec(line)?.[1]?.split(',') ?? [])
      : readText('/sys/fs/cgroup/cgroup.controllers').split(' ');
    const absent = ['memory', 'cpu', 'pids'].filter((name) => !controllers.includes(name));
    const layout = v1 ? (v2 ? 'hybrid (v1 with an empty v2)' : 'v1') : 'v2';
    rating =
      absent.length === 0
        ? ok(layout)
        : degraded(
            `${layout}, without ${absent.join(' ')}`,
            `limits of ${absent.join(', ')} will be refused`,
          );
  }
  return { area: 'kernel', name: 'cgroups', ...rating };
}

export function checkSeccomp(): Finding {
  const actions = readText('/proc/sys/kernel/seccomp/actions_avail');
  return {
    area: 'kernel',
    name: 'seccomp',
    ...(actions.includes('errno')
      ? ok(actions.includes('user_notif') ? 'with notifications' : 'filters')
      : degraded('not in the kernel', 'containers start without a system call filter')),
  };
}

export async function checkAppArmor(): Promise<Finding> {
  const enabled = readText('/sys/module/apparmor/parameters/enabled') === 'Y';
  const parser = await succeeds('apparmor_parser', ['--version']);
  let rating = ok('enabled');
  if (!enabled) {
    rating = degraded(
      'not in this kernel',
      'containers start without a profile; user namespaces and seccomp still confine them',
    );
  } else if (!parser) rating = degraded('no apparmor_parser', 'apt-get install apparmor');
  return { area: 'kernel', name: 'AppArmor', ...rating };
}

/** Commands for `ip -batch`; the namespace they run in ends with the program. */
const LINKS = [
  { name: 'veth pairs', batch: 'link add slipway0 type veth peer name slipway1\n', need: true },
  { name: 'bridges', batch: 'link add slipway0 type bridge\n', need: true },
  {
    name: 'macvlan',
    batch:
      'link add slipway0 type veth peer name slipway1\nlink add link slipway0 name slipway2 type macvlan\n',
    need: false,
  },
];

/** Makes links of each kind in a network namespace of its own. */
export async function checkLinks(): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { name, batch, need } of LINKS) {
    const works = await succeeds('unshare', ['-n', 'ip', '-batch', '-'], batch);
    const no = need ? missing : degraded;
    const advice = need
      ? 'load the kernel module or boot a kernel that has it'
      : 'network cards of this type will be refused';
    const rating = works ? ok('in the kernel') : no('the kernel refuses to make one', advice);
    findings.push({ area: 'network', name, ...rating });
  }
  return findings;
}

const NAT_RULES = `table inet slipway_check {
  chain nat { type nat hook postrouting priority 100; ip saddr 192.0.2.0/24 masquerade; }
  chain in { type filter hook input priority 0; ct state established accept; }
}
`;

export async function checkNftables(): Promise<Finding> {
  const works = await succeeds('unshare', ['-n', 'nft', '-f', '-'], NAT_RULES);
  return {
    area: 'network',
    name: 'nftables with NAT',
    ...(works
      ? ok('works')
      : degraded(
          'rules for NAT are refused',
          'managed bridges will have no way out; load nf_tables, nft_masq and nft_ct',
        )),
  };
}

export function checkIpv6(): Finding {
  const there = existsSync('/proc/sys/net/ipv6');
  return {
    area: 'network',
    name: 'IPv6',
    ...(there
      ? ok('in the kernel')
      : degraded('not in the kernel', 'managed bridges get IPv4 addresses alone')),
  };
}

export async function checkLxcfs(folder = LXCFS_FOLDER): Promise<Finding> {
  const state = await lxcfsState(folder);
  let rating = ok(`mounted at ${folder}`);
  if (!existsSync('/dev/fuse')) {
    rating = degraded(
      '/dev/fuse is not there',
      'load the module fuse; without it containers see the host in /proc',
    );
  } else if (state === 'dead') {
    rating = degraded(
      `its process is gone, its mount at ${folder} is dead`,
      `umount --lazy ${folder} and systemctl restart lxcfs, or let \`slipway up\` do both`,
    );
  } else if (state === 'absent') {
    rating = degraded('not running', 'systemctl start lxcfs, or let `slipway up` start it');
  }
  return { area: 'program', name: 'lxcfs is running', ...rating };
}

/** Which way a size limit of a root disk will be enforced below `directory`. */
export function checkQuota(directory: string): Finding {
  let at = directory;
  while (!existsSync(at)) at = dirname(at);
  const mount = mountOf(at);
  let rating: Rating;
  if (mount === null) rating = degraded('the file system is not known', 'sizes are enforced by loop files');
  else if (mount.type === 'btrfs') rating = ok('btrfs has quota groups');
  else if (/\b(prjquota|pquota)\b/.test(mount.options)) rating = ok(`${mount.type} with project quotas`);
  else {
    rating = degraded(
      `${mount.type} without project quotas`,
      `sizes are enforced by a loop file for each container; mount ${mount.point} with prjquota to do without`,
    );
  }
  return { area: 'storage', name: 'size limits', ...rating };
}

interface Mount {
  readonly point: string;
  readonly type: string;
  readonly options: string;
}

/** The mount a path lies on: the longest mount point that is a prefix, the last one of these. */
function mountOf(path: string): Mount | null {
  let best: Mount | null = null;
  for (const line of readText('/proc/self/mountinfo').split('\n')) {
    const [left, right] = line.split(' - ');
    const point = left?.split(' ')[4];
    const [type, , options] = right?.split(' ') ?? [];
    if (point === undefined || type === undefined) continue;
    if (path !== point && point !== '/' && !path.startsWith(`${point}/`)) continue;
    if (best === null || point.length >= best.point.length) best = { point, type, options: options ?? '' };
  }
  return best;
}

export function checkLoop(): Finding {
  return {
    area: 'storage',
    name: 'loop devices',
    ...(existsSync('/dev/loop-control')
      ? ok('/dev/loop-control is there')
      : degraded(
          '/dev/loop-control is not there',
          'load the module loop, or sizes of root disks may be refused',
        )),
  };
}

export function checkSpace(directory: string): Finding {
  let at = directory;
  while (!existsSync(at)) at = dirname(at);
  const facts = statfsSync(at);
  const free = facts.bavail * facts.bsize;
  const found = `${(free / 1024 ** 3).toFixed(1)} GiB free at ${at}`;
  return {
    area: 'storage',
    name: 'space',
    ...(free >= LEAST_FREE_BYTES ? ok(found) : degraded(found, 'images and containers need a few GiB')),
  };
}

export function checkLimits(): Finding[] {
  const wanted = [
    { key: 'fs.inotify.max_user_instances', least: LEAST_INOTIFY_INSTANCES, better: 8192 },
    { key: 'kernel.keys.maxkeys', least: LEAST_KEYS, better: 2000 },
  ];
  return wanted.map(({ key, least, better }): Finding => {
    const text = readText(`/proc/sys/${key.replaceAll('.', '/')}`);
    const rating =
      text === '' || Number(text) >= least
        ? ok(text === '' ? 'no such limit' : text)
        : degraded(text, `too few for hundreds of containers: sysctl -w ${key}=${String(better)}`);
    return { area: 'limits', name: key, ...rating };
  });
}

/** Id ranges of unprivileged containers, as /etc/subuid and /etc/subgid give them to root. */
export function checkIdRanges(): Finding {
  const range = hostRange(readText('/etc/subuid'), readText('/etc/subgid'));
  const found = `${String(range.start)} and the ${String(range.size - 1)} after it`;
  return {
    area: 'limits',
    name: 'id ranges',
    ...(range.size >= MANY_RANGES * ISOLATED_RANGE
      ? ok(found)
      : degraded(
          found,
          'room for few isolated containers: give root more in /etc/subuid and /etc/subgid, ' +
            'for example root:1000000:1000000000 in both',
        )),
  };
}
