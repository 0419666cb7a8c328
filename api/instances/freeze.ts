/**
 * Freezes and thaws a container through its cgroup.
 *
 * The v2 tree's `cgroup.freeze` works on hybrid hosts too, since liblxc puts
 * every payload there; it takes a fraction of a millisecond where the v1
 * freezer polls. liblxc then keeps saying RUNNING, so Frozen is our own note.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault } from '../../process/fault.ts';
import type { HostFacts } from './host.ts';
import type { Running } from './power.ts';
import type { RuntimeParts } from './runtime-parts.ts';

const DEADLINE_MS = 10_000;

export async function freezeInstance(parts: RuntimeParts, id: string): Promise<void> {
  await setFrozen(parts.host, mustRun(parts, id), true);
  parts.powers.send(id, 'freeze_done');
}

export async function unfreezeInstance(parts: RuntimeParts, id: string): Promise<void> {
  await setFrozen(parts.host, mustRun(parts, id), false);
  parts.powers.send(id, 'thaw_done');
}

function mustRun(parts: RuntimeParts, id: string): Running {
  const running = parts.powers.running(id);
  if (running === null) throw new Fault('bad_request', 'The instance is not running');
  // Its cgroup would change and its state would not.
  if (parts.powers.state(id) === 'Error') {
    throw new Fault(
      'bad_request',
      'The instance is in an error state: its monitor does not answer; it can only be stopped, with force',
    );
  }
  return running;
}

/**
 * @throws Fault timeout when a process does not get to a place where it can be
 * frozen (it waits for a disk that does not answer); it is thawed again then.
 */
export async function setFrozen(
  host: HostFacts,
  running: Pick<Running, 'cgroup'>,
  frozen: boolean,
): Promise<void> {
  const files = freezerFiles(host, running.cgroup);
  await writeFile(files.control, files.value(frozen));
  const end = Date.now() + DEADLINE_MS;
  for (let pause = 0; !(await isFrozen(host, running.cgroup, frozen)); pause = Math.min(pause + 1, 20)) {
    if (Date.now() > end) {
      await writeFile(files.control, files.value(false));
      throw new Fault(
        'timeout',
        `the container did not ${frozen ? 'freeze' : 'thaw'} within 10 s; a process in it waits for a device`,
      );
    }
    await sleep(pause);
  }
}

interface FreezerFiles {
  readonly control: string;
  readonly value: (frozen: boolean) => string;
}

function freezerFiles(host: HostFacts, cgroup: string): FreezerFiles {
  if (host.unified !== null) {
    return { control: join(host.unified, cgroup, 'cgroup.freeze'), value: (frozen) => (frozen ? '1' : '0') };
  }
  const v1 = host.v1['freezer'];
  if (v1 === undefined)
    throw new Fault('unavailable', 'this host has no freezer: mount the cgroup2 file system');
  return { control: join(v1, cgroup, 'freezer.state'), value: (frozen) => (frozen ? 'FROZEN' : 'THAWED') };
}

/** Whether the container's state is the wanted one. */
async function isFrozen(host: HostFacts, cgroup: string, wanted: boolean): Promise<boolean> {
  return (await readFrozen(host, cgroup)) === wanted;
}

/** What the kernel says; false for a cgroup that is gone. */
export async function readFrozen(host: HostFacts, cgroup: string): Promise<boolean> {
  const v1 = host.v1['freezer'];
  const file =
    host.unified !== null
      ? join(host.unified, cgroup, 'cgroup.events')
      : v1 === undefined
        ? null
        : join(v1, cgroup, 'freezer.state');
  if (file === null) return false;
  try {
    const text = await readFile(file, 'utf8');
    return /^frozen 1$/m.test(text) || text.trim() === 'FROZEN';
  } catch (err) {
    if (err instanceof Error && 'code' in err && (err.code === 'ENOENT' || err.code === 'ENODEV'))
      return false;
    throw err;
  }
}
