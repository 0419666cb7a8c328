/** The program as it is installed on a host: it needs nothing of the folder it was built in. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { PROGRAM_ROOT } from '../../config/root.ts';

const SCRIPT = join(PROGRAM_ROOT, 'config', 'install.sh');
const RUN_MS = 120_000;
let scratch = '';
let prefix = '';
let command = '';
let state = '';

function install(env: Record<string, string>, ...args: string[]): string {
  const options = { env: { PATH: process.env['PATH'] ?? '', ...env }, encoding: 'utf8' } as const;
  return execFileSync('bash', [SCRIPT, ...args], options);
}

/** Under the umask of a careful administrator. */
function slipway(...args: string[]): string {
  const tight = ['-c', 'umask 077; exec "$0" "$@"', command];
  return execFileSync('sh', [...tight, ...args, '--state-dir', state], {
    cwd: '/',
    encoding: 'utf8',
    timeout: RUN_MS,
  });
}

before(() => {
  scratch = mkdtempSync(join(tmpdir(), 'install-host-'));
  chmodSync(scratch, 0o711);
  prefix = join(scratch, 'usr');
  command = join(prefix, 'bin', 'slipway');
  state = join(scratch, 'state');
  install({ PREFIX: prefix });
});

after(() => {
  if (existsSync(state)) slipway('down', '--purge');
  rmSync(scratch, { recursive: true, force: true });
});

test('the installed program brings up a host and a container', () => {
  const out = slipway('up', '--tiny', '--name', 'installed');
  assert.match(out, /installed is Running/);
  const pid = /process (\d+)/.exec(out)?.[1] ?? '';
  const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  assert.ok(
    argv.some((one) => one.startsWith(join(prefix, 'lib', 'slipway'))),
    argv.join(' '),
  );
  // What it has in memory is its own, native parts and all.
  assert.ok(!readFileSync(`/proc/${pid}/maps`, 'utf8').includes(join(PROGRAM_ROOT, 'native')));
  slipway('down', '--purge');
});

test('units call the program where it is', () => {
  const unit = readFileSync(join(prefix, 'lib/systemd/system/slipway-compute.service'), 'utf8');
  assert.match(unit, new RegExp(`^ExecStart=${command} compute `, 'm'));
  assert.equal(statSync(command).mode & 0o777, 0o755);
});

test('an upgrade keeps what a running program may still load, and the settings of the operator', () => {
  const settings = join(prefix, 'etc/slipway/slipway.conf');
  writeFileSync(settings, '# mine\n');
  const list = join(prefix, 'lib/slipway/dist/files.json');
  // Written by the build.
  const files = JSON.parse(readFileSync(list, 'utf8')) as string[];
  const earlier = 'dist/parts/main-EARLIER.js';
  writeFileSync(join(prefix, 'lib/slipway', earlier), '// of the version before\n');
  writeFileSync(list, JSON.stringify([...files, earlier]));
  install({ PREFIX: prefix });
  assert.ok(existsSync(join(prefix, 'lib/slipway', earlier)));
  assert.equal(readFileSync(settings, 'utf8'), '# mine\n');
  install({ PREFIX: prefix });
  assert.ok(!existsSync(join(prefix, 'lib/slipway', earlier)));
});

test('with DESTDIR everything is below it, and --remove leaves settings alone', () => {
  const dest = join(scratch, 'dest');
  install({ DESTDIR: dest });
  const text = readFileSync(join(dest, 'usr/bin/slipway'), 'utf8');
  assert.match(text, / \/usr\/lib\/slipway\/dist\/process\/slipway\.js /);
  install({ DESTDIR: dest }, '--remove');
  const left = execFileSync('find', [dest, '-type', 'f', '-printf', '%P\n'], { encoding: 'utf8' });
  assert.equal(left, 'etc/slipway/slipway.conf\n');
});

test('an argument that is not known is refused', () => {
  assert.throws(() => install({ PREFIX: prefix }, '--purge'), /there is --remove/);
});
