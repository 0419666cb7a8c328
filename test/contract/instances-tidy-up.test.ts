/** Tidying up behind a container that has ended fails: its instance must not stay between two states. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import type { Running } from '../../api/instances/power.ts';
import { Powers } from '../../api/instances/power.ts';
import type { RuntimeParts } from '../../api/instances/runtime-parts.ts';
import { LxcRuntime } from '../../api/instances/runtime.ts';
import type { Monitor } from '../../native/types.ts';
import { fakeNative } from '../support/fake-native.ts';
import { openWorld } from '../support/fake-instances.ts';
import { instanceRow } from '../support/rows.ts';

const FORCED = { timeoutS: 0, force: true };

interface Bench {
  readonly runtime: LxcRuntime;
  readonly powers: Powers;
  /** Processes that were sent a signal. */
  readonly signalled: number[];
  readonly lifecycle: readonly string[];
  /** While true, no row can be written. */
  readonly database: { isAway: boolean };
  /** The container ends. */
  end(): void;
  settled(): Promise<void>;
}

const NEVER = new AbortController().signal;

async function openBench(t: TestContext): Promise<Bench> {
  const world = await openWorld();
  t.after(() => world.close());
  await world.store.insert(instanceRow({ id: 'a', name: 'a', phase: 'ready' }));
  const database = { isAway: false };
  const signalled: number[] = [];
  const powers = new Powers();
  let end: () => void = () => undefined;
  const gone = new Promise<void>((resolve) => (end = resolve));
  const monitor: Partial<Monitor> = { state: () => Promise.resolve('STOPPED') };
  const parts: Partial<RuntimeParts> = {
    ...world.parts,
    native: fakeNative({
      monitor: () => monitor as Monitor, // all that is asked of it here
      signalProcess: (pid) => {
        signalled.push(pid);
        end();
        return true;
      },
    }),
    store: Object.assign(Object.create(world.store) as typeof world.store, {
      change: (...args: Parameters<typeof world.store.change>) =>
        database.isAway ? Promise.reject(new Error('the database is away')) : world.store.change(...args),
    }),
    powers,
    host: { unified: null, unifiedControllers: [], v1: {} } as unknown as RuntimeParts['host'], // no cgroups here
    closeFiles: () => Promise.resolve(),
    onEnded: (id) => {
      runtime.ended(id);
    },
    signal: NEVER,
  };
  const runtime = new LxcRuntime(parts as RuntimeParts); // the rest is for starts
  const running: Running = {
    initPid: 4_194_304,
    cgroup: '/none',
    gone,
    close: () => undefined,
    endExpected: false,
    isWatched: true,
    network: null,
  };
  powers.adopt('a', 'Running', running);
  return {
    runtime,
    powers,
    signalled,
    lifecycle: world.lifecycle,
    database,
    end: () => {
      end();
    },
    settled: () => world.parts.lanes.settled(),
  };
}

async function look(bench: Bench): Promise<void> {
  await bench.runtime.probing().run(NEVER);
  await bench.settled();
}

test('a stop whose tidying up fails can be asked for again, and kills nobody a second time', async (t) => {
  const bench = await openBench(t);
  bench.database.isAway = true;
  await assert.rejects(bench.runtime.stop('a', FORCED, NEVER), /database is away/);
  assert.equal(bench.powers.state('a'), 'Running');
  assert.equal(bench.signalled.length, 1);
  bench.database.isAway = false;
  await bench.runtime.stop('a', FORCED, NEVER);
  assert.equal(bench.powers.state('a'), 'Stopped');
  assert.equal(bench.signalled.length, 1);
});

test('a stop whose tidying up fails is finished by the next look at the monitor', async (t) => {
  const bench = await openBench(t);
  bench.database.isAway = true;
  await assert.rejects(bench.runtime.stop('a', FORCED, NEVER), /database is away/);
  await look(bench);
  assert.equal(bench.powers.state('a'), 'Running');
  bench.database.isAway = false;
  await look(bench);
  assert.equal(bench.powers.state('a'), 'Stopped');
});

test('a guest that ends while nothing can be written is tidied up behind later', async (t) => {
  const bench = await openBench(t);
  bench.database.isAway = true;
  bench.end();
  bench.runtime.ended('a');
  await bench.settled();
  assert.equal(bench.powers.state('a'), 'Running');
  bench.database.isAway = false;
  await look(bench);
  assert.equal(bench.powers.state('a'), 'Stopped');
  assert.deepEqual(bench.lifecycle, ['instance-shutdown /1.0/instances/a']);
});

test('an end that is told of late leaves alone what was started since', async (t) => {
  const bench = await openBench(t);
  bench.runtime.ended('a');
  await bench.settled();
  assert.equal(bench.powers.state('a'), 'Running');
});
