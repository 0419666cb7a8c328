/**
 * The grammars of configuration values: text -> what it means.
 *
 * Pure. Each parser throws a Fault bad_request whose text is the second half
 * of a sentence (`"12X" is not a size; write …`): the caller that knows the
 * key puts it in front. Numbers carry their unit in the name of the parser's result.
 */
import { isIP } from 'node:net';
import { Fault } from '../../process/fault.ts';
import { firstOf, networkOf, parseSubnet } from '../network/addresses.ts';

/** Longest value that is repeated in an error text. */
const SHOWN = 64;

/** A Fault whose text is `"<value>" <problem>`, with a long value cut. */
export function wrong(value: string, problem: string): Fault {
  const shown = value.length > SHOWN ? `${value.slice(0, SHOWN)}…` : value;
  return new Fault('bad_request', `${JSON.stringify(shown)} ${problem}`);
}

/** True for text with a line break, a NUL byte or the like. */
export function hasControlCharacter(text: string): boolean {
  return /\p{Cc}/u.test(text);
}

const BOOLEANS: Readonly<Record<string, boolean>> = {
  true: true,
  yes: true,
  on: true,
  '1': true,
  false: false,
  no: false,
  off: false,
  '0': false,
};

/** LXD's booleans in any case (Python's `True` passes); absent or empty gives the fallback. */
export function parseBool(value: string | undefined, fallback = false): boolean {
  if (value === undefined || value === '') return fallback;
  const lower = value.toLowerCase();
  const found = Object.hasOwn(BOOLEANS, lower) ? BOOLEANS[lower] : undefined;
  if (found === undefined) throw wrong(value, 'is not a boolean; write true or false');
  return found;
}

/** A decimal integer within the bounds. */
export function parseInteger(value: string, min: number, max = Number.MAX_SAFE_INTEGER): number {
  const number = /^[+-]?\d{1,16}$/.test(value) ? Number(value) : NaN;
  if (!Number.isSafeInteger(number)) throw wrong(value, 'is not a whole number');
  if (number < min || number > max) {
    const range =
      max === Number.MAX_SAFE_INTEGER ? `at least ${String(min)}` : `${String(min)} to ${String(max)}`;
    throw wrong(value, `is out of range; write ${range}`);
  }
  return number;
}

const BYTE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  bytes: 1,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  PB: 1e15,
  EB: 1e18,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
  PiB: 2 ** 50,
  EiB: 2 ** 60,
};

const BIT_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  bit: 1,
  kbit: 1e3,
  Mbit: 1e6,
  Gbit: 1e9,
  Tbit: 1e12,
  Pbit: 1e15,
  Kibit: 2 ** 10,
  Mibit: 2 ** 20,
  Gibit: 2 ** 30,
  Tibit: 2 ** 40,
  Pibit: 2 ** 50,
};

function parseScaled(value: string, units: Readonly<Record<string, number>>, problem: string): number {
  const match = /^(\d{1,16}) ?([A-Za-z]*)$/.exec(value);
  const unit = match?.[2] ?? '';
  const scale = Object.hasOwn(units, unit) ? units[unit] : undefined;
  if (match === null || scale === undefined) throw wrong(value, problem);
  const result = Number(match[1]) * scale;
  if (!Number.isSafeInteger(result)) throw wrong(value, 'is larger than any machine; write a smaller one');
  return result;
}

/** Bytes, from `512MiB`, `2GB`, `1024`. */
export function parseBytes(value: string): number {
  return parseScaled(value, BYTE_UNITS, 'is not a size; write for example 512MiB');
}

/** Bits per second, from `100Mbit`. */
export function parseBitRate(value: string): number {
  return parseScaled(value, BIT_UNITS, 'is not a rate; write for example 100Mbit');
}

export type MemoryLimit = { readonly bytes: number } | { readonly percent: number };

/** `512MiB` or a share of the host's memory, `25%`; never nothing. */
export function parseMemoryLimit(value: string): MemoryLimit {
  if (value.endsWith('%')) return { percent: parsePercent(value, 1, 100) };
  const bytes = parseBytes(value);
  if (bytes === 0) throw wrong(value, 'is no limit; leave the key away for none');
  return { bytes };
}

function parsePercent(value: string, min: number, max: number): number {
  const match = /^(\d{1,9})%$/.exec(value);
  if (match === null) throw wrong(value, 'is not a percentage; write for example 50%');
  const percent = Number(match[1]);
  if (percent < min || percent > max) {
    throw wrong(value, `is out of range; write ${String(min)}% to ${String(max)}%`);
  }
  return percent;
}

export type IoLimit = { readonly bytesPerS: number } | { readonly iops: number };

/** `30MB` (a second) or `100iops`. */
export function parseIoLimit(value: string): IoLimit {
  const iops = /^(\d{1,15}) ?iops$/.exec(value);
  if (iops !== null) return { iops: Number(iops[1]) };
  return {
    bytesPerS: parseScaled(value, BYTE_UNITS, 'is not an I/O limit; write for example 30MB or 100iops'),
  };
}

export type CpuLimit = { readonly count: number } | { readonly cpus: readonly number[] };

/** Highest processor number accepted; Linux has at most 8192. */
const MAX_CPU = 8191;
const CPU_PROBLEM =
  'is not a set of processors; write a count such as 2, or a list such as 0-3,5 (one processor: 1-1)';

/** A plain number is a count; a list with `-` or `,` pins. The list is sorted and has no repeats. */
export function parseCpuLimit(value: string): CpuLimit {
  if (/^\d{1,5}$/.test(value)) {
    const count = Number(value);
    if (count < 1 || count > MAX_CPU + 1)
      throw wrong(value, 'is not a usable number of processors; write at least 1');
    return { count };
  }
  return { cpus: parseCpuSet(value) };
}

