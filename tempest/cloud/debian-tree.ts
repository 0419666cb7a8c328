/**
 * The root file system of the control plane: a small Debian with systemd, then
 * all packages. Both steps leave a mark, so that a build that was interrupted
 * goes on where it stopped; what apt fetched is kept until the end.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { makeDebianTree, runShown } from '../../api/setup/debian-image.ts';
import type { StepReport } from '../../api/setup/progress.ts';
import { PROGRAM_ROOT } from '../../config/root.ts';

/** The release whose OpenStack is 2025.1. */
export const SUITE = 'trixie';
const BASE = ['systemd', 'systemd-sysv', 'dbus', 'udev', 'iproute2', 'procps', 'login', 'passwd'];
const PACKAGE_LIST = join(PROGRAM_ROOT, 'tempest', 'cloud', 'packages.txt');

const APT_SETTINGS = `APT::Install-Recommends "false";
Acquire::Languages "none";
APT::Keep-Downloaded-Packages "true";
Binary::apt-get::APT::Keep-Downloaded-Packages "true";
DPkg::Use-Pty "false";
`;

/** Units that look for hardware, or wait for somebody who does. */
const MASKED = [
  'systemd-udevd.service',
  'systemd-udev-trigger.service',
  'systemd-udev-load-credentials.service',
  'systemd-networkd-wait-online.service',
  'systemd-modules-load.service',
  'sys-kernel-debug.mount',
  'modprobe@.service',
];
/** What packages enable, all of it, starts only when it is configured and asked for. */
const ENABLED = ['multi-user', 'sysinit', 'sockets', 'timers'].map((name) => `${name}.target.wants`);

/** No maintainer script starts a service in a tree that is only being filled. */
const NO_SERVICES = '#!/bin/sh\nexit 101\n';

/**
 * Hundreds of packages start a Python each to compile their modules; one run
 * over all of them, on all processors, takes a quarter of the time.
 */
const COMPILERS = ['usr/bin/py3compile', 'usr/bin/py3clean'];
const COMPILE = 'python3 -m compileall -q -j 0 /usr/lib/python3/dist-packages /usr/share/openstack-dashboard';

/** Runs `$2…` in the tree `$1` with the folder of fetched packages `$ARCHIVES`, in mounts of its own. */
const ENTER = `set -e
mount --make-rprivate /
mount -t proc proc "$1/proc"
mount --rbind /sys "$1/sys"
mount --rbind /dev "$1/dev"
mkdir -p "$1/var/cache/apt/archives"
mount --bind "$0" "$1/var/cache/apt/archives"
cp -L /etc/resolv.conf "$1/etc/resolv.conf"
root=$1
shift
exec env -u TMPDIR HOME=/root DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 TERM=dumb \\
	PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" "$@"`;

export interface TreeWork {
  readonly signal: AbortSignal;
  readonly report: StepReport;
}

/** The finished tree; what lies beside it in the folder becomes an image together with it. */
export function treePath(cache: string): string {
  return join(cache, 'control', 'rootfs');
}

/** The packages of the image, without comments. */
export async function controlPackages(): Promise<string[]> {
  const text = await readFile(PACKAGE_LIST, 'utf8');
  return text
    .replace(/#.*/g, '')
    .split(/\s+/)
    .filter((name) => name !== '');
}

/** Step one: Debian with systemd and apt. */
export async function makeBase(cache: string, work: TreeWork): Promise<void> {
  const tree = `${treePath(cache)}.part`;
  if (existsSync(treePath(cache)) || existsSync(join(tree, '.base'))) {
    work.report.result('there already');
    return;
  }
  await rm(tree, { recursive: true, force: true });
  await mkdir(dirname(tree), { recursive: true });
  await makeDebianTree(tree, {
    suite: SUITE,
    include: BASE,
    signal: work.signal,
    onDetail: (text) => {
      work.report.detail(text);
    },
  });
  await writeFile(join(tree, 'etc/apt/apt.conf.d/90cloud'), APT_SETTINGS);
  await writeFile(join(tree, '.base'), '');
}

/** Step two: OpenStack and what it stands on. Goes on where apt or dpkg were interrupted. */
export async function installPackages(cache: string, work: TreeWork): Promise<void> {
  const done = treePath(cache);
  if (existsSync(done)) {
    work.report.result('there already');
    return;
  }
  const tree = `${done}.part`;
  const archives = join(cache, 'archives');
  await mkdir(join(archives, 'partial'), { recursive: true });
  await writeFile(join(tree, 'usr/sbin/policy-rc.d'), NO_SERVICES, { mode: 0o755 });
  const inside = (...argv: string[]): Promise<void> =>
    runShown(['unshare', '--mount', 'sh', '-c', ENTER, archives, tree, ...argv], {
      signal: work.signal,
      onDetail: (text) => {
        work.report.detail(text);
      },
    });
  await inside('apt-get', '-q', 'update');
  // The compilers come with the package python3-minimal: it goes first, so that they can be put aside.
  await inside('dpkg', '--configure', '-a');
  await inside('apt-get', '-q', '-y', 'install', 'python3-minimal');
  await setCompilers(tree, false);
  await inside('apt-get', '-q', '-y', '-f', 'install', ...(await controlPackages()));
  await setCompilers(tree, true);
  work.report.detail('compiling Python modules');
  await inside('sh', '-c', `${COMPILE} || true`);
  await tidy(tree);
  await prepareBoot(tree);
  await rename(tree, done);
  await rm(archives, { recursive: true, force: true });
}

/** dpkg's own way to put a program aside: an upgrade of its package does not bring it back. */
async function setCompilers(tree: string, real: boolean): Promise<void> {
  for (const path of COMPILERS) {
    const file = join(tree, path);
    const kept = `${file}.real`;
    if (real) {
      if (existsSync(kept)) await rename(kept, file);
      continue;
    }
    if (existsSync(kept)) continue;
    await rename(file, kept);
    await symlink('true', file);
  }
}

async function tidy(tree: string): Promise<void> {
  for (const path of ['usr/sbin/policy-rc.d', 'etc/resolv.conf', 'var/lib/apt/lists', '.base']) {
    await rm(join(tree, path), { recursive: true, force: true });
  }
  await writeFile(join(tree, 'etc/resolv.conf'), '');
}

async function prepareBoot(tree: string): Promise<void> {
  const units = join(tree, 'etc/systemd/system');
  for (const folder of ENABLED) await rm(join(units, folder), { recursive: true, force: true });
  for (const name of MASKED) {
    await rm(join(units, name), { force: true });
    await symlink('/dev/null', join(units, name));
  }
  // `systemctl enable` also asks for links of the old init scripts, which nobody reads.
  const sysv = join(tree, 'usr/lib/systemd/systemd-sysv-install');
  await rm(sysv, { force: true });
  await symlink('/bin/true', sysv);
  await writeFile(join(tree, 'etc/hostname'), 'control\n');
  await writeFile(join(tree, 'etc/machine-id'), '');
  const wants = join(units, 'multi-user.target.wants');
  await mkdir(wants);
  await symlink('/usr/lib/systemd/system/systemd-networkd.service', join(wants, 'systemd-networkd.service'));
  for (const name of await readdir(join(tree, 'dev'))) await rm(join(tree, 'dev', name), { recursive: true });
}
