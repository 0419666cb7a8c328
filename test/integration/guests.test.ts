import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import WebSocket from 'ws';
import { clearDeadLxcfs, LXCFS_FOLDER, lxcfsState } from '../../api/lxcfs.ts';
import { buildDebianImage } from '../../api/setup/debian-image.ts';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

/** Images of Debian take a minute to make; they are kept between runs. */
const CACHE = join(tmpdir(), 'slipway-guest-images');
const SYSTEMD = ['bookworm', 'trixie'] as const;
const ALL = [...SYSTEMD, 'tiny'] as const;
const DEADLINE_MS = 60_000;
let daemon: SlipwayDaemon;
let lxcfs: ChildProcess | null = null;

before(async () => {
  lxcfs = await startLxcfs();
  daemon = await SlipwayDaemon.start();
  await daemon.furnish('rcguest0');
  await daemon.importImage(await buildTinyImage(daemon.dir), 'tiny');
  for (const suite of SYSTEMD) {
    const kept = join(CACHE, `${suite}.tar.zst`);
    await daemon.importImage(existsSync(kept) ? kept : await buildDebianImage(CACHE, { suite }), suite);
  }
  for (const name of ALL) {
    await daemon.done('POST', '/1.0/instances', {
      name,
      source: { type: 'image', alias: name },
      config: {
        'limits.memory': '256MiB',
        'limits.cpu': '1',
        'security.idmap.isolated': 'true',
        'user.user-data': `#cloud-config\nhostname: ${name}\n`,
        'cloud-init.vendor-data': '#cloud-config\n',
      },
    });
    await daemon.done('PUT', `/1.0/instances/${name}/state`, { action: 'start' });
  }
});

after(async () => {
  try {
    await daemon.destroy();
  } finally {
    if (lxcfs?.kill('SIGTERM') === true) await once(lxcfs, 'exit');
  }
});

/** Null when it runs already, or is not installed. One that was killed is replaced. */
async function startLxcfs(): Promise<ChildProcess | null> {
  await clearDeadLxcfs(LXCFS_FOLDER);
  if ((await lxcfsState(LXCFS_FOLDER)) === 'running' || !existsSync('/usr/bin/lxcfs')) return null;
  await mkdir(LXCFS_FOLDER, { recursive: true });
  const child = spawn(
    '/usr/bin/lxcfs',
    ['-f', `--pidfile=${join(tmpdir(), 'slipway-guests-lxcfs.pid')}`, LXCFS_FOLDER],
    { stdio: 'ignore' },
  );
  await until('lxcfs is mounted', async () => ((await lxcfsState(LXCFS_FOLDER)) === 'running' ? true : null));
  return child;
}

/** Asks until the answer is there, or for a minute. */
async function until<T>(what: string, ask: () => Promise<T | null>): Promise<T> {
  const end = Date.now() + DEADLINE_MS;
  for (;;) {
    const found = await ask();
    if (found !== null) return found;
    if (Date.now() > end) throw new Error(`${what}: not within ${String(DEADLINE_MS)} ms`);
    await sleep(50);
  }
}

interface Ended {
  readonly code: number;
  readonly out: string;
}

async function exec(name: string, ...command: string[]): Promise<Ended> {
  const body = { command, 'record-output': true, 'wait-for-websocket': false, interactive: false };
  const { metadata } = await daemon.done('POST', `/1.0/instances/${name}/exec`, body);
  return { code: Number(metadata.return), out: await text(String(metadata.output['1'])) };
}

function text(path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    http
      .get({ socketPath: daemon.socket, path, agent: false }, (res) => {
        let all = '';
        res.setEncoding('utf8').on('data', (chunk: string) => (all += chunk));
        res.on('end', () => {
          resolve(all);
        });
      })
      .on('error', reject);
  });
}

interface State {
  readonly status: string;
  readonly pid: number;
}

async function state(name: string): Promise<State> {
  const { status, pid } = await daemon.done('GET', `/1.0/instances/${name}/state`);
  return { status: String(status), pid: Number(pid) };
}

