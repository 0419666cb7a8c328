/**
 * `instance_type` of a create: names of other clouds' sizes as limits. Pure.
 *
 * `c<N>-m<N>` states CPUs and GiB of memory; the table holds the sizes people
 * know by name. LXD downloads a longer list; this server does not call out.
 */
import { Fault } from '../../process/fault.ts';
import type { StringMap } from '../db/rows.ts';

interface Size {
  readonly cpus: number;
  readonly memoryGiB: number;
}

const size = (cpus: number, memoryGiB: number): Size => ({ cpus, memoryGiB });

const AWS: Readonly<Record<string, Size>> = {
  't1.micro': size(0.5, 0.6),
  't2.nano': size(1, 0.5),
  't2.micro': size(1, 1),
  't2.small': size(1, 2),
  't2.medium': size(2, 4),
  't2.large': size(2, 8),
  't2.xlarge': size(4, 16),
  't2.2xlarge': size(8, 32),
  't3.nano': size(2, 0.5),
  't3.micro': size(2, 1),
  't3.small': size(2, 2),
  't3.medium': size(2, 4),
  't3.large': size(2, 8),
  't3.xlarge': size(4, 16),
  't3.2xlarge': size(8, 32),
  'm5.large': size(2, 8),
  'm5.xlarge': size(4, 16),
  'm5.2xlarge': size(8, 32),
  'm5.4xlarge': size(16, 64),
  'c5.large': size(2, 4),
  'c5.xlarge': size(4, 8),
  'c5.2xlarge': size(8, 16),
  'c5.4xlarge': size(16, 32),
  'r5.large': size(2, 16),
  'r5.xlarge': size(4, 32),
  'r5.2xlarge': size(8, 64),
};

const GCE: Readonly<Record<string, Size>> = {
  'f1-micro': size(0.2, 0.6),
  'g1-small': size(0.5, 1.7),
  'n1-standard-1': size(1, 3.75),
  'n1-standard-2': size(2, 7.5),
  'n1-standard-4': size(4, 15),
  'n1-standard-8': size(8, 30),
  'n1-highcpu-2': size(2, 1.8),
  'n1-highcpu-4': size(4, 3.6),
  'n1-highmem-2': size(2, 13),
  'n1-highmem-4': size(4, 26),
};

const AZURE: Readonly<Record<string, Size>> = {
  Standard_A1: size(1, 1.75),
  Standard_A2: size(2, 3.5),
  Standard_A3: size(4, 7),
  Standard_B1s: size(1, 1),
  Standard_B1ms: size(1, 2),
  Standard_B2s: size(2, 4),
  Standard_B2ms: size(2, 8),
  Standard_D2s_v3: size(2, 8),
  Standard_D4s_v3: size(4, 16),
};

const CLOUDS: Readonly<Record<string, Readonly<Record<string, Size>>>> = { aws: AWS, gce: GCE, azure: AZURE };

/** Limits that stand for an instance type such as `t2.micro`, `aws:t2.micro` or `c2-m4`. */
export function limitsOfType(type: string): StringMap {
  const found = spelledOut(type) ?? named(type);
  if (found === null) {
    throw new Fault(
      'bad_request',
      `instance type ${JSON.stringify(type)} is not known; write c<CPUs>-m<GiB>, for example c2-m4, or set limits.cpu and limits.memory`,
    );
  }
  return toLimits(found);
}

function spelledOut(type: string): Size | null {
  const match = /^(?:c(\d{1,4}(?:\.\d{1,3})?))?-?(?:m(\d{1,6}(?:\.\d{1,3})?))?$/.exec(type);
  if (match === null || type === '' || type === '-') return null;
  const found = size(Number(match[1] ?? 0), Number(match[2] ?? 0));
  return found.cpus > 0 || found.memoryGiB > 0 ? found : null;
}

function named(type: string): Size | null {
  const at = type.indexOf(':');
  const name = type.slice(at + 1);
  const asked = type.slice(0, Math.max(at, 0));
  const clouds = Object.entries(CLOUDS).flatMap(([cloud, sizes]) =>
    at < 0 || cloud === asked ? [sizes] : [],
  );
  const cloud = clouds.find((sizes) => Object.hasOwn(sizes, name));
  return cloud?.[name] ?? null;
}

function toLimits(found: Size): StringMap {
  const limits: Record<string, string> = {};
  if (found.cpus > 0) {
    const cores = Math.ceil(found.cpus);
    const share = Math.floor((found.cpus / cores) * 100);
    limits['limits.cpu'] = String(cores);
    if (share < 100) limits['limits.cpu.allowance'] = `${String(share)}%`;
  }
  if (found.memoryGiB > 0) limits['limits.memory'] = `${String(Math.floor(found.memoryGiB * 1024))}MB`;
  return limits;
}
