/**
 * The installed units on a host of their own: a system container with systemd
 * and pure cgroup v2, in which the daemon runs containers again.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { systemPackages } from '../../config/packages.ts';
import { PROGRAM_ROOT } from '../../config/root.ts';
import { LxdClient, type Caller } from '../../driver/lxd/client.ts';
import { until } from '../support/messaging.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';
import { systemImage } from '../support/system-images.ts';

const caller: Caller = { requestId: '' };
const HOST = 'install-host';
const GUEST = 'inner';
const PREFIX = '/opt/slipway';
const STATE = '/var/lib/slipway';
/** The native parts are built for the libraries of this machine: the host inside is of the same release. */
const suite = /^VERSION_CODENAME=(\w+)$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? '';
const skip = ['bookworm', 'trixie'].includes(suite) ? false : 'there is no image of this release';

let scratch = '';
let daemon: SlipwayDaemon;
let client: LxdClient;

/** Packages of this release that the daemon needs. */
function needed(): string[] {
  const isKnown = (name: string): boolean =>
    spawnSync('apt-cache', ['show', '--no-all-versions', name], { stdio: 'ignore' }).status === 0;
  const wanted = systemPackages().filter(({ use }) => use === 'run');
  return wanted.map(({ names }) => names.find(isKnown) ?? '').filter((name) => name !== '');
}

before(
  async () => {
    if (skip !== false) return;
    scratch = mkdtempSync(join(tmpdir(), 'install-systemd-'));
    chmodSync(scratch, 0o711);
    const program = join(scratch, 'program');
    const env = { PATH: process.env['PATH'], PREFIX, DESTDIR: program };
    execFileSync('bash', [join(PROGRAM_ROOT, 'config', 'install.sh')], { env, stdio: 'ignore' });
    // An overlay cannot lie on the overlay that is the root of the host inside.
    mkdirSync(join(scratch, 'state'), { mode: 0o711 });
    daemon = await SlipwayDaemon.start();
    await daemon.done('POST', '/1.0/storage-pools', { name: 'default', driver: 'overlay' });
    await daemon.importImage(await systemImage(suite, [...needed(), 'busybox-static', 'curl']), 'host');
    client = new LxdClient(daemon.socket);
    const disk = (source: string, path: string): Record<string, string> => ({ type: 'disk', source, path });
    await daemon.done('POST', '/1.0/instances', {
      name: HOST,
      source: { type: 'image', alias: 'host' },
      config: { 'security.nesting': 'true', 'security.privileged': 'true' },
      devices: {
        root: { type: 'disk', path: '/', pool: 'default' },
        program: disk(join(program, PREFIX), PREFIX),
        state: disk(join(scratch, 'state'), STATE),
        node: disk(process.execPath, process.execPath),
      },
    });
    await daemon.done('PUT', `/1.0/instances/${HOST}/state`, { action: 'start' });
    await until('the host inside is up', async () => {
      const { stdout } = await client.exec(caller, HOST, ['systemctl', 'is-system-running']);
      return /running|degraded/.test(stdout);
    });
  },
  { timeout: 300_000 },
);

after(async () => {
  if (skip !== false) return;
  await client.exec(caller, HOST, [`${PREFIX}/bin/slipway`, 'down', '--purge']);
  client.close();
  await daemon.destroy();
  rmSync(scratch, { recursive: true, force: true });
});

async function inside(...command: readonly string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await client.exec(caller, HOST, command);
  assert.equal(exitCode, 0, `${command.join(' ')}: ${stdout}${stderr}`);
  return stdout;
}

async function ask(path: string, ...curl: readonly string[]): Promise<Record<string, unknown>> {
  const socket = ['--unix-socket', join(STATE, 'unix.socket'), `http://slipway${path}`];
  const answer: unknown = JSON.parse(await inside('curl', '--silent', ...curl, ...socket));
  // The daemon's envelope.
  return answer as Record<string, unknown>;
}

async function pidOfGuest(): Promise<number> {
  // The shape of an instance's state.
  const { pid } = (await ask(`/1.0/instances/${GUEST}/state`))['metadata'] as { pid: number };
  return pid;
}

const active = async (): Promise<string[]> => {
  const units = ['slipway.socket', 'slipway.service', 'slipway-containers.service'];
  const { stdout } = await client.exec(caller, HOST, ['systemctl', 'is-active', ...units]);
  return stdout.trim().split('\n');
};

test('the units start, and a container runs', { skip, timeout: 120_000 }, async () => {
  const folder = `${PREFIX}/lib/systemd/system`;
  const units = ['slipway.socket', 'slipway.service', 'slipway-containers.service'];
  await inside('systemd-sysusers', `${PREFIX}/lib/sysusers.d/slipway.conf`);
  await inside('systemctl', 'link', ...units.map((unit) => `${folder}/${unit}`));
  await inside('systemctl', 'start', ...units);
  assert.deepEqual(await active(), ['active', 'active', 'active']);
  const out = await inside(`${PREFIX}/bin/slipway`, 'up', '--tiny', '--name', GUEST);
  assert.match(out, /inner is Running/);
  assert.match(out, /daemon \.\.\.\n +running already/);
});

test(
  'a restart of the daemon, and its death, leave the container alone',
  { skip, timeout: 120_000 },
  async () => {
    const pid = await pidOfGuest();
    assert.ok(pid > 0);
    await inside('systemctl', 'restart', 'slipway.service');
    assert.equal(await pidOfGuest(), pid);
    await inside('systemctl', 'kill', '--kill-who=main', '--signal=KILL', 'slipway.service');
    await until('systemd starts it anew', async () => (await active())[1] === 'active');
    assert.equal(await pidOfGuest(), pid);
    assert.deepEqual(await active(), ['active', 'active', 'active']);
  },
);

test(
  'what the host has no controller for is refused, what it has is kept',
  { skip, timeout: 60_000 },
  async () => {
    const controllers = (await inside('cat', '/sys/fs/cgroup/cgroup.controllers')).trim().split(' ');
    const body = JSON.stringify({ config: { 'limits.memory': '64MiB' } });
    const answer = await ask(`/1.0/instances/${GUEST}`, '--request', 'PATCH', '--data', body);
    if (!controllers.includes('memory')) {
      assert.equal(answer['error_code'], 400);
      assert.match(String(answer['error']), /limits\.memory cannot be kept/);
      return;
    }
    assert.equal(answer['status_code'], 200);
    const limit = await inside('cat', `/sys/fs/cgroup/lxc.payload.${GUEST}/memory.max`);
    assert.equal(limit, `${String(64 * 2 ** 20)}\n`);
  },
);

test(
  'a shutdown stops the containers in time, and the next start brings them back',
  { skip, timeout: 120_000 },
  async () => {
    const before = await pidOfGuest();
    await inside('timeout', '60', 'systemctl', 'stop', 'slipway-containers.service');
    assert.deepEqual(await active(), ['active', 'inactive', 'inactive']);
    assert.equal((await client.exec(caller, HOST, ['test', '-e', `/proc/${String(before)}`])).exitCode, 1);
    await inside('systemctl', 'start', 'slipway-containers.service');
    await until('the container runs again', async () => (await pidOfGuest()) > 0);
  },
);
