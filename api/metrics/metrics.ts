/**
 * `GET /1.0/metrics`. Everything of all instances is read in a few batches, and
 * kept for eight seconds as in LXD, so that several scrapers cost one reading.
 */
import { statfs } from 'node:fs/promises';
import type { Registry } from 'prom-client';
import type { Native } from '../../native/types.ts';
import type { Log } from '../../process/log.ts';
import type { CgroupLayout, CgroupPath } from './cgroup.ts';
import { detailsQuery } from './cgroup.ts';
import type { Sample } from './exposition.ts';
import { renderMetrics } from './exposition.ts';
import { FAMILIES } from './families.ts';
import type { FileSystem, HostReadings, InstanceReadings } from './instance-samples.ts';
import { instanceSamples } from './instance-samples.ts';

const CACHE_MS = 8000;

/** A running instance. */
export interface MeasuredInstance {
  readonly project: string;
  readonly name: string;
  readonly initPid: number;
  readonly cgroup: CgroupPath;
}

export interface MetricsSource {
  /** The running instances of one project, or of all. */
  instances(project: string | null): readonly MeasuredInstance[];
  /** Operations that have not ended. */
  runningOperations(): number;
  /** Warnings that are not resolved. */
  activeWarnings(): number;
}

export interface MetricsParts {
  readonly native: Pick<Native, 'readFiles' | 'interfaces'>;
  readonly layout: CgroupLayout;
  readonly source: MetricsSource;
  readonly log: Log;
}

export interface MetricsRequest {
  /** null for all. */
  readonly projects: readonly string[] | null;
  /** Adds the daemon's own metrics. */
  readonly withServer: boolean;
}

export interface Metrics {
  text(request: MetricsRequest): Promise<string>;
}

export function openMetrics(parts: MetricsParts): Metrics {
  return new HostMetrics(parts);
}

interface Cached {
  readonly at: number;
  readonly samples: Promise<Sample[]>;
}

class HostMetrics implements Metrics {
  private readonly parts: MetricsParts;
  /** By project, '' for all. */
  private readonly cache = new Map<string, Cached>();
  /** From the first request on: what it collects wakes the process a hundred times a second. */
  private registry: Promise<Registry> | null = null;

  constructor(parts: MetricsParts) {
    this.parts = parts;
  }

  async text(request: MetricsRequest): Promise<string> {
    const projects = request.projects ?? [null];
    const samples = (await Promise.all(projects.map((project) => this.cached(project)))).flat();
    if (!request.withServer) return `${renderMetrics(FAMILIES, samples)}# EOF\n`;
    const own = renderMetrics(FAMILIES, [...samples, ...this.serverSamples()]);
    this.registry ??= openRegistry();
    return `${own}${await (await this.registry).metrics()}# EOF\n`;
  }

  private cached(project: string | null): Promise<Sample[]> {
    const key = project ?? '';
    const now = performance.now();
    for (const [old, { at }] of this.cache) if (now - at >= CACHE_MS) this.cache.delete(old);
    const found = this.cache.get(key);
    if (found !== undefined) return found.samples;
    const samples = this.read(project);
    this.cache.set(key, { at: now, samples });
    samples.catch(() => this.cache.delete(key));
    return samples;
  }

  private serverSamples(): Sample[] {
    const { source } = this.parts;
    return [
      { metric: 'lxd_operations_total', labels: {}, value: source.runningOperations() },
      { metric: 'lxd_warnings_total', labels: {}, value: source.activeWarnings() },
      { metric: 'lxd_uptime_seconds', labels: {}, value: process.uptime() },
    ];
  }

  private async read(project: string | null): Promise<Sample[]> {
    const instances = this.parts.source.instances(project);
    const measured = instances.map((one) => ({ one, query: detailsQuery(this.parts.layout, one.cgroup) }));
    const mounts = instances.map((one) => `/proc/${String(one.initPid)}/mountinfo`);
    const [texts, interfaces, spaces] = await Promise.all([
      this.parts.native.readFiles([
        '/proc/meminfo',
        ...mounts,
        ...measured.flatMap(({ query }) => query.paths),
      ]),
      this.parts.native.interfaces(instances.map((one) => one.initPid)),
      Promise.all(instances.map((one) => this.rootSpace(one.initPid))),
    ]);
    let at = 1 + instances.length;
    const readings = measured.map(({ one, query }, index): InstanceReadings => {
      const details = query.parse(texts.slice(at, at + query.paths.length));
      at += query.paths.length;
      const mount = rootMount(texts[1 + index] ?? null);
      const space = spaces[index] ?? null;
      const root = mount === null || space === null ? null : { ...mount, ...space };
      return { project: one.project, name: one.name, details, interfaces: interfaces[index] ?? null, root };
    });
    const host: HostReadings = {
      memoryTotal: memoryTotal(texts[0] ?? ''),
      diskNames: await this.diskNames(readings),
    };
    return readings.flatMap((one) => instanceSamples(one, host));
  }

  /**
   * Space of the root file system alone. Differs: LXD asks every mount inside;
   * one that the guest has stacked on a network or FUSE could hold a thread.
   */
  private async rootSpace(pid: number): Promise<Pick<FileSystem, 'size' | 'free' | 'available'> | null> {
    try {
      const { bsize, blocks, bfree, bavail } = await statfs(`/proc/${String(pid)}/root/`);
      return { size: bsize * blocks, free: bsize * bfree, available: bsize * bavail };
    } catch (err) {
      this.parts.log.debug('space of a root file system not read', { pid, error: err });
      return null;
    }
  }

  private async diskNames(readings: readonly InstanceReadings[]): Promise<Map<string, string>> {
    const devices = [...new Set(readings.flatMap((one) => one.details.disks.map((disk) => disk.device)))];
    const texts = await this.parts.native.readFiles(
      devices.map((device) => `/sys/dev/block/${device}/uevent`),
    );
    const names = new Map<string, string>();
    for (const [index, device] of devices.entries()) {
      const name = /^DEVNAME=(.+)$/m.exec(texts[index] ?? '')?.[1];
      if (name !== undefined) names.set(device, name);
    }
    return names;
  }
}

/** The figures of this process itself. */
async function openRegistry(): Promise<Registry> {
  const prometheus = await import('prom-client');
  const registry = new prometheus.Registry();
  prometheus.collectDefaultMetrics({ register: registry });
  return registry;
}

function memoryTotal(meminfo: string): number {
  return Number(/^MemTotal:\s+(\d+) kB/m.exec(meminfo)?.[1] ?? '0') * 1024;
}

/** The last mount on `/` is the one that is seen. */
function rootMount(mountinfo: string | null): Pick<FileSystem, 'device' | 'fstype' | 'mountpoint'> | null {
  const line = (mountinfo ?? '')
    .split('\n')
    .filter((one) => one.split(' ')[4] === '/')
    .at(-1);
  const [fstype, device] = line?.split(' - ')[1]?.split(' ') ?? [];
  return fstype === undefined || device === undefined ? null : { device, fstype, mountpoint: '/' };
}
