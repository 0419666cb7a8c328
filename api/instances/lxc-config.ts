/**
 * Renders an instance as lines of a liblxc configuration. Pure.
 *
 * The keys are those that LXD generates (same meaning for `raw.lxc` users),
 * with three deliberate differences: lxcfs comes by mount entries instead of
 * its hook script (90 ms less per start), veth pairs are made by liblxc
 * itself, and there is no pre-start hook: all work is done before the start.
 */
import { join } from 'node:path';
import type { IdExtent } from '../../native/steps.ts';
import type { StringMap } from '../db/rows.ts';
import type { HostFacts } from './host.ts';
import type { CgroupSetting } from './limits.ts';
import { cgroupSettings, refuseUnkept, settingLine } from './limits.ts';
import { parseBool } from './values.ts';

export interface NicLink {
  readonly kind: 'veth' | 'phys' | 'macvlan';
  /** Bridge to join, physical device, or macvlan parent; null for a veth of its own. */
  readonly link: string | null;
  /** Name of a veth's end on the host. */
  readonly hostName: string | null;
  /** Name in the container. */
  readonly name: string;
  readonly hwaddr: string | null;
  readonly mtu: string | null;
}

export interface MountEntry {
  readonly source: string;
  /** In the container, absolute. */
  readonly target: string;
  readonly fstype: string;
  /** Without `create=`, which is added from `isDirectory`. */
  readonly options: readonly string[];
  readonly isDirectory: boolean;
}

export interface ContainerSpec {
  readonly containerName: string;
  readonly hostname: string;
  readonly rootPath: string;
  /** Empty folder where liblxc assembles the root. */
  readonly rootMountPoint: string;
  readonly logDir: string;
  readonly config: StringMap;
  readonly architecture: string;
  readonly idmap: readonly IdExtent[];
  readonly nics: readonly NicLink[];
  readonly mounts: readonly MountEntry[];
  /** v1 device rules of a privileged container beyond the usual ones, as `c 10:200 rwm`. */
  readonly deviceRules: readonly string[];
  readonly seccompFile: string | null;
  /** Command of the post-stop hook, see the helper's `hook`. */
  readonly stopHook: string;
  /** Folder of the guest API's socket; null when the guest shall not have it. */
  readonly guestSocketDir: string | null;
  readonly diskLimits: readonly CgroupSetting[];
  readonly cpus: string | null;
  readonly lxcfs: readonly string[];
}

type Line = readonly [key: string, value: string];

export function renderLxcConfig(spec: ContainerSpec, host: HostFacts): string {
  const privileged = spec.idmap.length === 0;
  const lines: Line[] = [
    ...baseLines(spec),
    ...spec.idmap.map((e): Line => [
      'lxc.idmap',
      `${e.kind} ${String(e.nsId)} ${String(e.hostId)} ${String(e.range)}`,
    ]),
    ...securityLines(spec, host, privileged),
    ...kernelMounts(spec, host, privileged),
    ...spec.mounts.map(mountLine),
    ...limitLines(spec, host),
    ...spec.nics.flatMap(nicLines),
  ];
  const text = lines.map(([key, value]) => `${key} = ${value}\n`).join('');
  const raw = spec.config['raw.lxc'] ?? '';
  return raw === '' ? text : `${text}${raw}${raw.endsWith('\n') ? '' : '\n'}`;
}

function baseLines(spec: ContainerSpec): Line[] {
  const lines: Line[] = [
    ['lxc.log.file', join(spec.logDir, 'lxc.log')],
    ['lxc.log.level', 'error'],
    ['lxc.console.buffer.size', 'auto'],
    ['lxc.console.size', 'auto'],
    ['lxc.console.logfile', join(spec.logDir, 'console.log')],
    ['lxc.autodev', '1'],
    ['lxc.pty.max', '1024'],
    ['lxc.tty.max', '0'],
    ['lxc.arch', spec.architecture],
    ['lxc.uts.name', spec.hostname],
    ['lxc.rootfs.path', `dir:${spec.rootPath}`],
    ['lxc.rootfs.mount', spec.rootMountPoint],
    ['lxc.rootfs.managed', '0'],
    ['lxc.hook.version', '1'],
    ['lxc.hook.post-stop', spec.stopHook],
    // Without its monitor nobody could tell that the container ended.
    ['lxc.monitor.signal.pdeath', 'SIGKILL'],
  ];
  for (const [key, value] of Object.entries(spec.config)) {
    if (key.startsWith('environment.')) lines.push(['lxc.environment', `${key.slice(12)}=${value}`]);
    if (key.startsWith('linux.sysctl.')) lines.push([`lxc.sysctl.${key.slice(13)}`, value]);
    if (key.startsWith('limits.kernel.')) lines.push([`lxc.prlimit.${key.slice(14)}`, value]);
  }
  return lines;
}

const PRIVILEGED_DEVICES = [
  'b *:* m',
  'c *:* m',
  'c 136:* rwm',
  'c 1:3 rwm',
  'c 1:5 rwm',
  'c 1:7 rwm',
  'c 1:8 rwm',
  'c 1:9 rwm',
  'c 5:0 rwm',
  'c 5:1 rwm',
  'c 5:2 rwm',
  'c 10:229 rwm',
  'c 10:200 rwm',
];

