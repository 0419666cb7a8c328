import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Powers } from '../../../../api/instances/power.ts';
import { LxcRuntime } from '../../../../api/instances/runtime.ts';

test('an instance whose monitor is silent is neither frozen nor thawed', async (t) => {
  const unified = await mkdtemp(join(tmpdir(), 'freeze-test-'));
  t.after(() => rm(unified, { recursive: true }));
  const control = join(unified, 'c1', 'cgroup.freeze');
  await mkdir(join(unified, 'c1'));
  await writeFile(control, 'untouched');
  const powers = new Powers();
  powers.adopt('a', 'Error', {
    initPid: 1,
    cgroup: 'c1',
    gone: new Promise(() => undefined),
    close: () => undefined,
    endExpected: true,
    isWatched: false,
    network: null,
  });
  const parts = { powers, host: { unified, v1: {} } };
  const runtime = new LxcRuntime(parts as unknown as ConstructorParameters<typeof LxcRuntime>[0]); // all it needs here
  await assert.rejects(runtime.freeze('a'), /error state: its monitor does not answer/);
  await assert.rejects(runtime.unfreeze('a'), /error state: its monitor does not answer/);
  assert.equal(await readFile(control, 'utf8'), 'untouched');
  assert.equal(powers.state('a'), 'Error');
});
