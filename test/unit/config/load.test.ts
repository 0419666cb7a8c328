import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { programEnvironment, readEnvironment } from '../../../config/environment.ts';
import { loadDaemonConfig, loadServeConfig } from '../../../config/load.ts';
import { describeChain, isFault } from '../../../process/fault.ts';

let folder = '';
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'config-'));
});
after(() => {
  rmSync(folder, { recursive: true });
});

function file(text: string): string {
  const path = join(folder, 'slipway.conf');
  writeFileSync(path, text);
  return path;
}

const NOTHING = readEnvironment({});

test('without anything the folders are the system ones', () => {
  const config = loadDaemonConfig({ configFile: file('') }, NOTHING);
  assert.deepEqual(config.paths, { state: '/var/lib/slipway', log: '/var/log/slipway', run: '/run/slipway' });
  assert.equal(config.database.connection, 'sqlite:////var/lib/slipway/database/local.db');
  assert.equal(config.log.level, 'info');
  assert.equal(config.log.file, null);
  assert.equal(config.api.socketGroup, 'slipway');
});

test('the command line goes before SLIPWAY_DIR, that before the file', () => {
  const configFile = file('[paths]\nstate = /srv/file\n');
  const env = readEnvironment({ SLIPWAY_DIR: '/srv/env' });
  const states = [
    loadDaemonConfig({ configFile, stateDir: '/srv/flag' }, env),
    loadDaemonConfig({ configFile }, env),
    loadDaemonConfig({ configFile }, NOTHING),
  ].map((config) => config.paths.state);
  assert.deepEqual(states, ['/srv/flag', '/srv/env', '/srv/file']);
});

test('another state folder keeps its logs and process ids inside', () => {
  const config = loadDaemonConfig({ configFile: file(''), stateDir: '/srv/x' }, NOTHING);
  assert.deepEqual(config.paths, { state: '/srv/x', log: '/srv/x/log', run: '/srv/x/run' });
});

test('folders of the file do not follow another state folder', () => {
  const configFile = file('[paths]\nstate = /srv/a\nlog = $state/logs\n');
  assert.equal(loadDaemonConfig({ configFile }, NOTHING).paths.log, '/srv/a/logs');
  assert.equal(loadDaemonConfig({ configFile, stateDir: '/srv/b' }, NOTHING).paths.log, '/srv/b/log');
});

test('an unknown option is a warning that names its place', () => {
  const config = loadDaemonConfig(
    { configFile: file('[log]\nlevel = debug\ncolour = red\n[x]\ny = 1\n') },
    NOTHING,
  );
  assert.equal(config.log.level, 'debug');
  assert.equal(config.warnings.length, 2);
  assert.match(config.warnings[0] ?? '', /\[log\] colour \(.*slipway\.conf line 3\)/);
  assert.match(config.warnings[1] ?? '', /\[x\] y/);
});

test('a wrong value is refused with the name of the option, its value and its place', () => {
  const cases: [string, RegExp][] = [
    ['[log]\nlevel = loud\n', /\[log\] level \(.* line 2\).*"loud".*debug, info, warn, error/],
    ['[paths]\nstate = relative\n', /\[paths\] state .*"relative"/],
    ['[paths]\nstate = /\n', /\[paths\] state/],
  ];
  for (const [text, expected] of cases) {
    assert.throws(
      () => loadDaemonConfig({ configFile: file(text) }, NOTHING),
      (err: unknown) => isFault(err, 'bad_request') && expected.test(describeChain(err)),
      text,
    );
  }
});

test('a file that was asked for and is not there is an error', () => {
  assert.throws(() => loadDaemonConfig({ configFile: join(folder, 'absent') }, NOTHING), /--config-file/);
});

test('the flags of serve are read, unknown ones refused', () => {
  const config = loadServeConfig(
    ['--state-dir', '/srv/s', '-d', '--logfile', '/x/y.log', '--group', 'adm'],
    NOTHING,
  );
  assert.equal(config.log.level, 'debug');
  assert.equal(config.log.file, '/x/y.log');
  assert.equal(config.api.socketGroup, 'adm');
  assert.throws(
    () => loadServeConfig(['--nonsense'], NOTHING),
    (err: unknown) => isFault(err, 'bad_request') && describeChain(err).includes('--nonsense'),
  );
});

test('a configuration cannot be changed after it was read', () => {
  const config = loadDaemonConfig({ configFile: file('') }, NOTHING);
  assert.throws(() => {
    Object.assign(config.paths, { state: '/elsewhere' });
  }, TypeError);
});

test('descriptors of socket activation count only for the process they were meant for', () => {
  const env = { LISTEN_PID: '42', LISTEN_FDS: '2', LISTEN_FDNAMES: 'unix:https' };
  assert.deepEqual(readEnvironment(env, 42).listenFds, { unix: 3, https: 4 });
  assert.deepEqual(readEnvironment(env, 43).listenFds, {});
});

test('the watchdog is asked for twice in its time', () => {
  assert.equal(readEnvironment({ WATCHDOG_USEC: '30000000' }, 1).watchdogMs, 15_000);
  assert.equal(readEnvironment({ WATCHDOG_USEC: '30000000', WATCHDOG_PID: '2' }, 1).watchdogMs, null);
  assert.equal(readEnvironment({}, 1).watchdogMs, null);
});

test('programs get a complete PATH and nothing that systemd meant for the daemon', () => {
  const env = programEnvironment({
    PATH: '/opt/bin',
    LISTEN_FDS: '1',
    NOTIFY_SOCKET: '/x',
    LANG: 'de_DE',
    http_proxy: 'p',
  });
  assert.equal(env['http_proxy'], 'p');
  assert.equal(env['LISTEN_FDS'], undefined);
  assert.equal(env['NOTIFY_SOCKET'], undefined);
  assert.equal(env['LANG'], undefined);
  assert.ok(env['PATH']?.startsWith('/opt/bin:'));
  assert.ok(env['PATH']?.split(':').includes('/usr/sbin'));
});