/** Processor numbers of a list such as `0-3,5`, as in cpuset files; sorted, without repeats. */
export function parseCpuSet(value: string): number[] {
  const found = new Set<number>();
  for (const part of value.split(',')) {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part.trim());
    const from = Number(match?.[1]);
    const to = Number(match?.[2] ?? match?.[1]);
    if (match === null || to < from || to > MAX_CPU) throw wrong(value, CPU_PROBLEM);
    for (let cpu = from; cpu <= to; cpu += 1) found.add(cpu);
  }
  return [...found].sort((a, b) => a - b);
}

export type CpuAllowance =
  | { readonly kind: 'weight'; readonly percent: number }
  | { readonly kind: 'quota'; readonly quotaUs: number; readonly periodUs: number };

/** `50%` is a weight, used only under load; `25ms/100ms` is a hard quota. */
export function parseCpuAllowance(value: string): CpuAllowance {
  const quota = /^(\d{1,7})ms\/(\d{1,7})ms$/.exec(value);
  if (quota !== null) {
    const quotaUs = Number(quota[1]) * 1000;
    const periodUs = Number(quota[2]) * 1000;
    // The kernel takes periods of 1 ms to 1 s, and no quota below 1 ms.
    if (quotaUs < 1000 || periodUs < 1000 || periodUs > 1_000_000) {
      throw wrong(value, 'is out of range; the period is 1ms to 1000ms and the share at least 1ms');
    }
    return { kind: 'quota', quotaUs, periodUs };
  }
  if (!value.endsWith('%')) throw wrong(value, 'is not an allowance; write for example 50% or 25ms/100ms');
  return { kind: 'weight', percent: parsePercent(value, 1, 100) };
}

/** 0 (least) to 10. */
export function parsePriority(value: string): number {
  return parseInteger(value, 0, 10);
}

export interface KernelLimit {
  readonly soft: number | 'unlimited';
  readonly hard: number | 'unlimited';
}

/** `n`, `soft:hard`, with `unlimited` for either. */
export function parseKernelLimit(value: string): KernelLimit {
  const parts = value.split(':');
  if (parts.length > 2) throw wrong(value, 'is not a limit; write for example 1024, 1024:4096 or unlimited');
  const [soft = 'unlimited', hard = soft] = parts.map((part) =>
    part === 'unlimited' ? ('unlimited' as const) : parseInteger(part, 0),
  );
  if (hard !== 'unlimited' && (soft === 'unlimited' || soft > hard)) {
    throw wrong(value, 'has a soft limit above the hard one; write soft:hard');
  }
  return { soft, hard };
}

/** A MAC address in lower case; not a multicast one. */
export function parseMac(value: string): string {
  const lower = value.toLowerCase();
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(lower) || lower === '00:00:00:00:00:00') {
    throw wrong(value, 'is not a MAC address; write for example 00:16:3e:12:34:56');
  }
  if ((parseInt(lower.slice(0, 2), 16) & 1) === 1) {
    throw wrong(value, 'is a multicast address; the first byte of a MAC address is even');
  }
  return lower;
}

/** An octal file mode such as 0660. */
export function parseMode(value: string): number {
  if (!/^0?[0-7]{3,4}$/.test(value)) throw wrong(value, 'is not a file mode; write for example 0660');
  return parseInt(value, 8);
}

/** Checks an address of the family, with no prefix length. */
export function checkAddress(value: string, family: 4 | 6): void {
  if (isIP(value) !== family) throw wrong(value, `is not an IPv${String(family)} address`);
}

/** Checks a comma-separated list of subnets, each with its prefix length and nothing behind it. */
export function checkSubnets(value: string, family: 4 | 6): void {
  for (const part of value.split(',')) {
    const subnet = parseSubnet(part.trim());
    if (subnet?.family !== family) {
      throw wrong(
        value,
        `is not a list of IPv${String(family)} subnets; write for example ${family === 4 ? '192.0.2.0/24' : '2001:db8::/64'}`,
      );
    }
    if (subnet.address !== firstOf(subnet)) {
      throw wrong(part.trim(), `is an address in the subnet ${networkOf(subnet)}; write the subnet itself`);
    }
  }
}

/** Checks `1w 2d`: parts of minutes M, hours H, days d, weeks w, months m, years y (and seconds S). */
export function checkExpiry(value: string): void {
  if (!/^\d{1,9}[SMHdwmy]( \d{1,9}[SMHdwmy])*$/.test(value)) {
    throw wrong(value, 'is not an expiry; write for example 1w or "1d 12H"');
  }
}

const SCHEDULE_WORDS = new Set([
  '@hourly', '@daily', '@midnight', '@weekly', '@monthly', '@annually', '@yearly', '@startup', '@never',
]); // prettier-ignore
const CRON_FIELD = /^(\*|\d{1,2}(-\d{1,2})?|[A-Za-z]{3}(-[A-Za-z]{3})?)(\/\d{1,2})?$/;

/** Checks a five-field cron line, or words such as @daily joined by ", ". */
export function checkSchedule(value: string): void {
  const words = value.split(',').map((word) => word.trim());
  if (words.every((word) => SCHEDULE_WORDS.has(word))) return;
  const fields = value.trim().split(/\s+/);
  const good =
    fields.length === 5 && fields.every((field) => field.split(',').every((part) => CRON_FIELD.test(part)));
  if (!good) throw wrong(value, 'is not a schedule; write five cron fields, or for example @daily');
}
