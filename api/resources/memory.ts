/** Memory of the host and of its NUMA nodes, in bytes. */
import type { ResourcesWire } from '../wire/resources.ts';
import type { Reader } from './reader.ts';

type Memory = ResourcesWire['memory'];

const NODES = 'sys/devices/system/node';

export function readMemory(reader: Reader): Memory {
  const all = parse(reader.text('proc/meminfo') ?? '');
  const hugeSize = all('Hugepagesize');
  const total = all('MemTotal');
  const nodes = reader
    .list(NODES)
    .filter((name) => /^node\d+$/.test(name))
    .map((name) => {
      const one = parse(reader.text(`${NODES}/${name}/meminfo`) ?? '');
      return {
        numa_node: Number(name.slice(4)),
        ...hugePages(one, hugeSize),
        used: Math.max(0, one('MemTotal') - one('MemFree') - one('FilePages') - one('SReclaimable')),
        total: one('MemTotal'),
      };
    });
  return {
    nodes,
    ...hugePages(all, hugeSize),
    hugepages_size: hugeSize,
    used: Math.max(0, total - all('MemAvailable')),
    total,
  };
}

function hugePages(
  value: (key: string) => number,
  size: number,
): { hugepages_used: number; hugepages_total: number } {
  const total = value('HugePages_Total') * size;
  return { hugepages_used: total - value('HugePages_Free') * size, hugepages_total: total };
}

/** Lines `Key: 12 kB`, or `Node 0 Key: 12 kB`; numbers without a unit are counts. */
function parse(text: string): (key: string) => number {
  const values = new Map<string, number>();
  for (const match of text.matchAll(/^(?:Node \d+ )?(\S+):\s+(\d+)( kB)?$/gm)) {
    values.set(match[1] ?? '', Number(match[2]) * (match[3] === undefined ? 1 : 1024));
  }
  return (key) => values.get(key) ?? 0;
}
