import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import { z } from 'zod';

const SEED = 20_260_103;
const BUDGET_MS = 20_000;
const PROGRAM = fileURLToPath(new URL('../support/fuzz-daemon.ts', import.meta.url));

const fuzzReport = z.object({
  requests: z.number(),
  statuses: z.record(z.string(), z.number()),
  failures: z.array(z.string()),
});
const daemonReport = z.object({ trusted: fuzzReport, stranger: fuzzReport, bugs: z.array(z.string()) });

/** In namespaces of its own, with a sysfs that shows them; whatever it starts ends with it. */
function runFuzz(state: string): Promise<{ code: number | null; out: string; err: string }> {
  const script = `mount -t sysfs sysfs /sys && ip link set lo up && exec "$@"`;
  const program = [process.execPath, '--import', 'tsx', PROGRAM, state, String(SEED), String(BUDGET_MS)];
  const unshare = [
    '-n',
    '-m',
    '-p',
    '-f',
    '--mount-proc',
    '--kill-child',
    'sh',
    '-c',
    script,
    'sh',
    ...program,
  ];
  const child = spawn('unshare', unshare, { stdio: ['ignore', 'pipe', 'pipe'] });
  const texts = { out: '', err: '' };
  child.stdout.on('data', (chunk: Buffer) => (texts.out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (texts.err += chunk.toString()));
  return new Promise((resolve) => {
    child.once('close', (code) => {
      resolve({ code, ...texts });
    });
  });
}

test('random requests to every route of the whole daemon: no 500, no bug, nothing for strangers', async (t) => {
  if (process.getuid?.() !== 0) {
    t.skip('needs root');
    return;
  }
  const state = await mkdtemp(join(tmpdir(), 'fuzz-daemon-'));
  try {
    const { code, out, err } = await runFuzz(state);
    assert.equal(code, 0, err.slice(-2000));
    const report = daemonReport.parse(JSON.parse(out));
    assert.deepEqual(report.trusted.failures, []);
    assert.deepEqual(report.stranger.failures, []);
    assert.deepEqual(report.bugs, []);
    assert.ok(report.trusted.requests > 500 && report.stranger.requests > 100);
    assert.ok((report.trusted.statuses['200'] ?? 0) > 0 && (report.stranger.statuses['403'] ?? 0) > 0);
  } finally {
    await rm(state, { recursive: true, force: true });
  }
});
