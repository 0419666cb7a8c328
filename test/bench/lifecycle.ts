/** One container at a time: launch, look, enter, pause, stop, start again, change, delete. */
import { timePlainExec, timeStreamedExec } from './exec.ts';
import { measureFloor, measureSync } from './floor.ts';
import type { Host } from './host.ts';
import type { Ledger } from './ledger.ts';
import { cpuMs } from './processes.ts';
import { inParallel, names } from './setting.ts';
import type { Setting } from './setting.ts';

function askLifecycle(ledger: Ledger): void {
  const ms = 'ms';
  ledger.ask('start', {
    what: 'start of a prepared container',
    unit: ms,
    target: { atMost: 60, timesFloor: 3 },
    note: 'floor: bare liblxc with a veth pair',
  });
  ledger.ask('launch', {
    what: 'launch busybox (create + start), cached image',
    unit: ms,
    target: { atMost: 90 },
  });
  ledger.ask('create', { what: '- of which create', unit: ms });
  ledger.ask('debian', {
    what: 'launch systemd Debian, until init runs',
    unit: ms,
    target: { atMost: 90 },
    note: 'as busybox',
  });
  ledger.ask('stop', { what: 'forced stop', unit: ms, target: { atMost: 60 } });
  ledger.ask('delete', { what: 'delete of a stopped container', unit: ms });
  ledger.ask('pause', { what: 'pause', unit: ms, target: { atMost: 15 } });
  ledger.ask('unpause', { what: 'unpause', unit: ms, target: { atMost: 15 } });
  ledger.ask('exec', { what: 'exec of true, no streams', unit: ms, target: { atMost: 12 } });
  ledger.ask('exec-ws', {
    what: 'exec of true with the four websockets of lxc exec',
    unit: ms,
    target: { atMost: 12 },
  });
  ledger.ask('state', { what: "one instance's state", unit: ms, target: { atMost: 3 } });
  ledger.ask('patch', {
    what: 'small write: PATCH of a user key',
    unit: ms,
    target: { atMost: 15 },
    note: 'floor: one fdatasync',
  });
  ledger.ask('rename', {
    what: 'small write: rename',
    unit: ms,
    target: { atMost: 15 },
    note: 'floor: one fdatasync',
  });
}

/** One round on one host. */
async function round(host: Host, ledger: Ledger, name: string): Promise<void> {
  const { client } = host;
  const add = (id: string, value: number): void => {
    ledger.add(id, host.name, value);
  };
  const path = `/1.0/instances/${name}`;
  const create = await host.create(name, 'tiny');
  add('create', create);
  add('launch', create + (await host.change(name, 'start')));
  for (let i = 0; i < 3; i += 1) add('state', await client.time('GET', `${path}/state`));
  for (let i = 0; i < 2; i += 1) {
    add('exec', await timePlainExec(client, name));
    add('exec-ws', await timeStreamedExec(client, name));
  }
  add('pause', await host.change(name, 'freeze'));
  add('unpause', await host.change(name, 'unfreeze'));
  for (let i = 0; i < 2; i += 1) {
    add('patch', await client.time('PATCH', path, { config: { 'user.bench': String(i) } }));
  }
  add('stop', await host.change(name, 'stop'));
  add('start', await host.change(name, 'start'));
  add('stop', await host.change(name, 'stop'));
  add('rename', await client.time('POST', path, { name: `${name}-b` }));
  add('delete', await host.remove(`${name}-b`));
}

export async function measureLifecycle({
  dir,
  program,
  slipway,
  hosts,
  ledger,
  rounds,
  say,
}: Setting): Promise<void> {
  askLifecycle(ledger);
  for (let i = 0; i < rounds; i += 1) {
    say(`lifecycle, round ${String(i + 1)} of ${String(rounds)}`);
    const floor = await measureFloor(program, slipway.bridge);
    ledger.add('start', 'floor', floor.times.start);
    ledger.add('stop', 'floor', floor.times.stop);
    ledger.add('pause', 'floor', floor.times.freeze);
    ledger.add('unpause', 'floor', floor.times.unfreeze);
    ledger.add('exec', 'floor', floor.times.attach);
    ledger.add('exec-ws', 'floor', floor.times.attach);
    ledger.add('state', 'floor', floor.times.state);
    const sync = measureSync(dir);
    ledger.add('patch', 'floor', sync);
    ledger.add('rename', 'floor', sync);
    for (const host of hosts) await round(host, ledger, `bench-${String(i)}`);
  }
}

export async function measureDebian({ hosts, ledger, rounds, debianImage, say }: Setting): Promise<void> {
  if (debianImage === null) return;
  say('systemd Debian');
  for (const host of hosts) {
    await host.importImage(debianImage, 'debian');
    // The first launch unpacks the image.
    await host.create('bench-first', 'debian');
    await host.remove('bench-first');
  }
  for (let i = 0; i < Math.max(3, rounds / 2); i += 1) {
    for (const host of hosts) {
      const create = await host.create('bench-debian', 'debian');
      ledger.add('debian', host.name, create + (await host.change('bench-debian', 'start')));
      await host.change('bench-debian', 'stop');
      await host.remove('bench-debian');
    }
  }
}

/** Launches in a row for their CPU time, then eight at a time. */
export async function measureLaunches({ hosts, ledger, rounds, say }: Setting): Promise<void> {
  ledger.ask('cpu', {
    what: 'CPU per launch: daemon, its children, monitors',
    unit: 'ms',
    target: { atMost: 40 },
  });
  ledger.ask('rate', { what: 'launches, 8 at a time', unit: 'per s', target: { timesPeer: 10 } });
  for (const host of hosts) {
    say(`launches on ${host.name}`);
    for (let i = 0; i < 3; i += 1) {
      ledger.add('cpu', host.name, await cpuOfLaunches(host, names('bench-cpu', rounds)));
      ledger.add('rate', host.name, await rateOfLaunches(host, names('bench-many', 24)));
    }
  }
}

async function cpuOfLaunches(host: Host, list: readonly string[]): Promise<number> {
  const before = await host.processes();
  const begin = await cpuMs(before);
  for (const name of list) {
    await host.create(name, 'tiny');
    await host.change(name, 'start');
  }
  const monitors = await Promise.all(list.map((name) => host.monitorPid(name)));
  const spent = (await cpuMs([...(await host.processes()), ...monitors])) - begin;
  await removeAll(host, list);
  return spent / list.length;
}

async function rateOfLaunches(host: Host, list: readonly string[]): Promise<number> {
  const begin = performance.now();
  await inParallel(8, list, async (name) => {
    await host.create(name, 'tiny');
    await host.change(name, 'start');
  });
  const rate = list.length / ((performance.now() - begin) / 1000);
  await removeAll(host, list);
  return rate;
}

export async function removeAll(host: Host, list: readonly string[]): Promise<void> {
  await inParallel(4, list, async (name) => {
    await host.change(name, 'stop');
    await host.remove(name);
  });
}
