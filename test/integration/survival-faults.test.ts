/**
 * The daemon is killed between all steps of what it does, one after the other,
 * and started again: nothing is left behind, nothing acknowledged is lost, and
 * every instance is what it says it is.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { mkdtemp, mkdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import {
  cgroups,
  expectFootprint,
  footprint,
  launcherOf,
  sessionMembers,
} from '../support/host-footprint.ts';
import type { Owned } from '../support/host-footprint.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

const ROOT = new URL('../..', import.meta.url).pathname;
const PREFIX = 'survf-';
const BRIDGE = 'survf0';
const SECOND_BRIDGE = 'survf1';
const NAME = `${PREFIX}one`;
const OTHER = `${PREFIX}two`;
const INSTANCE = `/1.0/instances/${NAME}`;

/** What is done; the part of a point's name before the first dot says to which it belongs. */
interface Scenario {
  readonly prepare?: () => Promise<void>;
  /** The daemon dies in the middle of this. */
  readonly act: () => Promise<unknown>;
  /** After the next start: what must be true. */
  readonly verify: () => Promise<void>;
}

/** Names of all points in the sources. */
function allPoints(): string[] {
  const files = (folder: string): string[] =>
    readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
      const path = join(folder, entry.name);
      return entry.isDirectory() ? files(path) : entry.name.endsWith('.ts') ? [path] : [];
    });
  const found = files(join(ROOT, 'api')).flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(/faultPoint\('([^']+)'\)/g)].map((match) => match[1] ?? ''),
  );
  return [...new Set(found)].sort();
}

