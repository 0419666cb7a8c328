/** Flavor and extra specs -> configuration keys of a container. Pure. */
import { Fault } from '../../process/fault.ts';
import { type Flavor } from './nova-instance.ts';

export interface Limits {
  readonly config: Readonly<Record<string, string>>;
  /** Keys of the root disk. */
  readonly root: Readonly<Record<string, string>>;
  /** Keys of every nic. */
  readonly nic: Readonly<Record<string, string>>;
}

const DEFAULT_PERIOD_US = 100_000;
const FULL_SHARES = 1024;

/**
 * The limits of a flavor. `quota:` keys are Nova's, `slipway:` keys are ours. A
 * key that would be ignored is refused: Fault bad_request names it.
 */
export function flavorLimits(flavor: Flavor): Limits {
  const specs = new Map(Object.entries(flavor.extraSpecs));
  const own = [...specs.keys()].filter((key) => key.startsWith('slipway:') || key.startsWith('quota:'));
  const unknown = own.find((key) => !KNOWN.has(key));
  if (unknown !== undefined) {
    throw new Fault(
      'bad_request',
      `build with flavor ${flavor.name}: extra spec ${unknown} means nothing to a container`,
    );
  }
  return {
    config: { ...base(flavor), ...cpuQuota(flavor, specs), ...security(flavor, specs) },
    root: {
      ...(flavor.rootGb > 0 ? { size: `${String(flavor.rootGb)}GiB` } : {}),
      ...diskQuota(flavor, specs),
    },
    nic: nicQuota(flavor, specs),
  };
}

const KNOWN: ReadonlySet<string> = new Set([
  'slipway:nesting',
  'slipway:privileged',
  'slipway:processes',
  'quota:cpu_quota',
  'quota:cpu_period',
  'quota:cpu_shares',
  'quota:vif_inbound_average',
  'quota:vif_outbound_average',
  ...['read', 'write', 'total'].flatMap((way) => [
    `quota:disk_${way}_bytes_sec`,
    `quota:disk_${way}_iops_sec`,
  ]),
  // Of a burst above the average a container's queue knows nothing; flavors made for VMs carry them.
  ...['inbound', 'outbound'].flatMap((way) => [`quota:vif_${way}_peak`, `quota:vif_${way}_burst`]),
]);

function base(flavor: Flavor): Record<string, string> {
  return {
    'limits.cpu': String(flavor.vcpus),
    'limits.memory': `${String(flavor.memoryMb)}MiB`,
    // Without swap in the flavor none of the host's is used.
    'limits.memory.swap': flavor.swapMb > 0 ? `${String(flavor.swapMb)}MiB` : 'false',
  };
}

function cpuQuota(flavor: Flavor, specs: ReadonlyMap<string, string>): Record<string, string> {
  const quota = integer(flavor, specs, 'quota:cpu_quota', -1);
  const period = integer(flavor, specs, 'quota:cpu_period', 1000) ?? DEFAULT_PERIOD_US;
  const shares = integer(flavor, specs, 'quota:cpu_shares', 1);
  // Nova means microseconds for each vCPU; a negative quota is none.
  if (quota !== null && quota > 0) {
    const shareMs = Math.max(1, Math.round((quota * flavor.vcpus) / 1000));
    return {
      'limits.cpu.allowance': `${String(shareMs)}ms/${String(Math.max(1, Math.round(period / 1000)))}ms`,
    };
  }
  if (shares === null) return {};
  const percent = Math.round((shares / (FULL_SHARES * Math.max(1, flavor.vcpus))) * 100);
  return { 'limits.cpu.allowance': `${String(Math.min(100, Math.max(1, percent)))}%` };
}

function diskQuota(flavor: Flavor, specs: ReadonlyMap<string, string>): Record<string, string> {
  const out: Record<string, string> = {};
  for (const [way, key] of [
    ['total', 'limits.max'],
    ['read', 'limits.read'],
    ['write', 'limits.write'],
  ] as const) {
    const bytes = integer(flavor, specs, `quota:disk_${way}_bytes_sec`, 1);
    const iops = integer(flavor, specs, `quota:disk_${way}_iops_sec`, 1);
    if (bytes !== null && iops !== null) {
      throw new Fault(
        'bad_request',
        `build with flavor ${flavor.name}: a disk has one limit of ${way}, by bytes or by operations; remove one of the two`,
      );
    }
    if (bytes !== null) out[key] = `${String(bytes)}B`;
    if (iops !== null) out[key] = `${String(iops)}iops`;
  }
  if (out['limits.max'] !== undefined && Object.keys(out).length > 1) {
    throw new Fault(
      'bad_request',
      `build with flavor ${flavor.name}: quota:disk_total_… does not go together with read or write limits`,
    );
  }
  return out;
}

/** Nova's unit is kilobytes a second. */
function nicQuota(flavor: Flavor, specs: ReadonlyMap<string, string>): Record<string, string> {
  const inbound = integer(flavor, specs, 'quota:vif_inbound_average', 1);
  const outbound = integer(flavor, specs, 'quota:vif_outbound_average', 1);
  return {
    ...(inbound === null ? {} : { 'limits.ingress': `${String(inbound * 8)}kbit` }),
    ...(outbound === null ? {} : { 'limits.egress': `${String(outbound * 8)}kbit` }),
  };
}

/** Only flavors decide about these: images and users are not asked. */
function security(flavor: Flavor, specs: ReadonlyMap<string, string>): Record<string, string> {
  const processes = integer(flavor, specs, 'slipway:processes', 1);
  return {
    'security.idmap.isolated': 'true',
    ...(flag(flavor, specs, 'slipway:nesting') ? { 'security.nesting': 'true' } : {}),
    ...(flag(flavor, specs, 'slipway:privileged') ? { 'security.privileged': 'true' } : {}),
    ...(processes === null ? {} : { 'limits.processes': String(processes) }),
  };
}

function integer(
  flavor: Flavor,
  specs: ReadonlyMap<string, string>,
  key: string,
  least: number,
): number | null {
  const value = specs.get(key);
  if (value === undefined) return null;
  const read = /^-?\d{1,15}$/.test(value) ? Number(value) : NaN;
  if (read >= least) return read;
  throw new Fault(
    'bad_request',
    `build with flavor ${flavor.name}: ${key} = "${value}" is not a number from ${String(least)} on`,
  );
}

const YES = ['true', 'yes', 'on', '1', 't', 'y'];
const NO = ['false', 'no', 'off', '0', 'f', 'n', ''];

function flag(flavor: Flavor, specs: ReadonlyMap<string, string>, key: string): boolean {
  const value = (specs.get(key) ?? '').toLowerCase();
  if (YES.includes(value)) return true;
  if (NO.includes(value)) return false;
  throw new Fault(
    'bad_request',
    `build with flavor ${flavor.name}: ${key} = "${value}" is neither true nor false`,
  );
}
