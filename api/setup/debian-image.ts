/**
 * A Debian (or Ubuntu) system image from this machine's own mirror: systemd,
 * DHCP by networkd, names by resolved, no manuals and no translations.
 */
import { mkdir, mkdtemp, open, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { programEnvironment } from '../../config/environment.ts';
import { Fault } from '../../process/fault.ts';
import { runTool, streamTool } from '../tools.ts';
import { parseOsRelease, readAptMirror, sourcesFor, type AptSource, type OsRelease } from './apt-mirror.ts';
import { imageMetadata, TEMPLATES } from './image-tree.ts';

export interface DebianImageOptions {
  /** Codename; this machine's own when absent. */
  readonly suite?: string;
  /** Packages beside a small system. */
  readonly packages?: readonly string[];
  readonly signal?: AbortSignal;
  /** What is being done right now. */
  readonly onDetail?: (text: string) => void;
}

/** Without any of these a release still makes an image. */
const WANTED = [
  'systemd',
  'systemd-sysv',
  'dbus',
  'iproute2',
  'iputils-ping',
  'netbase',
  'procps',
  'login',
  'passwd',
];
/** A package of its own since Debian 12; part of systemd before. */
const RESOLVED = 'systemd-resolved';
const HOOKS = [
  // Not in every release, so it is asked for by a hook that may fail.
  `--customize-hook=chroot "$1" apt-get install -y --no-install-recommends ${RESOLVED} || true`,
];

const LEFT_OUT = ['/usr/share/man/*', '/usr/share/doc/*', '/usr/share/info/*', '/usr/share/locale/*'];
const KEPT = ['/usr/share/doc/*/copyright', '/usr/share/locale/locale.alias'];

const NETWORK_FILE = `[Match]
Name=eth*

[Network]
DHCP=yes
IPv6AcceptRA=yes

[DHCPv4]
UseDomains=yes

[DHCPv6]
UseDomains=yes

[IPv6AcceptRA]
UseDomains=yes
`;

/**
 * With a writable /sys networkd waits until udev has named each card. Nobody
 * does in a container; seeing /sys read-only it knows that, and goes on.
 * (ReadOnlyPaths= says the same, but systemd 257 lets ProtectSystem= win over it.)
 */
const NETWORKD_DROP_IN = `[Service]
BindReadOnlyPaths=/sys
`;

/** Units that have nothing to do in a container. */
const MASKED = [
  'systemd-networkd-wait-online.service',
  'systemd-modules-load.service',
  'systemd-udevd.service',
  'sys-kernel-debug.mount',
];

/** Name and number for aliases: `debian/12`. */
export function imageAliases(os: OsRelease): string[] {
  return [`${os.id}/${os.version === '' ? os.codename : os.version}`, `${os.id}/${os.codename}`];
}

/**
 * Writes `<suite>.tar.zst`, a unified image, into `dir` and returns its path.
 * Fault unavailable when the mirror has no such release, tool_failed with
 * mmdebstrap's last words.
 */
export async function buildDebianImage(dir: string, options: DebianImageOptions = {}): Promise<string> {
  const { os, sources } = await readAptMirror();
  const suite = options.suite ?? os.codename;
  const lines = await reachable(sourcesFor(sources, os.codename, suite), suite, options.signal);
  await mkdir(dir, { recursive: true });
  const work = await mkdtemp(join(dir, 'build-'));
  try {
    const root = join(work, 'rootfs');
    await makeTree(root, lines, {
      ...options,
      suite,
      include: [...WANTED, ...(options.packages ?? [])],
      hooks: HOOKS,
    });
    options.onDetail?.('configuring');
    await configure(root);
    const about = parseOsRelease(await readFile(join(root, 'etc/os-release'), 'utf8'));
    await writeAbout(work, about, suite);
    options.onDetail?.('packing');
    await rm(join(work, 'log'), { force: true });
    const packed = join(work, 'image.tar.zst');
    await pack(work, packed, options.signal);
    const file = join(dir, `${suite}.tar.zst`);
    await rename(packed, file);
    return file;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Drops the suites that the mirror does not carry; the plain one must be there. */
async function reachable(
  lines: readonly AptSource[],
  suite: string,
  signal: AbortSignal | undefined,
): Promise<AptSource[]> {
  const there = await Promise.all(lines.map((line) => carries(line, signal)));
  const found = lines.filter((_, index) => there[index]);
  if (found[0]?.suite === suite) return found;
  const mirrors = [...new Set(lines.map((line) => line.uri))].join(', ');
  throw new Fault(
    'unavailable',
    mirrors === ''
      ? `make an image of ${suite}: this machine's apt has no mirror of its own release; give an image with --image`
      : `make an image of ${suite}: ${mirrors} has no such release, or is out of reach; give an image with --image`,
  );
}

async function carries(line: AptSource, signal: AbortSignal | undefined): Promise<boolean> {
  const base = `${line.uri.replace(/\/$/, '')}/dists/${line.suite}`;
  if (!/^https?:/.test(base)) return true;
  for (const name of ['InRelease', 'Release']) {
    // Through apt's own proxy settings a mirror may answer that is out of reach here: curl-less HEAD is only a hint then.
    // Not AbortSignal.timeout(): Node 20 may collect one that only AbortSignal.any() knows, and never fire it.
    const limit = new AbortController();
    const timer = setTimeout(() => {
      limit.abort();
    }, 20_000);
    const answer = await fetch(`${base}/${name}`, {
      method: 'HEAD',
      signal: signal === undefined ? limit.signal : AbortSignal.any([signal, limit.signal]),
    })
      .catch((err: unknown) => {
        signal?.throwIfAborted();
        return err;
      })
      .finally(() => {
        clearTimeout(timer);
      });
    if (!(answer instanceof Response)) return true;
    if (answer.ok) return true;
  }
  return false;
}

export interface TreeOptions extends Omit<DebianImageOptions, 'packages'> {
  readonly suite: string;
  /** Packages beside those apt itself needs. */
  readonly include: readonly string[];
  /** Further arguments of mmdebstrap. */
  readonly hooks?: readonly string[];
}

/**
 * A root file system of a release from this machine's mirror at `root`, which
 * must not be there. Fault unavailable when the mirror has no such release,
 * tool_failed with mmdebstrap's last words.
 */
export async function makeDebianTree(root: string, options: TreeOptions): Promise<void> {
  const { os, sources } = await readAptMirror();
  const { suite, signal } = options;
  await makeTree(root, await reachable(sourcesFor(sources, os.codename, suite), suite, signal), options);
}

async function makeTree(root: string, lines: readonly AptSource[], options: TreeOptions): Promise<void> {
  const { suite, include, hooks = [] } = options;
  const args = [
    'mmdebstrap',
    '--mode=root',
    '--variant=apt',
    '--format=directory',
    `--include=${include.join(',')}`,
    ...hooks,
    '--dpkgopt=force-unsafe-io',
    ...LEFT_OUT.map((path) => `--dpkgopt=path-exclude=${path}`),
    ...KEPT.map((path) => `--dpkgopt=path-include=${path}`),
    ...[...new Set(lines.flatMap((line) => line.signedBy ?? []))].map((file) => `--keyring=${file}`),
    ...(await aptOptions()).map((line) => `--aptopt=${line}`),
    suite,
    root,
    ...lines.map((line) => `deb ${line.uri} ${line.suite} ${line.components.join(' ')}`),
  ];
  await runShown(args, options);
}

/** Proxy and trust settings of this machine's apt: the mirror may answer only with them. */
async function aptOptions(): Promise<string[]> {
  const { stdout } = await runTool('apt-config', ['dump', 'Acquire']);
  return stdout
    .split('\n')
    .filter((line) =>
      /^Acquire::(https?::(Proxy|Ca|Verify|SslCert|SslKey)|Check-Valid-Until|ForceIPv|Retries)/i.test(line),
    )
    .filter((line) => !line.includes(' "";'));
}

/**
 * Runs a program whose standard error is shown as it goes, and kept for the
 * case that it fails. It has process ids of its own, so that all its children
 * end with it when the work is given up.
 */
export async function runShown(
  argv: readonly string[],
  options: Pick<DebianImageOptions, 'signal' | 'onDetail'>,
): Promise<void> {
  const environment = Object.entries(programEnvironment()).filter(([key]) =>
    /^(https?|ftp|no)_proxy$/i.test(key),
  );
  const nothing = await open('/dev/null', 'r');
  try {
    const alone = ['--fork', '--pid', '--mount-proc', '--kill-child'];
    const proxies = ['env', ...environment.map(([key, value]) => `${key}=${value}`)];
    const merged = ['sh', '-c', 'exec "$@" 2>&1', 'sh', ...argv];
    const tool = streamTool('unshare', [...alone, ...proxies, ...merged], nothing.fd);
    const stop = (): void => {
      tool.stop();
    };
    options.signal?.addEventListener('abort', stop, { once: true });
    const last: string[] = [];
    for await (const line of createInterface({ input: tool.stdout })) {
      if (line.trim() === '') continue;
      last.push(line.trim());
      if (last.length > 5) last.shift();
      options.onDetail?.(shortened(line));
    }
    options.signal?.removeEventListener('abort', stop);
    await tool.finished.catch((cause: unknown) => {
      options.signal?.throwIfAborted();
      throw new Fault('tool_failed', `run ${argv[0] ?? ''}: ${last.join('; ')}`, { cause });
    });
  } finally {
    await nothing.close();
  }
}

function shortened(line: string): string {
  return line.replace(/^I: /, '').trim().slice(0, 60);
}

/** What a container needs that a package does not bring. */
async function configure(root: string): Promise<void> {
  const put = (path: string, text: string): Promise<void> => writeFile(join(root, path), text);
  await put('etc/hostname', 'localhost\n');
  // Empty, so that each container makes one of its own at its first start.
  await put('etc/machine-id', '');
  await rm(join(root, 'var/lib/dbus/machine-id'), { force: true });
  await mkdir(join(root, 'etc/systemd/network'), { recursive: true });
  await put('etc/systemd/network/50-eth.network', NETWORK_FILE);
  await mkdir(join(root, 'etc/systemd/system/systemd-networkd.service.d'), { recursive: true });
  await put('etc/systemd/system/systemd-networkd.service.d/container.conf', NETWORKD_DROP_IN);
  await enable(root, 'systemd-networkd.service');
  if ((await readdir(join(root, 'usr/lib/systemd/system'))).includes('systemd-resolved.service')) {
    await enable(root, 'systemd-resolved.service');
    await replaceLink(root, 'etc/resolv.conf', '../run/systemd/resolve/stub-resolv.conf');
  }
  for (const unit of MASKED) await replaceLink(root, `etc/systemd/system/${unit}`, '/dev/null');
  // Proxies of this machine's apt are not the container's business.
  await rm(join(root, 'etc/apt/apt.conf.d/99mmdebstrap'), { force: true });
  // Nodes are made at each start; those in an image are not unpacked anyway.
  for (const name of await readdir(join(root, 'dev'))) {
    await rm(join(root, 'dev', name), { recursive: true, force: true });
  }
}

async function enable(root: string, unit: string): Promise<void> {
  const wants = join(root, 'etc/systemd/system/multi-user.target.wants');
  await mkdir(wants, { recursive: true });
  await replaceLink(wants, unit, `/usr/lib/systemd/system/${unit}`);
}

async function replaceLink(root: string, path: string, target: string): Promise<void> {
  await rm(join(root, path), { force: true });
  await symlink(target, join(root, path));
}

async function writeAbout(work: string, os: OsRelease, suite: string): Promise<void> {
  const name = os.id.charAt(0).toUpperCase() + os.id.slice(1);
  const metadata = imageMetadata({
    os: name,
    release: suite,
    description: `${name} ${os.version === '' ? suite : os.version} (${suite})`,
    createdAt: new Date(),
  });
  await writeFile(join(work, 'metadata.yaml'), metadata);
  await mkdir(join(work, 'templates'));
  for (const [file, text] of Object.entries(TEMPLATES)) await writeFile(join(work, 'templates', file), text);
}

async function pack(work: string, file: string, signal: AbortSignal | undefined): Promise<void> {
  const args = ['--create', '--numeric-owner', '--xattrs', '--xattrs-include=*', '--sort=name'];
  await runTool(
    'tar',
    [...args, '-I', 'zstd -1 -T0', '-f', file, '-C', work, 'metadata.yaml', 'templates', 'rootfs'],
    {
      timeoutMs: 0,
      ...(signal === undefined ? {} : { signal }),
    },
  );
}
