/** What a guest reads and writes, by the disks of the host it does so on: from the daemon's metrics. Pure. */
import type { Diagnostics } from './guest-types.ts';

type Figure = Diagnostics['disks'][number];

const FAMILIES: Readonly<Record<string, keyof Omit<Figure, 'device'>>> = {
  lxd_disk_read_bytes_total: 'readBytes',
  lxd_disk_reads_completed_total: 'readRequests',
  lxd_disk_written_bytes_total: 'writeBytes',
  lxd_disk_writes_completed_total: 'writeRequests',
};
const LINE = /^(lxd_disk_\w+)\{(.*)\} (\S+)$/;

/** Empty where the kernel does not count it. `name` is that of the container. */
export function diskFigures(metrics: string, name: string): readonly Figure[] {
  const found = new Map<string, Record<keyof Omit<Figure, 'device'>, number>>();
  for (const line of metrics.split('\n')) {
    const [, family = '', text = '', value = ''] = LINE.exec(line) ?? [];
    const field = FAMILIES[family];
    if (field === undefined || labelOf(text, 'name') !== name) continue;
    const device = labelOf(text, 'device');
    const figure = found.get(device) ?? { readBytes: 0, readRequests: 0, writeBytes: 0, writeRequests: 0 };
    figure[field] = Math.floor(Number(value)) || 0;
    found.set(device, figure);
  }
  return [...found].map(([device, figure]) => ({ device, ...figure }));
}

/** Names of containers and of disks need no escapes. */
function labelOf(labels: string, label: string): string {
  return new RegExp(`(?:^|,)${label}="([^"]*)"`).exec(labels)?.[1] ?? '';
}
