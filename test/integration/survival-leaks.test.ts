/** Whatever comes and goes in a daemon's life leaves it as it was. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { expectFootprint, footprint, launcherOf, sessionMembers } from '../support/host-footprint.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

const PREFIX = 'survl-';
const CYCLES = 200;
const AT_ONCE = 4;
/** Growth that a heap may have between two looks. */
const MEMORY_SLACK_KIB = 40 * 1024;

interface Use {
  readonly fds: number;
  readonly threads: number;
  readonly helpers: number;
  readonly pssKib: number;
}

function useOf(daemon: SlipwayDaemon): Use {
  const proc = `/proc/${String(daemon.pid)}`;
  const rollup = readFileSync(`${proc}/smaps_rollup`, 'utf8');
  const launcher = launcherOf(daemon.pid);
  return {
    fds: readdirSync(`${proc}/fd`).length,
    threads: readdirSync(`${proc}/task`).length,
    helpers: sessionMembers(launcher).length,
    pssKib: Number(/^Pss:\s+(\d+)/m.exec(rollup)?.[1]),
  };
}

test(
  'two hundred lives of containers leave nothing in the daemon or on the host',
  { timeout: 600_000 },
  async () => {
    const scratch = await mkdtemp(join(tmpdir(), 'slipway-survival-'));
    const daemon = await SlipwayDaemon.start();
    const owned = { daemon, prefix: PREFIX, bridges: 'survl0' };
    try {
      await daemon.furnish('survl0');
      await daemon.importImage(await buildTinyImage(scratch), 'tiny');
      const live = async (name: string): Promise<void> => {
        const url = `/1.0/instances/${name}`;
        await daemon.done('POST', '/1.0/instances', { name, source: { type: 'image', alias: 'tiny' } });
        await daemon.done('PUT', `${url}/state`, { action: 'start' });
        const ended = await daemon.done('POST', `${url}/exec`, { command: ['true'], 'record-output': true });
        assert.equal(ended.metadata.return, 0);
        await daemon.done('PUT', `${url}/state`, { action: 'stop', force: true });
        await daemon.done('DELETE', url);
      };
      const many = async (from: number, count: number): Promise<void> => {
        for (let i = from; i < from + count; i += AT_ONCE) {
          await Promise.all(Array.from({ length: AT_ONCE }, (_, k) => live(`${PREFIX}${String(i + k)}`)));
        }
      };
      // With these the image is unpacked.
      await many(0, 4);
      const clean = footprint(owned);
      await many(4, 36);
      await expectFootprint(owned, clean, 'after the first lives');
      const first = useOf(daemon);
      await many(40, CYCLES - 40);
      await expectFootprint(owned, clean, 'after all lives');
      let last = useOf(daemon);
      const isFit = (): boolean =>
        last.fds <= first.fds + 4 && last.threads <= first.threads + 1 && last.helpers === first.helpers;
      // What ends behind the last answer is no leak.
      for (const end = Date.now() + 10_000; !isFit() && Date.now() < end; last = useOf(daemon))
        await sleep(100);
      assert.ok(last.fds <= first.fds + 4, `descriptors: ${String(first.fds)} -> ${String(last.fds)}`);
      assert.ok(
        last.threads <= first.threads + 1,
        `threads: ${String(first.threads)} -> ${String(last.threads)}`,
      );
      assert.equal(last.helpers, first.helpers);
      assert.ok(
        last.pssKib <= first.pssKib + MEMORY_SLACK_KIB,
        `memory: ${String(first.pssKib)} -> ${String(last.pssKib)} KiB`,
      );
    } finally {
      await daemon.destroy();
      await rm(scratch, { recursive: true, force: true });
    }
  },
);
