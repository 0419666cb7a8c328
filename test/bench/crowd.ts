/** Many instances: lists, memory, restarts; and a thousand at once. */
import { setTimeout as sleep } from 'node:timers/promises';
import { dig } from './client.ts';
import { measureFloor } from './floor.ts';
import type { Host } from './host.ts';
import type { Ledger } from './ledger.ts';
import { pssMiB } from './processes.ts';
import { timePlainExec } from './exec.ts';
import { inParallel, names } from './setting.ts';
import type { Setting } from './setting.ts';

const KNOWN = 200;
const RUNNING = 50;
const THOUSAND = 1000;
/** A network has 253 addresses, and each broadcast in it reaches every guest of it. */
const NETWORKS = 5;
const SETTLED_MS = 300_000;
/** Calls of all kinds before the daemon's memory is read again. */
const LOAD_CALLS = 3000;

export async function measureFresh({ hosts, ledger }: Setting): Promise<void> {
  ledger.ask('pss-fresh', { what: 'daemon, fresh', unit: 'MiB PSS', target: { atMost: 90 } });
  for (const host of hosts) ledger.add('pss-fresh', host.name, await pssMiB(host.pid));
}

export async function measureCrowd(setting: Setting): Promise<void> {
  const { hosts, ledger, rounds, say } = setting;
  askCrowd(ledger);
  const list = names('bench-l', KNOWN);
  for (const host of hosts) {
    say(`${String(KNOWN)} instances on ${host.name}`);
    await inParallel(4, list, async (name) => {
      await host.create(name, 'tiny');
    });
    await inParallel(4, list.slice(0, RUNNING), async (name) => {
      await host.change(name, 'start');
    });
  }
  for (let i = 0; i < rounds * 2; i += 1) {
    for (const host of hosts) await lists(host, ledger);
  }
  const floor = await measureFloor(setting.program, setting.slipway.bridge);
  ledger.add('monitor', 'floor', floor.monitorMiB);
  for (const host of hosts) {
    for (const name of list.slice(0, RUNNING)) {
      ledger.add('monitor', host.name, await pssMiB(await host.monitorPid(name)));
    }
  }
  // Slipway alone: the peer takes many minutes for as many calls.
  const { slipway } = setting;
  for (const id of ['pss-load', 'pss-load-twice']) {
    say('load');
    await load(slipway, list);
    ledger.add(id, slipway.name, await pssMiB(slipway.pid));
  }
  for (let i = 0; i < 3; i += 1) {
    for (const host of hosts) {
      await host.stop(host.name === 'lxd' ? 'SIGTERM' : 'SIGKILL');
      ledger.add('restart', host.name, await host.start());
    }
  }
  for (const host of hosts) await removeCrowd(host, list);
}

function askCrowd(ledger: Ledger): void {
  const limits = [3, 10, 25];
  for (const [level, atMost] of limits.entries()) {
    ledger.ask(`list-${String(level)}`, {
      what: `GET /1.0/instances?recursion=${String(level)}, ${String(KNOWN)} instances, ${String(RUNNING)} running`,
      unit: 'ms',
      target: { atMost },
    });
  }
  ledger.ask('monitor', {
    what: 'host memory per running container',
    unit: 'MiB PSS',
    target: { atMost: 0.7 },
    note: 'floor: bare liblxc',
  });
  ledger.ask('pss-load', {
    what: `daemon, ${String(RUNNING)} running, after all before and ${String(LOAD_CALLS)} calls`,
    unit: 'MiB PSS',
    target: { atMost: 130 },
  });
  ledger.ask('pss-load-twice', { what: '- after as many again', unit: 'MiB PSS', target: { atMost: 130 } });
  ledger.ask('restart', {
    what: `start of the daemon to its first answer, ${String(KNOWN)} instances, ${String(RUNNING)} running`,
    unit: 'ms',
    target: { atMost: 800 },
  });
}

async function lists(host: Host, ledger: Ledger): Promise<void> {
  for (let level = 0; level < 3; level += 1) {
    const took = await host.client.time('GET', `/1.0/instances?recursion=${String(level)}`);
    ledger.add(`list-${String(level)}`, host.name, took);
  }
}

