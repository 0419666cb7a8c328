/** Containers outlive the daemon: what a start of the daemon finds, and how it ends. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import WebSocket from 'ws';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { cgroups } from '../support/host-footprint.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

const PREFIX = 'survr-';
const BRIDGE = 'survr0';

interface State {
  readonly status: string;
  readonly pid: number;
  readonly network: Readonly<
    Record<string, { addresses: { family: string; address: string; scope: string }[] }>
  >;
}

/** Gone, or dead and not yet noticed by the host's init. */
function hasEnded(pid: number): boolean {
  try {
    return / Z /.test(readFileSync(`/proc/${String(pid)}/stat`, 'latin1'));
  } catch {
    return true;
  }
}

describe('containers and the end of the daemon', { timeout: 600_000 }, () => {
  let daemon: SlipwayDaemon;
  let scratch: string;

  before(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'slipway-survival-'));
    daemon = await SlipwayDaemon.start();
    await daemon.furnish(BRIDGE);
    await daemon.importImage(await buildTinyImage(scratch), 'tiny');
  });

  after(async () => {
    await daemon.destroy();
    await rm(scratch, { recursive: true, force: true });
  });

  async function launch(name: string, config: Record<string, string> = {}): Promise<void> {
    const source = { type: 'image', alias: 'tiny' };
    await daemon.done('POST', '/1.0/instances', { name: PREFIX + name, source, config, start: true });
  }
  const url = (name: string): string => `/1.0/instances/${PREFIX}${name}`;
  const state = (name: string): Promise<State> => daemon.done('GET', `${url(name)}/state`) as Promise<State>;
  const setState = (name: string, action: string, force = true): Promise<unknown> =>
    daemon.done('PUT', `${url(name)}/state`, { action, force, timeout: 30 });
  async function run(name: string, ...command: string[]): Promise<number> {
    const ended = await daemon.done('POST', `${url(name)}/exec`, { command, 'record-output': true });
    return Number(ended.metadata.return);
  }
  async function until<T>(what: string, ask: () => Promise<T>, seconds = 30): Promise<NonNullable<T>> {
    for (const end = Date.now() + seconds * 1000; ; await sleep(50)) {
      const found = await ask();
      if (found !== null && found !== undefined && found !== false) return found;
      assert.ok(Date.now() < end, what);
    }
  }
  const address = (name: string): Promise<string> =>
    until(`an address of ${name}`, async () => {
      const { network } = await state(name);
      return network['eth0']?.addresses.find((one) => one.family === 'inet')?.address ?? null;
    });
  async function warnings(): Promise<{ uuid: string; type: string; status: string; entity_url: string }[]> {
    return (await daemon.done('GET', '/1.0/warnings?recursion=1')) as never; // of this shape
  }
  async function deleteAll(): Promise<void> {
    for (const one of (await daemon.done('GET', '/1.0/instances?recursion=1')) as {
      name: string;
      status: string;
    }[]) {
      if (one.status !== 'Stopped')
        await daemon.done('PUT', `/1.0/instances/${one.name}/state`, { action: 'stop', force: true });
      await daemon.done('DELETE', `/1.0/instances/${one.name}`);
    }
  }
  /** Pids in a container's control group of one kind. */
  function pids(kind: 'payload' | 'monitor', name: string): number[] {
    const groups = cgroups(`${PREFIX}${name}$`).filter((path) => path.includes(`lxc.${kind}.`));
    const all = groups.flatMap((path) => readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n'));
    const found = [...new Set(all.filter((pid) => pid !== '').map(Number))];
    // 0 would be this process and all beside it.
    assert.ok(found.length > 0, `${kind} of ${name}`);
    return found;
  }

  test('twenty containers run on over a kill of the daemon, with their processes and network', async () => {
    const names = Array.from({ length: 20 }, (_, index) => `many${String(index)}`);
    await Promise.all(names.map((name) => launch(name)));
    const addresses = await Promise.all(names.map(address));
    const before = await Promise.all(names.map(async (name) => (await state(name)).pid));
    await daemon.kill();
    await daemon.restart();
    const after = await Promise.all(names.map(async (name) => (await state(name)).pid));
    assert.deepEqual(after, before);
    const [first = '', second = ''] = addresses;
    assert.equal(await run('many0', 'ping', '-c', '1', '-W', '5', second), 0);
    assert.equal(await run('many1', 'ping', '-c', '1', '-W', '5', first), 0);
    // The end of a container that was adopted is noticed.
    process.kill(before[2] ?? 0, 'SIGKILL');
    await until('the end of an adopted container', async () => (await state('many2')).status === 'Stopped');
    await deleteAll();
  });

  test('a guest that ends while the daemon is down is found stopped and stays so', async () => {
    await launch('ends');
    const { pid } = await state('ends');
    await daemon.kill();
    process.kill(pid, 'SIGKILL');
    await daemon.restart();
    assert.equal((await state('ends')).status, 'Stopped');
    assert.deepEqual(cgroups(`${PREFIX}ends`), []);
    await setState('ends', 'start');
    await deleteAll();
  });

  test('an ephemeral guest that ends while the daemon is down is gone', async () => {
    const source = { type: 'image', alias: 'tiny' };
    await daemon.done('POST', '/1.0/instances', {
      name: `${PREFIX}eph`,
      source,
      ephemeral: true,
      start: true,
    });
    const { pid } = await state('eph');
    await daemon.kill();
    process.kill(pid, 'SIGKILL');
    await daemon.restart();
    assert.deepEqual(await daemon.done('GET', '/1.0/instances'), []);
  });

  test('after a boot of the host those start that ran or shall, the more important first', async () => {
    await launch('ran');
    await launch('high', { 'boot.autostart.priority': '10' });
    await launch('never', { 'boot.autostart': 'false' });
    await launch('always', { 'boot.autostart': 'true', 'boot.autostart.priority': '5' });
    await launch('was-stopped');
    await setState('always', 'stop');
    await setState('was-stopped', 'stop');
    const inits = await Promise.all(['ran', 'high', 'never'].map(async (name) => (await state(name)).pid));
    await daemon.kill();
    for (const pid of inits) process.kill(pid, 'SIGKILL');
    await until('the end of all containers', async () => Promise.resolve(cgroups(PREFIX).length === 0));
    await writeFile(join(daemon.state, 'boot_id'), 'of another boot');
    const since = new Date().toISOString();
    await daemon.restart();
    const running = await until('autostart', async () => {
      const list = (await daemon.done('GET', '/1.0/instances?recursion=1')) as {
        name: string;
        status: string;
        last_used_at: string;
      }[];
      const found = list.filter((one) => one.status === 'Running');
      // The time is written after the start.
      const isOver = found.some((one) => one.name === `${PREFIX}ran` && one.last_used_at > since);
      return isOver && found.length >= 3 ? found : null;
    });
    running.sort((a, b) => (a.last_used_at < b.last_used_at ? -1 : 1));
    assert.deepEqual(
      running.map((one) => one.name),
      ['high', 'always', 'ran'].map((name) => PREFIX + name),
    );
    await deleteAll();
  });

  test('a monitor that hangs is an error of its instance alone, and force or its return cures it', async () => {
    await launch('hangs');
    await launch('fine');
    const [monitor = 0] = pids('monitor', 'hangs');
    const init = (await state('hangs')).pid;
    process.kill(monitor, 'SIGSTOP');
    await until('the state Error', async () => (await state('hangs')).status === 'Error');
    const found = (await warnings()).find((one) => one.entity_url.endsWith(`${PREFIX}hangs`));
    assert.equal(found?.type, 'Instance monitor unresponsive');
    assert.equal(await run('fine', 'true'), 0);
    assert.equal((await state('fine')).status, 'Running');

    process.kill(monitor, 'SIGCONT');
    await until('the state Running', async () => (await state('hangs')).status === 'Running');
    assert.equal((await state('hangs')).pid, init);
    assert.equal(await run('hangs', 'true'), 0);

    process.kill(monitor, 'SIGSTOP');
    await until('the state Error', async () => (await state('hangs')).status === 'Error');
    await setState('hangs', 'stop');
    assert.equal((await state('hangs')).status, 'Stopped');
    assert.deepEqual(cgroups(`${PREFIX}hangs`), []);
    await setState('hangs', 'start');
    assert.equal(await run('hangs', 'true'), 0);
  });

  test('a daemon comes up although a monitor hangs, and follows it when it is back', async () => {
    const [monitor = 0] = pids('monitor', 'hangs');
    const standing = async (): Promise<boolean> =>
      (await warnings()).some(
        (one) => one.entity_url.endsWith(`${PREFIX}hangs`) && one.status !== 'resolved',
      );
    for (const one of (await warnings()).filter((each) => each.entity_url.endsWith(`${PREFIX}hangs`)))
      await daemon.done('DELETE', `/1.0/warnings/${one.uuid}`);
    await daemon.kill();
    process.kill(monitor, 'SIGSTOP');
    await daemon.restart();
    // It answers before it knows: the warning is of what nobody had asked before.
    const { status } = await daemon.done('GET', `/1.0/instances/${PREFIX}hangs`);
    assert.equal(status, 'Error');
    assert.equal(await standing(), false);
    assert.equal((await state('fine')).status, 'Running');
    assert.equal((await state('hangs')).status, 'Error');
    await until('the warning', standing);
    process.kill(monitor, 'SIGCONT');
    await until('the state Running', async () => (await state('hangs')).status === 'Running');
    assert.equal(await run('hangs', 'true'), 0);
    process.kill((await state('hangs')).pid, 'SIGKILL');
    await until('the end of the container', async () => (await state('hangs')).status === 'Stopped');
    assert.deepEqual(cgroups(`${PREFIX}hangs`), []);
  });

  test('a monitor that hung before the daemon started is removed by a forced stop', async () => {
    await setState('hangs', 'start');
    const [monitor = 0] = pids('monitor', 'hangs');
    await daemon.kill();
    process.kill(monitor, 'SIGSTOP');
    await daemon.restart();
    await setState('hangs', 'stop');
    assert.equal((await state('hangs')).status, 'Stopped');
    assert.deepEqual(cgroups(`${PREFIX}hangs`), []);
    assert.ok(hasEnded(monitor), 'the monitor has ended');
    await setState('hangs', 'start');
    assert.equal(await run('hangs', 'true'), 0);
    await deleteAll();
  });

  test('SIGTERM ends the daemon soon, whatever is open, and leaves the containers alone', async () => {
    await launch('stays');
    const { pid } = await state('stays');
    const events = new WebSocket(`ws+unix://${daemon.socket}:/1.0/events`);
    await new Promise((resolve) => events.once('open', resolve));
    const exec = await daemon.request('POST', `${url('stays')}/exec`, {
      command: ['sleep', '1000'],
      'wait-for-websocket': true,
      interactive: true,
    });
    const secret = String(exec.metadata.metadata.fds['0']);
    const terminal = new WebSocket(`ws+unix://${daemon.socket}:${exec.operation}/websocket?secret=${secret}`);
    await new Promise((resolve) => terminal.once('open', resolve));
    // A clean stop that the guest never answers.
    process.kill(pid, 'SIGSTOP');
    const stopping = await daemon.request('PUT', `${url('stays')}/state`, { action: 'stop', timeout: -1 });
    assert.equal(stopping.type, 'async');
    await daemon.kill('SIGTERM');
    events.terminate();
    terminal.terminate();
    // What does not end is cut off after a deadline: nothing here may need it.
    assert.doesNotMatch(await daemon.log(), /operations were cut off/);
    process.kill(pid, 0);
    await daemon.restart();
    assert.equal((await state('stays')).pid, pid);
    await deleteAll();
  });

  test('SIGPWR stops the instances first, and the next boot brings them back', async () => {
    await launch('power');
    const { pid } = await state('power');
    await daemon.kill('SIGPWR');
    assert.ok(hasEnded(pid), 'the guest has ended');
    assert.deepEqual(cgroups(`${PREFIX}power`), []);
    await writeFile(join(daemon.state, 'boot_id'), 'of another boot');
    await daemon.restart();
    await until('autostart', async () => (await state('power')).status === 'Running');
    await deleteAll();
  });

  test('a guest without memory left harms nobody else', async () => {
    await launch('fine');
    await launch('eats', { 'limits.memory': '32MiB', 'limits.memory.swap': 'false' });
    const eater = 'x=a; while :; do x=$x$x; done';
    assert.notEqual(await run('eats', 'sh', '-c', eater), 0);
    assert.equal((await state('eats')).status, 'Running');
    assert.equal(await run('eats', 'true'), 0);
    assert.equal(await run('fine', 'true'), 0);
    process.kill((await state('eats')).pid, 'SIGKILL');
    await until('the end of init', async () => (await state('eats')).status === 'Stopped');
    assert.equal((await state('fine')).status, 'Running');
    await deleteAll();
  });
});