interface Address {
  readonly family: string;
  readonly address: string;
  readonly scope: string;
}

function address(name: string, family: string): Promise<string> {
  return until(`${family} address of ${name}`, async () => {
    const { network } = await daemon.done('GET', `/1.0/instances/${name}/state`);
    const addresses = (network?.eth0?.addresses ?? []) as Address[]; // as LXD shows them
    return addresses.find((one) => one.family === family && one.scope === 'global')?.address ?? null;
  });
}

for (const name of SYSTEMD) {
  test(`${name} boots to "running" without a failed unit`, async () => {
    const reached = await until(`${name} has booted`, async () => {
      const { out } = await exec(name, 'systemctl', 'is-system-running');
      return /^(running|degraded)/.test(out) ? out.trim() : null;
    });
    assert.equal(reached, 'running', (await exec(name, 'systemctl', '--failed', '--no-legend')).out);
  });
}

for (const name of ALL) {
  test(`${name} has addresses of the bridge, its limits and an id range of its own`, async () => {
    assert.equal((await state(name)).status, 'Running');
    const { config } = await daemon.done('GET', '/1.0/networks/rcguest0');
    const prefix = String(config['ipv4.address']).split('.').slice(0, 3).join('.');
    assert.ok((await address(name, 'inet')).startsWith(`${prefix}.`));
    assert.match(await address(name, 'inet6'), /^fd42:/);
    assert.equal((await exec(name, 'nproc')).out, '1\n');
    if (existsSync(`${LXCFS_FOLDER}/proc/meminfo`)) {
      const meminfo = (await exec(name, 'cat', '/proc/meminfo')).out;
      assert.equal(/^MemTotal: +(\d+) kB$/m.exec(meminfo)?.[1], String(256 * 1024));
      assert.ok(Number((await exec(name, 'cat', '/proc/uptime')).out.split(' ')[0]) < 600);
    }
  });
}

test('no two guests share an id of the host', async () => {
  const bases = await Promise.all(
    ALL.map(async (name) => {
      const map = await readFile(`/proc/${String((await state(name)).pid)}/uid_map`, 'utf8');
      const [inside, host, count] = map.trim().split(/\s+/).map(Number);
      assert.equal(inside, 0);
      return [host ?? 0, count ?? 0] as const;
    }),
  );
  const sorted = bases.toSorted(([a], [b]) => a - b);
  for (const [at, [host, count]] of sorted.entries()) {
    assert.ok(host >= 65536 && count >= 65536);
    const next = sorted[at + 1];
    if (next !== undefined) assert.ok(host + count <= next[0]);
  }
});

test('every guest reaches every other by name over TCP', async () => {
  for (const name of ALL) await address(name, 'inet');
  const push = await readFile('/bin/busybox');
  for (const name of ALL) {
    await write(name, '/usr/local/bin/busybox', push);
    await exec(
      name,
      'sh',
      '-c',
      'mkdir -p /w; uname -n > /w/name; /usr/local/bin/busybox httpd -p 8080 -h /w',
    );
  }
  for (const from of ALL)
    for (const to of ALL) {
      if (from === to) continue;
      const got = await until(`${from} reaches ${to}`, async () => {
        const { code, out } = await exec(
          from,
          '/usr/local/bin/busybox',
          'wget',
          '-q',
          '-O',
          '-',
          `http://${to}:8080/name`,
        );
        return code === 0 ? out : null;
      });
      assert.equal(got, `${to}\n`);
    }
});

function write(name: string, path: string, content: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const options = {
      socketPath: daemon.socket,
      method: 'POST',
      path: `/1.0/instances/${name}/files?path=${path}`,
      headers: { 'X-LXD-mode': '0755', 'X-LXD-type': 'file' },
      agent: false,
    };
    const req = http.request(options, (res) => {
      res.resume().on('end', () => {
        if (res.statusCode === 200) resolve();
        else reject(new Error(`write ${path} in ${name}: ${String(res.statusCode)}`));
      });
    });
    req.on('error', reject);
    req.end(content);
  });
}