function securityLines(spec: ContainerSpec, host: HostFacts, privileged: boolean): Line[] {
  const lines: Line[] = [];
  if (spec.seccompFile !== null) lines.push(['lxc.seccomp.profile', spec.seccompFile]);
  if (host.appArmor) {
    lines.push(['lxc.apparmor.profile', 'generated']);
    lines.push(['lxc.apparmor.allow_nesting', parseBool(spec.config['security.nesting']) ? '1' : '0']);
  }
  if (!privileged) return lines;
  lines.push(['lxc.cap.drop', 'sys_time sys_module sys_rawio mac_admin mac_override']);
  const prefix = host.v1['devices'] === undefined ? 'lxc.cgroup2' : 'lxc.cgroup';
  lines.push([`${prefix}.devices.deny`, 'a']);
  for (const rule of [...PRIVILEGED_DEVICES, ...spec.deviceRules])
    lines.push([`${prefix}.devices.allow`, rule]);
  return lines;
}

/** /proc, /sys, cgroups, lxcfs and the host's optional paths. */
function kernelMounts(spec: ContainerSpec, host: HostFacts, privileged: boolean): Line[] {
  const lines: Line[] = [];
  const isPureV2 = Object.keys(host.v1).length === 0;
  const wantsV1 = spec.config['image.requirements.cgroup'] === 'v1';
  const cgroup = isPureV2 ? ' cgroup:rw:force' : wantsV1 || host.unified === null ? ' cgroup:mixed' : '';
  lines.push(['lxc.mount.auto', `${privileged ? 'proc:mixed sys:mixed' : 'proc:rw sys:rw'}${cgroup}`]);
  if (!isPureV2 && cgroup === '') {
    // On a hybrid host the v2 tree is the one that every living init can work
    // with: systemd refuses v1 from 256 on. The mount is rooted at the
    // container's own group, since liblxc unshares the cgroup namespace.
    lines.push(['lxc.mount.entry', 'cgroup2 sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime 0 0']);
  }
  if (privileged)
    lines.push(['lxc.mount.entry', 'mqueue dev/mqueue mqueue rw,relatime,create=dir,optional 0 0']);
  for (const path of host.extraPaths) {
    // A privileged container has a message queue file system of its own.
    if (path === 'dev/mqueue' && privileged) continue;
    const create = path === 'dev/mqueue' ? ',create=dir' : path.startsWith('dev/') ? ',create=file' : '';
    lines.push(['lxc.mount.entry', `/${path} ${path} none rbind${create},optional 0 0`]);
  }
  for (const file of spec.lxcfs) {
    lines.push([
      'lxc.mount.entry',
      `${escapeField(join(host.lxcfsPath, file))} ${file} none bind,optional 0 0`,
    ]);
  }
  if (spec.guestSocketDir !== null) {
    lines.push(['lxc.mount.entry', `${escapeField(spec.guestSocketDir)} dev/lxd none bind,create=dir 0 0`]);
  }
  if (parseBool(spec.config['security.nesting'])) {
    // A nested container may mount its own proc and sysfs only where it already sees complete ones.
    lines.push(['lxc.mount.entry', 'proc dev/.lxc/proc proc create=dir,optional 0 0']);
    lines.push(['lxc.mount.entry', 'sys dev/.lxc/sys sysfs create=dir,optional 0 0']);
  }
  return lines;
}

function mountLine(entry: MountEntry): Line {
  const options = [...entry.options, entry.isDirectory ? 'create=dir' : 'create=file'].join(',');
  const target = entry.target.replace(/^\/+/, '');
  return [
    'lxc.mount.entry',
    `${escapeField(entry.source)} ${escapeField(target)} ${entry.fstype} ${options} 0 0`,
  ];
}

/** Fields of fstab lines: blanks and backslashes as octal escapes. */
export function escapeField(text: string): string {
  return text.replace(/[\\ \t\n]/g, (c) => `\\${c.charCodeAt(0).toString(8).padStart(3, '0')}`);
}

function limitLines(spec: ContainerSpec, host: HostFacts): Line[] {
  refuseUnkept(spec.config, host);
  const lines: Line[] = [...cgroupSettings(spec.config, host), ...spec.diskLimits].map(settingLine);
  if (spec.cpus !== null) {
    if (host.v1['cpuset'] !== undefined) lines.push(['lxc.cgroup.cpuset.cpus', spec.cpus]);
    else if (host.unifiedControllers.includes('cpuset')) lines.push(['lxc.cgroup2.cpuset.cpus', spec.cpus]);
  }
  return lines;
}

function nicLines(nic: NicLink, index: number): Line[] {
  const key = (name: string): string => `lxc.net.${String(index)}.${name}`;
  const lines: Line[] = [[key('type'), nic.kind]];
  if (nic.kind === 'macvlan') lines.push([key('macvlan.mode'), 'bridge']);
  if (nic.link !== null) lines.push([key('link'), nic.link]);
  if (nic.kind === 'veth' && nic.hostName !== null) lines.push([key('veth.pair'), nic.hostName]);
  lines.push([key('name'), nic.name], [key('flags'), 'up']);
  if (nic.hwaddr !== null) lines.push([key('hwaddr'), nic.hwaddr]);
  if (nic.mtu !== null) lines.push([key('mtu'), nic.mtu]);
  return lines;
}
