/** Sockets, cores and threads. */
import { machine } from 'node:os';
import type { ResourcesWire } from '../wire/resources.ts';
import type { Reader } from './reader.ts';

type Cpu = ResourcesWire['cpu'];
type Socket = Cpu['sockets'][number];
type Core = Socket['cores'][number];
type Cache = NonNullable<Socket['cache']>[number];

const CPUS = 'sys/devices/system/cpu';

interface SocketDraft {
  readonly socket: Socket;
  readonly cores: Map<string, Core>;
}

export function readCpu(reader: Reader): Cpu {
  const info = parseCpuinfo(reader.text('proc/cpuinfo') ?? '');
  const isolated = expandList(reader.text(`${CPUS}/isolated`) ?? '');
  const sockets = new Map<number, SocketDraft>();
  let total = 0;
  for (const name of reader.list(CPUS)) {
    const id = Number(/^cpu(\d+)$/.exec(name)?.[1] ?? '-1');
    if (id < 0) continue;
    const at = `${CPUS}/${name}`;
    const topology = `${at}/topology`;
    // An offline CPU has no topology; LXD does not place it either.
    if (!reader.has(topology)) continue;
    const socketId = reader.number(`${topology}/physical_package_id`);
    const draft = sockets.get(socketId) ?? newSocket(reader, at, socketId, info.get(id));
    sockets.set(socketId, draft);
    addThread(reader, draft, at, id, isolated.has(id));
    total += 1;
  }
  const drafts = [...sockets.values()].sort((a, b) => a.socket.socket - b.socket.socket);
  return {
    architecture: machine(),
    sockets: drafts.map(({ socket, cores }) => ({
      ...socket,
      cores: [...cores.values()],
      ...average(cores),
    })),
    total,
  };
}

function addThread(reader: Reader, draft: SocketDraft, at: string, id: number, isIsolated: boolean): void {
  const core = reader.number(`${at}/topology/core_id`);
  const die = reader.number(`${at}/topology/die_id`);
  const key = `${String(die)}:${String(core)}`;
  const current = reader.number(`${at}/cpufreq/scaling_cur_freq`);
  const found = draft.cores.get(key) ?? {
    core,
    die,
    threads: [],
    ...(current > 0 ? { frequency: Math.round(current / 1000) } : {}),
  };
  found.threads.push({
    id,
    numa_node: nodeOf(reader, at),
    thread: found.threads.length,
    // The first CPU often cannot be taken offline and has no such file.
    online: reader.text(`${at}/online`) !== '0',
    isolated: isIsolated,
  });
  draft.cores.set(key, found);
}

function nodeOf(reader: Reader, at: string): number {
  const node = reader.list(at).find((name) => /^node\d+$/.test(name));
  return node === undefined ? 0 : Number(node.slice(4));
}

interface CpuInfo {
  readonly name: string;
  readonly vendor: string;
}

function newSocket(reader: Reader, at: string, socket: number, info: CpuInfo | undefined): SocketDraft {
  const [max, min] = ['cpuinfo_max_freq', 'cpuinfo_min_freq'].map((file) =>
    reader.number(`${at}/cpufreq/${file}`),
  );
  return {
    cores: new Map(),
    socket: {
      ...(info === undefined || info.name === '' ? {} : { name: info.name }),
      ...(info === undefined || info.vendor === '' ? {} : { vendor: info.vendor }),
      socket,
      cache: caches(reader, at),
      cores: [],
      ...(min !== undefined && min > 0 ? { frequency_minimum: Math.round(min / 1000) } : {}),
      ...(max !== undefined && max > 0 ? { frequency_turbo: Math.round(max / 1000) } : {}),
    },
  };
}

/** Mean of the cores' present frequencies, in MHz. */
function average(cores: ReadonlyMap<string, Core>): { frequency?: number } {
  const known = [...cores.values()].flatMap((core) => core.frequency ?? []);
  if (known.length === 0) return {};
  return { frequency: Math.round(known.reduce((sum, one) => sum + one, 0) / known.length) };
}

function caches(reader: Reader, at: string): Cache[] {
  return reader
    .list(`${at}/cache`)
    .filter((name) => name.startsWith('index'))
    .map((name) => ({
      level: reader.number(`${at}/cache/${name}/level`),
      type: reader.text(`${at}/cache/${name}/type`) ?? '',
      size: kibibytes(reader.text(`${at}/cache/${name}/size`) ?? ''),
    }));
}

/** `32K`, `8M`. */
function kibibytes(text: string): number {
  const match = /^(\d+)([KM]?)$/.exec(text);
  const scale = match?.[2] === 'M' ? 2 ** 20 : match?.[2] === 'K' ? 2 ** 10 : 1;
  return Number(match?.[1] ?? '0') * scale;
}

/** By number of the processor; other architectures than x86 have other words, or none. */
function parseCpuinfo(text: string): Map<number, CpuInfo> {
  const out = new Map<number, CpuInfo>();
  for (const block of text.split('\n\n')) {
    const value = (key: string): string => new RegExp(`^${key}\\s*: (.*)$`, 'm').exec(block)?.[1] ?? '';
    const id = value('processor');
    if (id !== '') out.set(Number(id), { name: value('model name'), vendor: value('vendor_id') });
  }
  return out;
}

/** `1-3,7` as a set. */
function expandList(text: string): Set<number> {
  const out = new Set<number>();
  for (const part of text.split(',')) {
    const [first = '', last = first] = part.split('-');
    if (!/^\d+$/.test(first) || !/^\d+$/.test(last)) continue;
    for (let id = Number(first); id <= Number(last); id += 1) out.add(id);
  }
  return out;
}
