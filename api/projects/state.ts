/** What the instances of a project may use together (`GET /1.0/projects/{name}/state`). Pure. */
import { isFault } from '../../process/fault.ts';
import { parseBytes, parseCpuLimit, parseInteger, parseMemoryLimit } from '../instances/values.ts';
import type { Expanded } from '../instances/types.ts';
import type { ProjectStateWire } from '../wire/projects.ts';

/** No limit. */
const NONE = -1;

/** The sums of the limits that are set; a share of the host (`25%`) counts as none, as in LXD. */
export function projectState(instances: readonly Expanded[], networks: number): ProjectStateWire {
  const sum = (read: (one: Expanded) => number) => instances.reduce((total, one) => total + read(one), 0);
  const usage: Readonly<Record<string, number>> = {
    cpu: sum((one) => value(one.config['limits.cpu'], cpus)),
    memory: sum((one) => value(one.config['limits.memory'], memory)),
    processes: sum((one) => value(one.config['limits.processes'], (text) => parseInteger(text, 0))),
    disk: sum((one) => value(rootSize(one), parseBytes)),
    networks,
    instances: instances.length,
    containers: instances.length,
    'virtual-machines': 0,
  };
  const resources = Object.entries(usage).map(([name, Usage]) => [name, { Limit: NONE, Usage }] as const);
  return { resources: Object.fromEntries(resources) };
}

function value(text: string | undefined, parse: (text: string) => number): number {
  if (text === undefined || text === '') return 0;
  try {
    return parse(text);
  } catch (err) {
    // One odd value must not hide the rest.
    if (isFault(err)) return 0;
    throw err;
  }
}

function cpus(text: string): number {
  const limit = parseCpuLimit(text);
  return 'count' in limit ? limit.count : limit.cpus.length;
}

function memory(text: string): number {
  const limit = parseMemoryLimit(text);
  return 'bytes' in limit ? limit.bytes : 0;
}

function rootSize(one: Expanded): string | undefined {
  const root = Object.values(one.devices).find(
    (device) => device['type'] === 'disk' && device['path'] === '/',
  );
  return root?.['size'];
}
