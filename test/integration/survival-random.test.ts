/**
 * The daemon is killed at any moment, while it works and while it recovers, for
 * a minute. What it acknowledged must hold, and nothing may be left behind.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { cgroups, expectFootprint, footprint } from '../support/host-footprint.ts';
import type { Owned } from '../support/host-footprint.ts';
import { Random } from '../support/random.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

const PREFIX = 'survx-';
const BRIDGE = 'survx0';
const NAMES = ['a', 'b', 'c', 'd'].map((name) => PREFIX + name);
const RUN_MS = 60_000;
/** Longest life of a daemon: from before its first answer to well after it. */
const LIFE_MS = 4000;

/** What one instance has been promised. */
interface Promised {
  /** The last number that was acknowledged as `user.count`; the one that was sent after it may hold too. */
  count: number;
  sent: number;
  /** false: its deletion was acknowledged; null: it may be there or not. */
  exists: boolean | null;
}

interface Shown {
  readonly status: string;
  readonly config: Readonly<Record<string, string>>;
}

describe('a daemon that is killed at random', { timeout: 300_000 }, () => {
  let daemon: SlipwayDaemon;
  let owned: Owned;
  let clean: string[];
  let isOver = false;
  const promised = new Map<string, Promised>(
    NAMES.map((name) => [name, { count: 0, sent: 0, exists: false }]),
  );

  before(async () => {
    daemon = await SlipwayDaemon.start();
    owned = { daemon, prefix: PREFIX, bridges: BRIDGE };
    await daemon.furnish(BRIDGE);
    await daemon.importImage(await buildTinyImage(daemon.dir), 'tiny');
    // The first instance unpacks the image, which stays.
    await create(NAMES[0] ?? '');
    await daemon.done('DELETE', urlOf(NAMES[0] ?? ''));
    clean = footprint(owned);
  });

  after(() => daemon.destroy());

  const urlOf = (name: string): string => `/1.0/instances/${name}`;
  const create = (name: string): Promise<unknown> =>
    daemon.done('POST', '/1.0/instances', { name, source: { type: 'image', alias: 'tiny' } });
  const setState = (name: string, action: string): Promise<unknown> =>
    daemon.done('PUT', `${urlOf(name)}/state`, { action, force: true, timeout: 30 });

  /** One step in the life of an instance; a refusal, or a daemon that dies, is part of it. */
  async function step(name: string, random: Random): Promise<void> {
    const now = promised.get(name);
    assert.ok(now !== undefined);
    if (now.exists !== true) {
      now.exists = null;
      // It may be there from a creation that was cut off before it was acknowledged.
      if ((await daemon.request('GET', urlOf(name))).type === 'error') {
        Object.assign(now, { count: 0, sent: 0 });
        await create(name);
      }
      now.exists = true;
      return;
    }
    const what = random.below(10);
    if (what < 3) await setState(name, 'start');
    else if (what < 5) await setState(name, 'stop');
    else if (what < 6) await setState(name, 'restart');
    else if (what < 9) {
      now.sent += 1;
      const config = { 'user.count': String(now.sent), 'limits.memory': `${String(64 + now.sent)}MiB` };
      await daemon.done('PATCH', urlOf(name), { config });
      now.count = now.sent;
    } else {
      const { status } = (await daemon.done('GET', urlOf(name))) as Shown;
      if (status !== 'Stopped') await setState(name, 'stop');
      now.exists = null;
      await daemon.done('DELETE', urlOf(name));
      now.exists = false;
    }
  }

  async function live(name: string, random: Random): Promise<void> {
    while (!isOver) {
      await step(name, random).catch(() => undefined);
      await sleep(random.below(20));
    }
  }

  /** What the daemon says of the instance is what was promised, and what the kernel says. */
  async function check(name: string): Promise<void> {
    const now = promised.get(name);
    assert.ok(now !== undefined);
    const answer = await daemon.request('GET', urlOf(name));
    if (now.exists !== null) assert.equal(answer.type !== 'error', now.exists, `${name}: ${answer.error}`);
    if (answer.type === 'error') {
      assert.deepEqual(cgroups(`${name}$`), [], name);
      return;
    }
    const { status, config } = answer.metadata as Shown;
    const processes = cgroups(`${name}$`).flatMap((path) =>
      readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n'),
    );
    const lives = processes.some((pid) => pid !== '');
    assert.equal(status, lives ? 'Running' : 'Stopped', name);
    const count = Number(config['user.count'] ?? '0');
    assert.ok(count >= now.count && count <= now.sent, `${name}: ${String(count)} of ${JSON.stringify(now)}`);
    assert.equal(config['volatile.changing'], undefined);
    if (lives) await checkLimit(name, config['limits.memory']);
  }

  function checkLimit(name: string, wanted: string | undefined): Promise<void> {
    const bytes = wanted === undefined ? null : String(Number.parseInt(wanted, 10) * 2 ** 20);
    for (const path of cgroups(`${name}$`).filter((one) => /memory\/lxc\.payload/.test(one))) {
      const limit = readFileSync(join(path, 'memory.limit_in_bytes'), 'utf8').trim();
      if (bytes !== null) assert.equal(limit, bytes, `${name}: ${path}`);
    }
    return Promise.resolve();
  }

  test('keeps what it acknowledged and leaves nothing behind', async (t) => {
    const seed = Date.now() % 2 ** 31;
    t.diagnostic(`seed ${String(seed)}`);
    const random = new Random(seed);
    const lives = NAMES.map((name, at) => live(name, new Random(seed + at + 1)));
    let kills = 0;
    let early = 0;
    for (const end = Date.now() + RUN_MS; Date.now() < end; kills += 1) {
      await sleep(random.below(LIFE_MS));
      await daemon.kill();
      const coming = daemon.restart().then(
        () => true,
        () => false,
      );
      // Every third one dies before or while it finds its way.
      if (random.below(3) > 0) {
        assert.equal(await coming, true, 'the daemon comes up');
        continue;
      }
      await sleep(random.below(2000));
      await daemon.kill();
      if (!(await coming)) early += 1;
      await daemon.restart();
    }
    isOver = true;
    await Promise.all(lives);
    t.diagnostic(`${String(kills)} kills, ${String(early)} more before the first answer`);
    await daemon.kill();
    await daemon.restart();
    for (const name of NAMES) await check(name);
    for (const name of NAMES) {
      if ((await daemon.request('GET', urlOf(name))).type === 'error') continue;
      await setState(name, 'stop').catch(() => undefined);
      await daemon.done('DELETE', urlOf(name));
    }
    await expectFootprint(owned, clean, `seed ${String(seed)}`);
  });
});
