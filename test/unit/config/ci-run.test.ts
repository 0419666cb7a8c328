/** .ci/run with an npm that only says what it was asked: nothing stays, and a failure is never lost. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PROGRAM_ROOT } from '../../../config/root.ts';

const STAGES = ['test', 'run test:cloud'];
const PURGES = ['run cloud -- down --purge', 'run down -- --purge'];

/** What npm was asked, and how the script ended, when npm fails at some of it with these statuses. */
function run(failing: Readonly<Record<string, number>>): { asked: string[]; status: number | null } {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-ci-'));
  try {
    const cases = Object.entries(failing).map(([args, code]) => `'${args}') exit ${String(code)} ;;`);
    const script = ['#!/bin/sh', 'echo "$*"', 'case "$*" in', ...cases, 'esac', ''];
    writeFileSync(join(folder, 'npm'), script.join('\n'), { mode: 0o755 });
    symlinkSync('/usr/bin/dirname', join(folder, 'dirname'));
    const { status, stdout } = spawnSync('/bin/bash', [join(PROGRAM_ROOT, '.ci', 'run')], {
      encoding: 'utf8',
      // Nothing else: the real npm would take this machine's cloud down.
      env: { PATH: folder },
    });
    return { asked: stdout.trim().split('\n'), status };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('all stages run and nothing stays', () => {
  assert.deepEqual(run({}), { asked: [...STAGES, ...PURGES], status: 0 });
});

test('nothing stays after a stage that failed, and its status is kept', () => {
  assert.deepEqual(run({ test: 3 }), { asked: ['test', ...PURGES], status: 3 });
  const both = { 'run test:cloud': 3, 'run cloud -- down --purge': 4, 'run down -- --purge': 4 };
  assert.deepEqual(run(both), { asked: [...STAGES, ...PURGES], status: 3 });
});

test('a purge that fails is a failure, and the other one is done all the same', () => {
  for (const purge of PURGES) {
    assert.deepEqual(run({ [purge]: 4 }), { asked: [...STAGES, ...PURGES], status: 1 });
  }
});