/** What clients do all day. */
async function load(host: Host, list: readonly string[]): Promise<void> {
  const { client } = host;
  const kinds: readonly ((name: string, turn: number) => Promise<unknown>)[] = [
    () => client.done('GET', '/1.0/instances?recursion=1'),
    (name) => client.done('GET', `/1.0/instances/${name}/state`),
    (name) => client.done('GET', `/1.0/instances/${name}`),
    (name, turn) => client.done('PATCH', `/1.0/instances/${name}`, { config: { 'user.turn': String(turn) } }),
    (name, turn) => (turn % 5 === 0 ? timePlainExec(client, name) : client.done('GET', '/1.0/operations')),
    (_, turn) =>
      client.done('GET', turn % 10 === 0 ? '/1.0/instances?recursion=2' : '/1.0/networks?recursion=1'),
  ];
  const turns = Array.from({ length: LOAD_CALLS }, (_, i) => i);
  await inParallel(4, turns, async (turn) => {
    await kinds[turn % kinds.length]?.(list[turn % RUNNING] ?? '', turn);
  });
}

async function removeCrowd(host: Host, list: readonly string[]): Promise<void> {
  await inParallel(4, list, async (name) => {
    const isRunning = list.indexOf(name) < RUNNING;
    if (isRunning) await host.change(name, 'stop');
    await host.remove(name);
  });
}

/** A thousand containers at once, on Slipway alone. */
export async function measureThousand({ slipway, ledger, say }: Setting): Promise<void> {
  const list = names('bench-t', THOUSAND);
  const at = `at ${String(THOUSAND)} running`;
  ledger.ask('t-launch', { what: `to ${String(THOUSAND)} running: launches, 4 at a time`, unit: 'per s' });
  ledger.ask('t-addresses', { what: `${at}, until the last has an address`, unit: 's' });
  for (const [level, atMost] of [15, 50, 125].entries()) {
    ledger.ask(`t-list-${String(level)}`, {
      what: `${at}: GET /1.0/instances?recursion=${String(level)}`,
      unit: 'ms',
      target: { atMost },
    });
  }
  ledger.ask('t-state', { what: `${at}: one instance's state`, unit: 'ms', target: { atMost: 15 } });
  ledger.ask('t-exec', { what: `${at}: exec of true`, unit: 'ms', target: { atMost: 60 } });
  ledger.ask('t-pss', { what: `${at}: daemon`, unit: 'MiB PSS' });
  const networks = [slipway.bridge, ...names('swbenchx', NETWORKS - 1)];
  for (const name of networks.slice(1)) {
    await slipway.client.done('POST', '/1.0/networks', { name, type: 'bridge' });
  }
  const begin = performance.now();
  let count = 0;
  await inParallel(4, list, async (name) => {
    await slipway.create(name, 'tiny', networks[list.indexOf(name) % NETWORKS]);
    await slipway.change(name, 'start');
    count += 1;
    if (count % 100 === 0) say(`${String(count)} containers run`);
  });
  ledger.add('t-launch', 'slipway', THOUSAND / ((performance.now() - begin) / 1000));
  await allHaveAddresses(slipway, networks);
  ledger.add('t-addresses', 'slipway', (performance.now() - begin) / 1000);
  for (let i = 0; i < 10; i += 1) {
    const name = list[i * 97] ?? '';
    for (let level = 0; level < 3; level += 1) {
      const took = await slipway.client.time('GET', `/1.0/instances?recursion=${String(level)}`);
      ledger.add(`t-list-${String(level)}`, 'slipway', took);
    }
    const state = await slipway.client.time('GET', `/1.0/instances/${name}/state`);
    ledger.add('t-state', 'slipway', state);
    ledger.add('t-exec', 'slipway', await timePlainExec(slipway.client, name));
  }
  ledger.add('t-pss', 'slipway', await pssMiB(slipway.pid));
  say('the thousand go');
  await inParallel(4, list, async (name) => {
    await slipway.change(name, 'stop');
    await slipway.remove(name);
  });
  for (const name of networks.slice(1)) await slipway.client.done('DELETE', `/1.0/networks/${name}`);
}

/** Until then the host is busy with the boots of the guests. */
async function allHaveAddresses(host: Host, networks: readonly string[]): Promise<void> {
  const end = performance.now() + SETTLED_MS;
  for (;;) {
    let count = 0;
    for (const name of networks) {
      const leases = await host.client.done('GET', `/1.0/networks/${name}/leases`);
      if (!Array.isArray(leases)) throw new Error(`leases of ${name} are no list`);
      count += leases.filter(isOfV4).length;
    }
    if (count >= THOUSAND) return;
    if (performance.now() > end) throw new Error(`${String(count)} of ${String(THOUSAND)} have an address`);
    await sleep(1000);
  }
}

function isOfV4(lease: unknown): boolean {
  return dig(lease, 'type') === 'dynamic' && String(dig(lease, 'address')).includes('.');
}
