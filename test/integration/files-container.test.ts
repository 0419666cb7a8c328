import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { chown, mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { openNative } from '../../native/index.ts';
import { Events } from '../../api/events/events.ts';
import { FileSessions } from '../../api/instances/file-sessions.ts';
import { openOperations } from '../../api/operations/operations.ts';
import { instanceFileRoutes } from '../../api/routes/instance-files.ts';
import { Lanes } from '../../process/lanes.ts';
import { SILENT } from '../../process/log.ts';
import { send } from '../support/http-client.ts';
import type { Reply } from '../support/http-client.ts';
import { startServer } from '../support/http-server.ts';
import type { TestServer } from '../support/http-server.ts';
import { instanceParts } from '../support/tiny-instances.ts';
import { makeTinyContainer, outputOf } from '../support/tiny-container.ts';
import type { TinyContainer } from '../support/tiny-container.ts';

const native = openNative();
const lanes = new Lanes();
const events = new Events();
const told: string[] = [];
let running: TinyContainer;
let stopped: TinyContainer;
let files: FileSessions;
let server: TestServer;

before(async () => {
  running = await makeTinyContainer(native, 'reach-files');
  stopped = await makeTinyContainer(native, 'reach-stopped');
  await running.start();
  const known = instanceParts([running, stopped]);
  files = new FileSessions({
    native,
    lanes,
    log: SILENT,
    runtime: known.runtime,
    roots: { rootPlan: () => Promise.resolve(stopped.rootPlan()) },
  });
  events.subscribe((event) => {
    told.push(JSON.stringify(event.metadata));
  });
  const operations = openOperations({ events, log: SILENT });
  const routes = instanceFileRoutes({ store: known.store, events, files });
  server = await startServer({ routes, shared: { events, operations } });
});

after(async () => {
  await server.close();
  await files.closeAll();
  await running.remove();
  await stopped.remove();
  assert.deepEqual(server.errors, []);
});

function url(container: TinyContainer, path: string): string {
  return `/1.0/instances/${container.name}/files?path=${encodeURIComponent(path)}`;
}

function request(
  method: string,
  container: TinyContainer,
  path: string,
  headers: Record<string, string> = {},
  body: string | Buffer = '',
): Promise<Reply> {
  return send({ socketPath: server.socketPath }, { method, path: url(container, path), headers, body });
}

function get(container: TinyContainer, path: string, headers: Record<string, string> = {}): Promise<Reply> {
  return send({ socketPath: server.socketPath }, { path: url(container, path), headers });
}

for (const which of ['running', 'stopped'] as const) {
  const target = (): TinyContainer => (which === 'running' ? running : stopped);

  test(`${which}: a new file gets owner and mode, an old one keeps its own`, async () => {
    const first = await request(
      'POST',
      target(),
      '/tmp/a',
      { 'X-LXD-uid': '33', 'X-LXD-gid': '34', 'X-LXD-mode': '0640' },
      'one',
    );
    assert.equal(first.status, 200);
    assert.deepEqual(first.json()['metadata'], {});
    const again = await request(
      'POST',
      target(),
      'tmp/a',
      { 'X-LXD-uid': '0', 'X-LXD-mode': '0777' },
      'second',
    );
    assert.equal(again.status, 200);
    const read = await get(target(), 'tmp/a');
    assert.equal(read.text, 'second');
    assert.equal(read.headers['content-type'], 'application/octet-stream');
    assert.equal(read.headers['content-disposition'], 'inline;filename=a');
    assert.deepEqual(
      ['x-lxd-uid', 'x-lxd-gid', 'x-lxd-mode', 'x-lxd-type'].map((name) => read.headers[name]),
      ['33', '34', '0640', 'file'],
    );
    assert.match(String(read.headers['x-lxd-modified']), /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000 UTC$/);
  });

  test(`${which}: append adds to a file, and needs one`, async () => {
    await request('POST', target(), '/tmp/log', {}, 'a');
    assert.equal((await request('POST', target(), '/tmp/log', { 'X-LXD-write': 'append' }, 'b')).status, 200);
    assert.equal((await get(target(), '/tmp/log')).text, 'ab');
    assert.equal(
      (await request('POST', target(), '/tmp/none', { 'X-LXD-write': 'append' }, 'b')).status,
      404,
    );
  });

  test(`${which}: directories are made, listed, and removed when they are empty`, async () => {
    const make = (): Promise<Reply> =>
      request('POST', target(), '/tmp/dir', {
        'X-LXD-type': 'directory',
        'X-LXD-mode': '0755',
        'X-LXD-uid': '5',
      });
    assert.equal((await make()).status, 200);
    assert.equal((await make()).status, 200);
    await request('POST', target(), '/tmp/dir/b', {}, '');
    const list = await get(target(), '/tmp/dir');
    assert.deepEqual(list.json()['metadata'], ['b']);
    assert.deepEqual(
      ['x-lxd-uid', 'x-lxd-mode', 'x-lxd-type'].map((name) => list.headers[name]),
      ['5', '0755', 'directory'],
    );
    assert.equal((await request('DELETE', target(), '/tmp/dir')).status, 400);
    assert.equal((await request('DELETE', target(), '/tmp/dir/b')).status, 200);
    assert.equal((await request('DELETE', target(), '/tmp/dir')).status, 200);
    assert.equal((await get(target(), '/tmp/dir')).status, 404);
    const mode = await request('POST', target(), '/tmp/plain', { 'X-LXD-type': 'directory' });
    assert.equal(mode.status, 200);
    assert.equal((await get(target(), '/tmp/plain')).headers['x-lxd-mode'], '0750');
  });

  test(`${which}: links are made as they are given and read as absolute paths`, async () => {
    const make = (text: string): Promise<Reply> =>
      request('POST', target(), '/tmp/link', { 'X-LXD-type': 'symlink' }, text);
    assert.equal((await make('../etc/passwd')).status, 200);
    assert.equal((await make('../etc/passwd')).status, 200);
    assert.equal((await make('/elsewhere')).status, 409);
    const read = await get(target(), '/tmp/link');
    assert.equal(read.text, '/etc/passwd');
    assert.equal(read.headers['x-lxd-type'], 'symlink');
    assert.equal((await make('')).status, 400);
    assert.equal((await make('x'.repeat(5000))).status, 400);
  });

  test(`${which}: HEAD gives the headers alone`, async () => {
    const head = await request('HEAD', target(), '/etc/passwd');
    assert.deepEqual([head.status, head.text, head.headers['x-lxd-type']], [200, '', 'file']);
    assert.equal((await request('HEAD', target(), '/none')).status, 404);
  });

  test(`${which}: ranges of a file`, async () => {
    await request('POST', target(), '/tmp/range', {}, '0123456789');
    const part = await get(target(), '/tmp/range', { Range: 'bytes=2-4' });
    assert.deepEqual([part.status, part.text, part.headers['content-range']], [206, '234', 'bytes 2-4/10']);
  });

  test(`${which}: 100 MB go in and come out unchanged`, async () => {
    const bytes = randomBytes(100 * 1024 * 1024);
    assert.equal((await request('POST', target(), '/tmp/big', {}, bytes)).status, 200);
    const back = await get(target(), '/tmp/big');
    assert.equal(back.bytes.length, bytes.length);
    assert.equal(
      createHash('md5').update(back.bytes).digest('hex'),
      createHash('md5').update(bytes).digest('hex'),
    );
    await request('DELETE', target(), '/tmp/big');
  });

  test(`${which}: bad requests are answered with what is wrong`, async () => {
    const cases: readonly [method: string, path: string, headers: Record<string, string>, status: number][] =
      [
        ['GET', '/no/such', {}, 404],
        ['GET', '/etc/passwd/x', {}, 400],
        ['GET', '/a\0b', {}, 400],
        ['GET', `/${'x'.repeat(5000)}`, {}, 400],
        ['POST', '/no/such/parent', {}, 404],
        ['POST', '/tmp', {}, 400],
        ['POST', '/tmp/x', { 'X-LXD-type': 'fifo' }, 400],
        ['POST', '/tmp/x', { 'X-LXD-write': 'sideways' }, 400],
        ['POST', '/tmp/x', { 'X-LXD-mode': '0999' }, 400],
        ['POST', '/tmp/x', { 'X-LXD-mode': 'rw' }, 400],
        ['POST', '/tmp/x', { 'X-LXD-uid': '-1' }, 400],
        ['POST', '/tmp/x', { 'X-LXD-gid': 'root' }, 400],
        ['POST', '/tmp/outside-the-map', { 'X-LXD-uid': '70000' }, 400],
        ['POST', '/etc/passwd', { 'X-LXD-type': 'directory' }, 409],
        ['DELETE', '/no/such', {}, 404],
        ['DELETE', '/', {}, 400],
      ];
    for (const [method, path, headers, status] of cases) {
      const reply = await request(method, target(), path, headers, method === 'POST' ? 'x' : '');
      assert.equal(
        reply.status,
        status,
        `${method} ${path.slice(0, 40)} ${JSON.stringify(headers)}: ${reply.text}`,
      );
    }
    const none = await send(
      { socketPath: server.socketPath },
      { path: `/1.0/instances/${target().name}/files` },
    );
    assert.equal(none.status, 400);
  });

  test(`${which}: no path leads out of the container`, async () => {
    const secret = join(target().rootfs, '..', 'secret');
    writeFileSync(secret, 'of the host');
    const links: Record<string, string> = {
      up: '../../../../../../../../..',
      host: secret,
      upsecret: '../secret',
      self: '/proc/self/root',
      cwd: '/proc/1/cwd',
      loop: 'loop',
      shadow: '/etc/shadow',
    };
    for (const [name, to] of Object.entries(links)) await symlink(to, join(target().rootfs, 'tmp', name));
    for (const path of [
      '../secret',
      '/../../secret',
      '/tmp/up/secret',
      '/tmp/host',
      '/tmp/upsecret',
      '/tmp/self/secret',
      '/tmp/cwd/../secret',
      '/tmp/loop/x',
      '/tmp/shadow/x',
      `/tmp/self${secret}`,
    ]) {
      const reply = await get(target(), path);
      assert.ok(!reply.text.includes('of the host'), path);
    }
    assert.ok([400, 404].includes((await get(target(), '/tmp/loop/x')).status));
    // A write through a link to the host's path makes a file inside, or none.
    await request('POST', target(), '/tmp/host', {}, 'changed');
    await request('POST', target(), '/tmp/upsecret', {}, 'changed');
    assert.equal(readFileSync(secret, 'utf8'), 'of the host');
    assert.ok(!existsSync(join(target().rootfs, '..', 'created')));
    for (const name of Object.keys(links)) await rm(join(target().rootfs, 'tmp', name));
  });
}

test('pipes and devices are neither opened nor waited for', async () => {
  await outputOf(native, running, ['mkfifo', '/tmp/fifo']);
  assert.equal((await get(running, '/tmp/fifo')).status, 400);
  assert.equal((await request('POST', running, '/tmp/fifo', {}, 'x')).status, 400);
  assert.equal((await get(running, '/dev/zero')).status, 400);
  assert.equal((await request('POST', running, '/dev/null', {}, 'x')).status, 400);
});

test('what the kernel makes up is read with the rights of the container and cannot be written', async () => {
  assert.match((await get(running, '/proc/1/status')).text, /^Name:\s+sleep\n/);
  assert.ok((await get(running, '/proc/uptime')).text.length > 0);
  const before = readFileSync('/proc/sys/kernel/core_pattern', 'utf8');
  for (const path of ['/proc/sys/kernel/core_pattern', '/proc/1/oom_score_adj', '/proc/sysrq-trigger']) {
    const reply = await request('POST', running, path, { 'X-LXD-write': 'append' }, 'x');
    assert.ok([403, 404].includes(reply.status), `${path}: ${reply.text}`);
  }
  assert.equal(readFileSync('/proc/sys/kernel/core_pattern', 'utf8'), before);
  assert.equal((await get(running, '/proc/kmsg')).status, 403);
});

test("files of ids outside the container's map stay closed", async () => {
  const file = join(running.rootfs, 'tmp', 'foreign');
  await writeFile(file, 'x', { mode: 0o600 });
  // An id that has no place in the map: overflow inside, unreadable even for root there.
  await chown(file, 200_000, 200_000);
  assert.equal((await get(running, '/tmp/foreign')).status, 403);
  await rm(file);
});

test('what a guest mounts is seen, as from inside', async () => {
  await mkdir(join(running.rootfs, 'mnt'), { recursive: true });
  await outputOf(native, running, ['sh', '-c', 'mount -t tmpfs none /mnt && echo inside >/mnt/x']);
  assert.equal((await get(running, '/mnt/x')).text, 'inside\n');
});

test('the events tell of files that were read, written and removed', () => {
  for (const action of ['instance-file-retrieved', 'instance-file-pushed', 'instance-file-deleted']) {
    assert.ok(
      told.some((text) => text.includes(action) && text.includes('"path":"/tmp')),
      action,
    );
  }
});

test('a session ends with close, transfers included, and the next request opens another', async () => {
  const helpers = (): number =>
    readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((pid) => commandOf(pid).includes('slipway-helper')).length;
  assert.equal((await get(stopped, '/etc/passwd')).status, 200);
  const before = helpers();
  const id = `id-of-${stopped.name}`;
  let entered: () => void = () => undefined;
  const isIn = new Promise<void>((resolve) => {
    entered = resolve;
  });
  const waiting = assert.rejects(
    files.use(id, (_session, ending) => {
      entered();
      return new Promise((_resolve, reject) => {
        ending.addEventListener('abort', () => {
          reject(new Error('stopped'));
        });
      });
    }),
    { code: 'busy' },
  );
  await isIn;
  // As a start does it: inside the lane.
  await lanes.run(id, () => files.close(id));
  await waiting;
  assert.ok(helpers() < before);
  assert.equal((await get(stopped, '/etc/passwd')).status, 200);
});

test('no descriptor stays behind', async () => {
  const count = (): number => readdirSync('/proc/self/fd').length;
  const once = async (): Promise<void> => {
    await get(running, '/etc/passwd');
    await request('POST', running, '/tmp/fds', {}, 'x');
    await get(running, '/proc/uptime');
    await get(running, '/none');
  };
  await once();
  const before = count();
  for (let i = 0; i < 20; i++) await once();
  for (let turns = 0; count() > before && turns < 1000; turns++) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(count() <= before, `${String(count())} after ${String(before)}`);
});

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1');
  } catch {
    return '';
  }
}
