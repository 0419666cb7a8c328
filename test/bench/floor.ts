/** Bare liblxc and bare system calls: what nothing above them can be faster than. */
import { execFile } from 'node:child_process';
import { closeSync, fdatasyncSync, openSync, rmdirSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { promisify } from 'node:util';
import { cgroupChildren, cgroupMounts } from '../../api/instances/host.ts';
import { dig } from './client.ts';

const run = promisify(execFile);

export type FloorTiming = 'start' | 'state' | 'attach' | 'freeze' | 'unfreeze' | 'stop';

export interface Floor {
  /** Milliseconds: the median of a few rounds. */
  readonly times: Readonly<Record<FloorTiming, number>>;
  /** Memory of one monitor in MiB. */
  readonly monitorMiB: number;
}

/** A few rounds of slipway-floor with a veth pair on this bridge. */
export async function measureFloor(program: string, bridge: string): Promise<Floor> {
  const args = ['-n', '3', '-m', '2', '-b', bridge];
  const { stdout } = await run(join(program, 'native/build/Release/slipway-floor'), args);
  await removeCgroups();
  const value: unknown = JSON.parse(stdout);
  const time = (name: FloorTiming): number => Number(dig(value, `${name}Ms`, 'median'));
  return {
    times: {
      start: time('start'),
      state: time('state'),
      attach: time('attach'),
      freeze: time('freeze'),
      unfreeze: time('unfreeze'),
      stop: time('stop'),
    },
    monitorMiB: Number(dig(value, 'monitorPssKiB')) / 1024,
  };
}

/** The empty ones of monitors, which liblxc leaves: the next floor would have to pass them by. */
async function removeCgroups(): Promise<void> {
  for (const mount of await cgroupMounts()) {
    const left = (await cgroupChildren(mount)).filter((name) => name.startsWith('lxc.monitor.floor-'));
    for (const name of left) rmdirSync(join(mount, name));
  }
}

/** Milliseconds to bring one block of a file to disk. */
export function measureSync(dir: string): number {
  const fd = openSync(join(dir, 'sync'), 'a');
  try {
    const begin = performance.now();
    writeSync(fd, Buffer.alloc(4096));
    fdatasyncSync(fd);
    return performance.now() - begin;
  } finally {
    closeSync(fd);
  }
}

/** Milliseconds a program takes. */
export async function measureProgram(program: string, args: readonly string[]): Promise<number> {
  const begin = performance.now();
  await run(program, args, { maxBuffer: 64 * 1024 * 1024 });
  return performance.now() - begin;
}