describe('a daemon that is killed between two steps', { timeout: 600_000 }, () => {
  let daemon: SlipwayDaemon;
  let owned: Owned;
  let clean: string[];
  let scratch: string;
  let secondImage: string;
  let fingerprint: string;

  before(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'slipway-survival-'));
    const image = await buildTinyImage(scratch);
    secondImage = join(scratch, 'second.tar');
    await mkdir(join(scratch, 'x'));
    execFileSync('tar', ['-xf', image, '-C', join(scratch, 'x')]);
    execFileSync('tar', ['-cf', secondImage, '-C', join(scratch, 'x'), '.']);
    daemon = await SlipwayDaemon.start({ faults: true });
    owned = { daemon, prefix: PREFIX, bridges: 'survf' };
    await daemon.furnish(BRIDGE);
    await daemon.importImage(image, 'tiny');
    await launch(NAME);
    await stop(NAME);
    await daemon.done('DELETE', INSTANCE);
    clean = footprint(owned);
  });

  after(async () => {
    await daemon.destroy();
    await rm(scratch, { recursive: true, force: true });
  });

  async function create(name: string): Promise<void> {
    await daemon.done('POST', '/1.0/instances', {
      name,
      source: { type: 'image', alias: 'tiny' },
      config: { 'user.mark': 'kept' },
    });
  }
  const setState = (name: string, action: string): Promise<unknown> =>
    daemon.done('PUT', `/1.0/instances/${name}/state`, { action, force: true, timeout: 30 });
  const start = (name: string): Promise<unknown> => setState(name, 'start');
  const stop = (name: string): Promise<unknown> => setState(name, 'stop');
  async function launch(name: string): Promise<void> {
    await create(name);
    await start(name);
  }
  async function runs(name: string, command: readonly string[]): Promise<void> {
    const ended = await daemon.done('POST', `/1.0/instances/${name}/exec`, {
      command,
      'record-output': true,
    });
    assert.equal(ended.metadata.return, 0, command.join(' '));
  }
  const names = async (): Promise<string[]> =>
    ((await daemon.done('GET', '/1.0/instances')) as string[]).map((url) => url.split('/').at(-1) ?? '');

  /** What an instance says of itself is what the kernel says of it. */
  async function isTrue(name: string): Promise<string> {
    const { status, config } = await daemon.done('GET', `/1.0/instances/${name}`);
    const processes = cgroups(`${name}$`).flatMap((path) =>
      readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n'),
    );
    const lives = processes.some((pid) => pid !== '');
    assert.equal(status, lives ? 'Running' : 'Stopped', `state of ${name}`);
    assert.equal(config['user.mark'], 'kept');
    for (const key of ['held', 'changing', 'following', 'rename.from'].map((one) => `volatile.${one}`)) {
      assert.equal(config[key], undefined, key);
    }
    return String(status);
  }

  /** An instance that is there can be used and deleted. */
  async function use(name: string): Promise<void> {
    if ((await isTrue(name)) === 'Stopped') await start(name);
    await runs(name, ['ls', '/etc/passwd']);
    await stop(name);
    await isTrue(name);
    await daemon.done('DELETE', `/1.0/instances/${name}`);
  }

  async function useAll(): Promise<void> {
    for (const name of await names()) await use(name);
  }

  async function images(): Promise<string[]> {
    return ((await daemon.done('GET', '/1.0/images')) as string[]).map((url) => url.split('/').at(-1) ?? '');
  }

  async function importSecond(): Promise<void> {
    fingerprint = await daemon.importImage(secondImage, 'second');
  }

  async function unpacked(): Promise<void> {
    const path = join(daemon.state, 'storage-pools/default/images', fingerprint);
    for (const end = Date.now() + 20_000; !existsSync(path); await sleep(20)) {
      assert.ok(Date.now() < end, 'the image was unpacked');
    }
  }

  async function dropSecond(): Promise<void> {
    const base = ((await daemon.done('GET', '/1.0/images/aliases/tiny')) as { target: string }).target;
    for (const one of await images()) if (one !== base) await daemon.done('DELETE', `/1.0/images/${one}`);
  }

  const scenarios: Readonly<Record<string, Scenario>> = {
    create: {
      act: () => create(NAME),
      verify: async () => {
        if ((await names()).length === 0) await create(NAME);
        await useAll();
      },
    },
    start: { prepare: () => create(NAME), act: () => start(NAME), verify: useAll },
    stop: { prepare: () => launch(NAME), act: () => stop(NAME), verify: useAll },
    delete: {
      prepare: async () => {
        await launch(NAME);
        await stop(NAME);
      },
      act: () => daemon.done('DELETE', INSTANCE),
      verify: async () => {
        assert.deepEqual(await names(), []);
      },
    },
    rename: {
      prepare: async () => {
        await launch(NAME);
        await runs(NAME, ['touch', '/kept']);
        await stop(NAME);
      },
      act: () => daemon.done('POST', INSTANCE, { name: OTHER }),
      verify: async () => {
        const [name = '', ...more] = await names();
        assert.deepEqual(more, []);
        await start(name);
        await runs(name, ['ls', '/kept']);
        await useAll();
      },
    },
    copy: {
      prepare: () => launch(NAME),
      act: () =>
        daemon.done('POST', '/1.0/instances', { name: OTHER, source: { type: 'copy', source: NAME } }),
      verify: async () => {
        assert.equal(await isTrue(NAME), 'Running');
        await useAll();
      },
    },
    resize: {
      prepare: async () => {
        await launch(NAME);
        await runs(NAME, ['touch', '/kept']);
        await stop(NAME);
      },
      act: () =>
        daemon.done('PATCH', INSTANCE, {
          devices: { root: { type: 'disk', path: '/', pool: 'default', size: '64MiB' } },
        }),
      verify: async () => {
        await start(NAME);
        await runs(NAME, ['ls', '/kept']);
        await useAll();
      },
    },
    update: {
      prepare: () => launch(NAME),
      act: () =>
        daemon.done('PATCH', INSTANCE, {
          config: { 'limits.memory': '64MiB' },
          devices: {
            eth1: { type: 'nic', network: BRIDGE, name: 'eth1' },
            data: { type: 'disk', source: scratch, path: '/mnt/data' },
          },
        }),
      verify: async () => {
        assert.equal(await isTrue(NAME), 'Running');
        await expectFootprintOf(NAME);
        await useAll();
      },
    },
    profile: {
      prepare: async () => {
        await daemon.done('POST', '/1.0/profiles', { name: 'shared' });
        for (const name of [NAME, OTHER]) {
          await launch(name);
          await daemon.done('PATCH', `/1.0/instances/${name}`, { profiles: ['default', 'shared'] });
        }
      },
      act: () =>
        daemon.done('PUT', '/1.0/profiles/shared', {
          config: { 'limits.memory': '64MiB' },
          devices: {
            eth1: { type: 'nic', network: BRIDGE, name: 'eth1' },
            data: { type: 'disk', source: scratch, path: '/mnt/data' },
          },
        }),
      verify: async () => {
        for (const name of [NAME, OTHER]) {
          assert.equal(await isTrue(name), 'Running');
          await expectFootprintOf(name);
        }
        await useAll();
        await daemon.done('DELETE', '/1.0/profiles/shared');
      },
    },
    import: { act: importSecond, verify: dropSecond },
    unpack: { act: importSecond, verify: dropSecond },
    'image-delete': {
      prepare: async () => {
        await importSecond();
        await unpacked();
      },
      act: () => daemon.done('DELETE', `/1.0/images/${fingerprint}`),
      verify: async () => {
        assert.ok(!(await images()).includes(fingerprint));
      },
    },
    'network-create': {
      act: () => daemon.done('POST', '/1.0/networks', { name: SECOND_BRIDGE, type: 'bridge' }),
      verify: dropNetwork,
    },
    'network-delete': {
      prepare: () => daemon.done('POST', '/1.0/networks', { name: SECOND_BRIDGE, type: 'bridge' }),
      act: () => daemon.done('DELETE', `/1.0/networks/${SECOND_BRIDGE}`),
      verify: dropNetwork,
    },
    'pool-create': {
      act: makePool,
      verify: dropPool,
    },
    'pool-delete': {
      prepare: makePool,
      act: () => daemon.done('DELETE', '/1.0/storage-pools/second'),
      verify: dropPool,
    },
  };

  /** The limits, nics and disks of the running container are those of its definition. */
  async function expectFootprintOf(name: string): Promise<void> {
    const { expanded_config: config, expanded_devices: devices } = await daemon.done(
      'GET',
      `/1.0/instances/${name}`,
    );
    const hasLimit = config['limits.memory'] === '64MiB';
    const groups = cgroups(`${name}$`).filter((path) => path.includes('payload'));
    const limits = groups.flatMap((path) =>
      ['memory.max', 'memory.limit_in_bytes']
        .map((file) => join(path, file))
        .filter((file) => existsSync(file))
        .map((file) => readFileSync(file, 'utf8').trim()),
    );
    assert.ok(limits.length > 0);
    for (const limit of limits) assert.equal(limit === String(64 * 2 ** 20), hasLimit, limit);
    await runs(name, ['sh', '-c', `${devices['eth1'] === undefined ? '!' : ''} test -e /sys/class/net/eth1`]);
    await runs(name, [
      'sh',
      '-c',
      `${devices['data'] === undefined ? '!' : ''} grep -q /mnt/data /proc/mounts`,
    ]);
  }

  async function dropNetwork(): Promise<void> {
    const list = (await daemon.done('GET', '/1.0/networks?recursion=1')) as {
      name: string;
      managed: boolean;
    }[];
    const second = list.find((one) => one.name === SECOND_BRIDGE);
    if (second === undefined) return;
    assert.equal(second.managed, true, 'a bridge that no row speaks of');
    await daemon.done('DELETE', `/1.0/networks/${SECOND_BRIDGE}`);
  }

  function makePool(): Promise<void> {
    return daemon.done('POST', '/1.0/storage-pools', {
      name: 'second',
      driver: 'btrfs',
      config: { size: '256MiB' },
    });
  }

  async function dropPool(): Promise<void> {
    const list = (await daemon.done('GET', '/1.0/storage-pools')) as string[];
    if (list.includes('/1.0/storage-pools/second')) await daemon.done('DELETE', '/1.0/storage-pools/second');
  }

  async function dieAt(point: string, act: () => Promise<unknown>): Promise<void> {
    const launcher = launcherOf(daemon.pid);
    await daemon.arm(point);
    const acting = act().then(
      () => 'it was done',
      (err: unknown) => String(err),
    );
    const passed = acting.then((how) => sleep(10_000, how));
    const how = await Promise.race([daemon.ended(), passed]);
    assert.equal(how, 'SIGKILL', `the daemon did not pass ${point}`);
    await acting;
    if (launcher === 0) return;
    for (const end = Date.now() + 5_000; sessionMembers(launcher).length > 0; await sleep(5)) {
      assert.ok(
        Date.now() < end,
        `helpers of the killed daemon live on: ${sessionMembers(launcher).join(' ')}`,
      );
    }
  }

  test('every point belongs to something that is tried here', () => {
    const unknown = allPoints().filter((point) => scenarios[point.split('.')[0] ?? ''] === undefined);
    assert.deepEqual(unknown, []);
    assert.ok(allPoints().length > 50);
  });

  for (const point of allPoints()) {
    const scenario = scenarios[point.split('.')[0] ?? ''];
    if (scenario === undefined) continue;
    test(`at ${point} leaves nothing half done`, async () => {
      await scenario.prepare?.();
      await dieAt(point, scenario.act);
      await daemon.restart();
      await scenario.verify();
      try {
        await expectFootprint(owned, clean, `after ${point}`);
      } finally {
        // What one point leaves is not held against the next ones.
        clean = footprint(owned);
      }
    });
  }
});