test('a guest reads its keys, its name and its seed at /dev/lxd', async () => {
  const read = async (path: string) => {
    const viaPerl =
      'use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => "/dev/lxd/sock") or die $!; ' +
      `print $s "GET ${path} HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n"; print while <$s>;`;
    const { code, out } = await exec('bookworm', 'perl', '-e', viaPerl);
    assert.equal(code, 0, out);
    return out;
  };
  assert.match(await read('/1.0/config/user.user-data'), /#cloud-config\nhostname: bookworm/);
  assert.match(await read('/1.0/config'), /cloud-init\.vendor-data/);
  assert.match(await read('/1.0/meta-data'), /local-hostname: bookworm/);
});

test('a guest that may nest mounts a proc of its own', async () => {
  await daemon.done('POST', '/1.0/instances', {
    name: 'nest',
    source: { type: 'image', alias: 'bookworm' },
    config: { 'security.nesting': 'true' },
  });
  await daemon.done('PUT', '/1.0/instances/nest/state', { action: 'start' });
  const mount = 'mount -t proc proc /mnt && test -r /mnt/self/status && echo mounted';
  const inside = await exec('nest', 'unshare', '-Urpf', '--mount', 'sh', '-c', mount);
  assert.deepEqual(inside, { code: 0, out: 'mounted\n' });
  await daemon.done('PUT', '/1.0/instances/nest/state', { action: 'stop', force: true });
});

for (const name of ALL) {
  test(`${name} that reboots itself starts anew, and says so`, async () => {
    const before = await state(name);
    const heard = await listen(async () => {
      await exec(name, ...(name === 'tiny' ? ['reboot'] : ['systemctl', 'reboot', '--no-block']));
      await until(`${name} is back`, async () => {
        const now = await state(name);
        return now.status === 'Running' && now.pid !== before.pid ? now : null;
      });
      await until(`${name} says so`, () =>
        Promise.resolve(heardOf(name, 'instance-restarted') ? true : null),
      );
    });
    assert.ok(heard.includes(`instance-restarted ${name}`));
    await address(name, 'inet');
  });
}

for (const name of ALL) {
  test(`${name} stops cleanly when asked, and starts again`, async () => {
    if (name !== 'tiny') {
      await until(`${name} has booted`, async () =>
        /^(running|degraded)/.test((await exec(name, 'systemctl', 'is-system-running')).out) ? true : null,
      );
    }
    await daemon.done('PUT', `/1.0/instances/${name}/state`, { action: 'stop', timeout: 30 });
    assert.equal((await state(name)).status, 'Stopped');
    await daemon.done('PUT', `/1.0/instances/${name}/state`, { action: 'start' });
    await address(name, 'inet');
  });
}

for (const name of ALL) {
  test(`${name} that powers itself off is stopped, and says so`, async () => {
    const heard = await listen(async () => {
      await exec(name, ...(name === 'tiny' ? ['poweroff'] : ['systemctl', 'poweroff', '--no-block']));
      await until(`${name} is off`, async () => ((await state(name)).status === 'Stopped' ? true : null));
      await until(`${name} says so`, () => Promise.resolve(heardOf(name, 'instance-shutdown') ? true : null));
    });
    assert.ok(heard.includes(`instance-shutdown ${name}`));
  });
}

let events: string[] = [];

function heardOf(name: string, action: string): boolean {
  return events.includes(`${action} ${name}`);
}

/** The lifecycle events of the time that `act` takes, as "action name". */
async function listen(act: () => Promise<void>): Promise<readonly string[]> {
  events = [];
  const socket = new WebSocket(`ws+unix:${daemon.socket}:/1.0/events?type=lifecycle`);
  await new Promise((resolve, reject) => {
    socket.once('open', resolve).once('error', reject);
  });
  socket.on('message', (data: Buffer) => {
    // As the daemon writes it.
    const { metadata } = JSON.parse(data.toString()) as { metadata: { action: string; source: string } };
    events.push(`${metadata.action} ${metadata.source.split('/').at(-1) ?? ''}`);
  });
  try {
    await act();
    return events;
  } finally {
    socket.terminate();
  }
}
