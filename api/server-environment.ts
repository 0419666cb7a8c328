/** The `environment` block of `GET /1.0`: facts of host and daemon. What cannot change is read once. */
import { readFile } from 'node:fs/promises';
import { hostname, machine, release, type as kernelName } from 'node:os';
import type { Native } from '../native/types.ts';
import type { ServerEnvironment } from './wire/server.ts';

/** The version whose interface is spoken; some tools compare it. */
export const SPOKEN_VERSION = '5.0.2';

const LXC_FEATURES = [
  'cgroup2',
  'core_scheduling',
  'devpts_fd',
  'idmapped_mounts_v2',
  'mount_injection_file',
  'network_gateway_device_route',
  'network_ipvlan',
  'network_l2proxy',
  'network_phys_macvlan_mtu',
  'network_veth_router',
  'pidfd',
  'seccomp_allow_deny_syntax',
  'seccomp_notify',
  'seccomp_proxy_send_notify_fd',
] as const;

/** Native first, then what the same processor can also run, in LXD's names. */
const ARCHITECTURES: Readonly<Record<string, readonly string[]>> = {
  x86_64: ['x86_64', 'i686'],
  aarch64: ['aarch64', 'armv7l'],
  armv7l: ['armv7l'],
  ppc64le: ['ppc64le'],
  s390x: ['s390x'],
  riscv64: ['riscv64'],
};

export interface EnvironmentParts {
  readonly native: Pick<Native, 'liblxcVersion' | 'hasApiExtension' | 'idmappedMountsWork'>;
  /** A folder of the file system that instances live on. */
  readonly stateDir: string;
  readonly certificate: { readonly certificate: string; readonly fingerprint: string };
  readonly addresses: () => readonly string[];
  /** Drivers of the pools in use. */
  readonly usedDrivers: () => readonly string[];
  readonly supportedDrivers: readonly StorageDriver[];
}

export interface StorageDriver {
  readonly Name: string;
  readonly Version: string;
  readonly Remote: boolean;
}

/** Reads what is fixed; the returned function gives the block for a project. */
export async function openEnvironment(
  parts: EnvironmentParts,
): Promise<(project: string) => ServerEnvironment> {
  const fixed = {
    architectures: [...(ARCHITECTURES[machine()] ?? [machine()])],
    certificate: parts.certificate.certificate,
    certificate_fingerprint: parts.certificate.fingerprint,
    driver: 'lxc',
    driver_version: parts.native.liblxcVersion,
    firewall: 'nftables',
    kernel: kernelName(),
    kernel_architecture: machine(),
    kernel_features: await kernelFeatures(parts),
    kernel_version: release(),
    lxc_features: Object.fromEntries(
      LXC_FEATURES.map((name) => [name, String(parts.native.hasApiExtension(name))]),
    ),
    ...(await operatingSystem()),
    server: 'lxd',
    server_clustered: false,
    server_event_mode: 'full-mesh',
    server_pid: process.pid,
    server_version: SPOKEN_VERSION,
    storage_supported_drivers: [...parts.supportedDrivers],
  };
  return (project) => ({
    ...fixed,
    addresses: [...parts.addresses()],
    project,
    server_name: hostname(),
    ...storageInUse(parts),
  });
}

function storageInUse(parts: EnvironmentParts): { storage: string; storage_version: string } {
  const used = [...new Set(parts.usedDrivers())].sort();
  const versionOf = (name: string) =>
    parts.supportedDrivers.find((driver) => driver.Name === name)?.Version ?? '';
  return { storage: used.join(' | '), storage_version: used.map(versionOf).join(' | ') };
}

async function kernelFeatures(parts: EnvironmentParts): Promise<Record<string, string>> {
  const actions = await readText('/proc/sys/kernel/seccomp/actions_avail');
  const fileSystems = await readText('/proc/filesystems');
  const features: Record<string, boolean> = {
    idmapped_mounts: await parts.native.idmappedMountsWork(parts.stateDir),
    netnsid_getifaddrs: isKernel(4, 20),
    seccomp_listener: actions.split(/\s+/).includes('user_notif'),
    seccomp_listener_continue: isKernel(5, 5),
    shiftfs: /\bshiftfs\b/.test(fileSystems),
    uevent_injection: isKernel(4, 17),
    unpriv_fscaps: isKernel(4, 14),
  };
  return Object.fromEntries(Object.entries(features).map(([name, has]) => [name, String(has)]));
}

function isKernel(major: number, minor: number): boolean {
  const [a = 0, b = 0] = release().split(/[.-]/).map(Number);
  return a > major || (a === major && b >= minor);
}

async function operatingSystem(): Promise<{ os_name: string; os_version: string }> {
  const text = await readText('/etc/os-release');
  const valueOf = (key: string): string => {
    const line = new RegExp(`^${key}=(.*)$`, 'm').exec(text);
    return line?.[1]?.replace(/^"|"$/g, '') ?? '';
  };
  return { os_name: valueOf('NAME'), os_version: valueOf('VERSION_ID') };
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    // A host without the file lacks what it would tell.
    return '';
  }
}
