import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { after, before, describe, test } from 'node:test';
import { storageRoutes } from '../../api/routes/storage.ts';
import { storageVolumeRoutes } from '../../api/routes/storage-volumes.ts';
import { send, type Reply, type Send, type Target } from '../support/http-client.ts';
import { startServer, type TestServer } from '../support/http-server.ts';
import { StorageDaemon, volume } from '../support/storage-daemon.ts';

const run = promisify(execFile);
const signal = new AbortController().signal;

describe('pools over HTTP', () => {
  const daemon = new StorageDaemon();
  let server: TestServer;
  let local: Target;
  const scratch = join(daemon.state, 'scratch');

  before(async () => {
    await daemon.open();
    mkdirSync(scratch);
    server = await startServer({
      shared: { events: daemon.events, operations: daemon.operations },
      routes: [...storageRoutes(daemon.pools), ...storageVolumeRoutes(daemon.pools)],
    });
    local = { socketPath: server.socketPath };
  });
  after(async () => {
    await server.close();
    await daemon.close();
    assert.deepEqual(server.errors, []);
  });

  const ask = (what: Send): Promise<Reply> => send(local, what);
  const get = (path: string): Promise<Reply> => ask({ path });
  const json = (method: string, path: string, body: unknown, headers = {}): Promise<Reply> =>
    ask({ method, path, body: JSON.stringify(body), headers });
  const metadata = (reply: Reply): Record<string, unknown> =>
    reply.json()['metadata'] as Record<string, unknown>;
  const lxc = async (...args: readonly string[]): Promise<string> => {
    const env = { ...process.env, LXD_DIR: dirname(server.socketPath), LXD_CONF: join(scratch, 'lxc') };
    return (await run('lxc', args, { env, cwd: scratch })).stdout;
  };

  test('pools answer as LXD’s do', async () => {
    const made = await json('POST', '/1.0/storage-pools', {
      name: 'p1',
      driver: 'dir',
      config: null,
      description: 'd',
    });
    assert.deepEqual([made.status, made.headers.location], [201, '/1.0/storage-pools/p1']);
    const shown = await get('/1.0/storage-pools/p1');
    assert.deepEqual(metadata(shown), {
      config: { source: join(daemon.paths.pools, 'p1') },
      description: 'd',
      name: 'p1',
      driver: 'dir',
      used_by: [],
      status: 'Created',
      locations: ['none'],
    });
    const space = metadata(await get('/1.0/storage-pools/p1/resources'));
    assert.deepEqual(Object.keys(space), ['space', 'inodes']);
    await daemon.pools.get('p1').create(volume('c1'), { kind: 'empty' }, { sizeBytes: 64 * 2 ** 20, signal });
    const list = (await get('/1.0/storage-pools/p1/volumes?recursion=1&filter=')).json()['metadata'];
    assert.deepEqual(list, [
      {
        config: {},
        description: '',
        name: 'c1',
        type: 'container',
        used_by: ['/1.0/instances/c1'],
        location: 'none',
        content_type: 'filesystem',
        project: 'default',
        created_at: '0001-01-01T00:00:00Z',
      },
    ]);
    const cases: [string, string, unknown, number][] = [
      ['POST', '/1.0/storage-pools', { name: 'p1', driver: 'dir' }, 409],
      ['POST', '/1.0/storage-pools', { name: 'p2', driver: 'zfs' }, 400],
      ['POST', '/1.0/storage-pools', { name: 'p2', driver: 'dir', config: { source: 5 } }, 400],
      ['GET', '/1.0/storage-pools/none', undefined, 404],
      ['GET', '/1.0/storage-pools/p1/volumes/container/c1', undefined, 200],
      ['GET', '/1.0/storage-pools/p1/volumes/container/c1/state', undefined, 200],
      ['GET', '/1.0/storage-pools/p1/volumes/custom', undefined, 200],
      ['GET', '/1.0/storage-pools/p1/volumes/custom/v', undefined, 404],
      ['GET', '/1.0/storage-pools/p1/volumes/nonsense', undefined, 400],
      ['POST', '/1.0/storage-pools/p1/volumes/custom', { name: 'v', type: 'custom' }, 501],
      ['POST', '/1.0/storage-pools/p1/volumes/container', { name: 'v' }, 400],
      ['DELETE', '/1.0/storage-pools/p1/volumes/container/c1', undefined, 400],
      ['PUT', '/1.0/storage-pools/p1', { config: { source: '/other' } }, 400],
      ['DELETE', '/1.0/storage-pools/p1', undefined, 400],
    ];
    for (const [method, path, body, status] of cases) {
      const reply = await ask({
        method,
        path,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      assert.equal(reply.status, status, `${method} ${path}: ${reply.text}`);
    }
    const etag = String(shown.headers.etag);
    const edit = { config: { 'user.x': 'y' }, description: 'changed' };
    assert.equal((await json('PUT', '/1.0/storage-pools/p1', edit, { 'If-Match': etag })).status, 200);
    assert.equal((await json('PUT', '/1.0/storage-pools/p1', edit, { 'If-Match': etag })).status, 412);
    await daemon.pools.get('p1').remove(volume('c1'));
    assert.equal((await ask({ method: 'DELETE', path: '/1.0/storage-pools/p1' })).status, 200);
  });

  test('the unmodified lxc client makes, shows, edits and deletes pools', async () => {
    await lxc('storage', 'create', 'mine', 'overlay', 'user.note=hi');
    assert.match(await lxc('storage', 'list', '--format', 'csv'), /^mine,overlay,/m);
    assert.match(await lxc('storage', 'info', 'mine'), /total space/);
    assert.equal((await lxc('storage', 'get', 'mine', 'user.note')).trim(), 'hi');
    await lxc('storage', 'set', 'mine', 'user.note', 'ho');
    assert.match(await lxc('storage', 'show', 'mine'), /user.note: ho/);
    assert.equal((await lxc('storage', 'volume', 'list', 'mine', '--format', 'csv')).trim(), '');
    await assert.rejects(lxc('storage', 'volume', 'create', 'mine', 'v1'), /not implemented/);
    await lxc('storage', 'delete', 'mine');
    assert.deepEqual(daemon.pools.names(), []);
  });
});
