/** A real lxcfs at a folder of the test's own, killed as a crash would. */
import assert from 'node:assert/strict';
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { lxcfsViews } from '../../api/instances/lxcfs-views.ts';
import { clearDeadLxcfs, lxcfsState } from '../../api/lxcfs.ts';
import { ensureLxcfs, isSystemd, lxcfsLog, stopLxcfs } from '../../api/setup/background.ts';
import { checkLxcfs } from '../../api/setup/host-facts.ts';
import { loadDaemonConfig } from '../../config/load.ts';
import { openNative } from '../../native/index.ts';
import { SILENT } from '../../process/log.ts';
import { makeTinyContainer, outputOf } from '../support/tiny-container.ts';

const lacks = existsSync('/usr/bin/lxcfs') && existsSync('/dev/fuse') ? false : 'lxcfs is not installed';
const native = openNative();
let scratch = '';
let folder = '';
let server: ChildProcess | null = null;
/** Nothing of native keeps a process alive. */
let alive: NodeJS.Timeout | undefined;

before(() => {
  alive = setInterval(() => undefined, 60_000);
  scratch = mkdtempSync(join(tmpdir(), 'slipway-lxcfs-'));
  folder = mkdtempSync(join(scratch, 'mount-'));
});

afterEach(async () => {
  if (server?.kill('SIGTERM') === true) await once(server, 'exit');
  server = null;
  while ((await lxcfsState(folder)) !== 'absent') execFileSync('umount', ['--lazy', folder]);
});

after(() => {
  clearInterval(alive);
  rmSync(scratch, { recursive: true, force: true });
});

async function serve(): Promise<ChildProcess> {
  const child = spawn('/usr/bin/lxcfs', ['-f', `--pidfile=${join(scratch, 'pid')}`, folder], {
    stdio: 'ignore',
  });
  server = child;
  const end = Date.now() + 10_000;
  while ((await lxcfsState(folder)) !== 'running') {
    assert.ok(Date.now() < end, 'lxcfs did not come up');
    await sleep(20);
  }
  return child;
}

async function killed(): Promise<void> {
  const child = await serve();
  child.kill('SIGKILL');
  await once(child, 'exit');
  server = null;
  assert.throws(() => {
    accessSync(join(folder, 'proc'));
  }, /ENOTCONN/);
}

/** Warnings that stand, by their type. */
function warningBook() {
  const open = new Map<string, string>();
  const warnings = {
    raise: ({ type, message }: { type: string; message: string }) =>
      Promise.resolve(void open.set(type, message)),
    resolve: (type: string) => Promise.resolve(void open.delete(type)),
  };
  return { open, parts: { log: SILENT, warnings } };
}

test(
  'the mount of a killed lxcfs is told from one that is served and from none',
  { skip: lacks },
  async () => {
    assert.equal(await lxcfsState(folder), 'absent');
    assert.equal((await checkLxcfs(folder)).found, 'not running');
    await killed();
    assert.equal(await lxcfsState(folder), 'dead');
    const finding = await checkLxcfs(folder);
    assert.equal(finding.verdict, 'degraded');
    assert.match(finding.found, /process is gone/);
    assert.match(finding.advice, /umount --lazy/);
  },
);

test('instances do without an lxcfs that is dead, with a warning that goes', { skip: lacks }, async () => {
  const { open, parts } = warningBook();
  assert.deepEqual(await lxcfsViews(parts, folder), []);
  assert.equal(open.size, 0);
  await killed();
  assert.deepEqual(await lxcfsViews(parts, folder), []);
  assert.match([...open.values()].join(), /is gone: instances start without it/);
  assert.equal(await clearDeadLxcfs(folder), true);
  await serve();
  assert.ok((await lxcfsViews(parts, folder)).includes('proc/meminfo'));
  assert.equal(open.size, 0);
});

test('a container starts although lxcfs died while it was being prepared', { skip: lacks }, async () => {
  await killed();
  const entry = `${join(folder, 'proc/uptime')} proc/uptime none bind,optional 0 0`;
  const guest = await makeTinyContainer(native, 'lxcfs-gone', { lines: [`lxc.mount.entry = ${entry}`] });
  try {
    await guest.start();
    assert.match(await outputOf(native, guest, ['cat', '/proc/uptime']), /^\d+\.\d+ /);
  } finally {
    await guest.remove();
  }
});

test(
  'set-up replaces a dead lxcfs and leaves a living one alone',
  { skip: isSystemd() ? 'the service manager looks after lxcfs here' : lacks },
  async () => {
    const config = loadDaemonConfig({ stateDir: join(scratch, 'state') });
    await killed();
    assert.equal(await ensureLxcfs(config, undefined, folder), 'replaced');
    assert.match(readFileSync(join(folder, 'proc/meminfo'), 'utf8'), /^MemTotal:/);
    assert.equal(await ensureLxcfs(config, undefined, folder), 'running');
    assert.equal(await stopLxcfs(config, folder), 'stopped');
    assert.equal(await lxcfsState(folder), 'absent');
    assert.equal(await ensureLxcfs(config, undefined, folder), 'started');
    assert.equal(await stopLxcfs(config, folder), 'stopped');
  },
);

test(
  'set-up goes on without an lxcfs that ends at once',
  { skip: isSystemd() ? 'the service manager looks after lxcfs here' : lacks },
  async () => {
    const config = loadDaemonConfig({ stateDir: join(scratch, 'state') });
    const before = process.env['PATH'] ?? '';
    const programs = join(scratch, 'programs');
    mkdirSync(programs);
    writeFileSync(join(programs, 'lxcfs'), '#!/bin/sh\necho no >&2\nexit 1\n', { mode: 0o755 });
    process.env['PATH'] = `${programs}:${before}`;
    try {
      assert.equal(await ensureLxcfs(config, undefined, join(scratch, 'unserved')), 'ended');
    } finally {
      process.env['PATH'] = before;
    }
    assert.match(readFileSync(lxcfsLog(config), 'utf8'), /\nno\n$/);
  },
);
