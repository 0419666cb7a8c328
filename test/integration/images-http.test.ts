import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { after, before, describe, test } from 'node:test';
import { makeServerCertificate } from '../../api/http/server-certificate.ts';
import { imageAliasRoutes } from '../../api/routes/image-aliases.ts';
import { imageRoutes } from '../../api/routes/images.ts';
import { storageRoutes } from '../../api/routes/storage.ts';
import { storageVolumeRoutes } from '../../api/routes/storage-volumes.ts';
import { send, type Reply, type Send, type Target } from '../support/http-client.ts';
import { startServer, type TestServer } from '../support/http-server.ts';
import { makeDescription, makeRoot, makeUnified, sha256, squashfs, tar } from '../support/image-archives.ts';
import { StorageDaemon } from '../support/storage-daemon.ts';

const run = promisify(execFile);

describe('images over HTTP', () => {
  const daemon = new StorageDaemon();
  let server: TestServer;
  let local: Target;
  const stranger: { port?: number } = {};
  const scratch = join(daemon.state, 'scratch');
  let unified = '';

  before(async () => {
    await daemon.open();
    mkdirSync(scratch);
    server = await startServer({
      https: true,
      shared: { events: daemon.events, operations: daemon.operations },
      routes: [
        ...imageRoutes(daemon.images),
        ...imageAliasRoutes(daemon.images),
        ...storageRoutes(daemon.pools),
        ...storageVolumeRoutes(daemon.pools),
      ],
    });
    local = { socketPath: server.socketPath };
    stranger.port = server.port;
    const source = join(scratch, 'source');
    makeUnified(source);
    unified = tar(join(scratch, 'unified.tar.gz'), source, ['--gzip']);
  });
  after(async () => {
    await server.close();
    await daemon.close();
    assert.deepEqual(server.errors, []);
  });

  const ask = (what: Send, target: Target = local): Promise<Reply> => send(target, what);
  const get = (path: string, target: Target = local): Promise<Reply> => ask({ path }, target);
  const json = (method: string, path: string, body: unknown, headers = {}): Promise<Reply> =>
    ask({ method, path, body: JSON.stringify(body), headers });
  const metadata = (reply: Reply): Record<string, unknown> =>
    reply.json()['metadata'] as Record<string, unknown>;
  /** Waits for the operation of an answer. */
  const finished = async (reply: Reply): Promise<Record<string, unknown>> => {
    assert.equal(reply.status, 202, reply.text);
    const path = String(reply.json()['operation']);
    return metadata(await get(`${path}/wait?timeout=30`));
  };
  const upload = async (
    headers: Record<string, string> = {},
    file = unified,
  ): Promise<Record<string, unknown>> =>
    finished(await ask({ method: 'POST', path: '/1.0/images', body: readFileSync(file), headers }));
  const remove = async (fingerprint: string): Promise<void> => {
    const done = await finished(await ask({ method: 'DELETE', path: `/1.0/images/${fingerprint}` }));
    assert.equal(done['status_code'], 200, JSON.stringify(done));
  };
  const lxc = async (...args: readonly string[]): Promise<string> => {
    const env = { ...process.env, LXD_DIR: dirname(server.socketPath), LXD_CONF: join(scratch, 'lxc') };
    return (await run('lxc', args, { env, cwd: scratch })).stdout;
  };

  test('an upload gives LXD’s operation, image and events', async () => {
    const done = await upload({
      'X-LXD-filename': 'mine.tar.gz',
      'X-LXD-public': '1',
      'X-LXD-properties': 'os=other&extra=a%20b',
      'X-LXD-aliases': 'alias=first',
    });
    const fingerprint = sha256(unified);
    assert.equal(done['description'], 'Downloading image');
    const size = String(readFileSync(unified).length);
    assert.deepEqual(done['metadata'], { fingerprint, size });
    const shown = metadata(await get(`/1.0/images/${fingerprint.slice(0, 10)}`));
    assert.deepEqual(
      { ...shown, uploaded_at: '' },
      {
        auto_update: false,
        properties: { os: 'other', release: '12', description: 'an image of the tests', extra: 'a b' },
        public: true,
        expires_at: '1970-01-01T00:00:00Z',
        profiles: ['default'],
        aliases: [{ name: 'first', description: '' }],
        architecture: 'x86_64',
        cached: false,
        filename: 'mine.tar.gz',
        fingerprint,
        size: Number(size),
        type: 'container',
        created_at: '2023-11-14T22:13:20.000Z',
        last_used_at: '0001-01-01T00:00:00Z',
        uploaded_at: '',
      },
    );
    assert.deepEqual((await get('/1.0/images')).json()['metadata'], [`/1.0/images/${fingerprint}`]);
    const filtered = async (filter: string): Promise<unknown> =>
      (await get(`/1.0/images?recursion=1&filter=${encodeURIComponent(filter)}`)).json()['metadata'];
    assert.equal(((await filtered('properties.os eq other')) as unknown[]).length, 1);
    assert.deepEqual(await filtered('properties.os eq nothing'), []);
    await remove(fingerprint);
    const actions = daemon.seen
      .filter(({ type }) => type === 'lifecycle')
      .map((event) => (event.metadata as { action: string }).action);
    assert.ok(actions.includes('image-created') && actions.includes('image-deleted'), actions.join());
  });

  test('what can be changed is changed, under its ETag', async () => {
    const fingerprint = String(
      (await upload().then((done) => done['metadata'] as Record<string, unknown>))['fingerprint'],
    );
    const path = `/1.0/images/${fingerprint}`;
    const etag = String((await get(path)).headers.etag);
    assert.equal(
      (await json('PATCH', path, { properties: { os: null, mine: 'x' } }, { 'If-Match': etag })).status,
      200,
    );
    assert.equal((await json('PUT', path, { public: true }, { 'If-Match': etag })).status, 412);
    const put = {
      public: true,
      properties: { a: 'b' },
      expires_at: '2030-01-01T00:00:00Z',
      profiles: ['default'],
      auto_update: false,
    };
    assert.equal((await json('PUT', path, put)).status, 200);
    const shown = metadata(await get(path));
    assert.deepEqual(
      [shown['public'], shown['properties'], shown['expires_at']],
      [true, { a: 'b' }, '2030-01-01T00:00:00.000Z'],
    );
    for (const wrong of [
      { public: 'yes' },
      { properties: ['x'] },
      { expires_at: 'soon' },
      { profiles: ['nowhere'] },
      [],
      7,
    ]) {
      assert.equal((await json('PUT', path, wrong)).status, 400, JSON.stringify(wrong));
    }
    await daemon.images.removeExpired(new Date('2031-01-01T00:00:00Z'));
    assert.equal((await get(path)).status, 404);
  });

  test('a private image does not exist for strangers, unless they have its secret', async () => {
    const fingerprint = sha256(unified);
    await upload();
    const path = `/1.0/images/${fingerprint}`;
    assert.deepEqual((await get('/1.0/images', stranger)).json()['metadata'], []);
    for (const suffix of ['', '/export', '?secret=wrong', '/export?secret=']) {
      assert.equal((await get(`${path}${suffix}`, stranger)).status, 404, suffix);
    }
    assert.equal((await ask({ method: 'POST', path: `${path}/secret` }, stranger)).status, 403);
    const token = metadata(await ask({ method: 'POST', path: `${path}/secret` }));
    assert.equal(token['class'], 'token');
    const secret = String((token['metadata'] as Record<string, unknown>)['secret']);
    assert.equal((await get(`${path}?secret=${secret}`, stranger)).status, 200);
    // The token is used up by that, but honoured for the file that follows.
    const file = await get(`${path}/export?secret=${secret}`, stranger);
    assert.equal(file.status, 200);
    assert.deepEqual(file.bytes, readFileSync(unified));
    assert.match(String(file.headers['content-disposition']), new RegExp(`${fingerprint}\\.tar\\.gz`));
    await json('PATCH', path, { public: true });
    assert.equal((await get('/1.0/images', stranger)).text.includes(fingerprint), true);
    assert.equal((await get(`${path}/export`, stranger)).status, 200);
    await remove(fingerprint);
  });

  test('strangers cannot send images, change them or see aliases of private ones', async () => {
    await upload();
    const fingerprint = sha256(unified);
    await json('POST', '/1.0/images/aliases', { name: 'hidden/one', target: fingerprint });
    const body = readFileSync(unified);
    assert.equal((await ask({ method: 'POST', path: '/1.0/images', body }, stranger)).status, 403);
    assert.equal((await get('/1.0/images/aliases/hidden/one', stranger)).status, 404);
    assert.equal((await get('/1.0/images/aliases', stranger)).status, 403);
    assert.equal((await ask({ method: 'DELETE', path: `/1.0/images/${fingerprint}` }, stranger)).status, 403);
    assert.deepEqual(readdirSync(daemon.paths.images), [fingerprint]);
    await remove(fingerprint);
  });

  test('a restricted certificate sees no more than the public of other projects', async () => {
    await upload();
    const fingerprint = sha256(unified);
    const laptop = await makeServerCertificate('laptop');
    await server.trust.add({
      fingerprint: laptop.fingerprint,
      type: 'client',
      name: 'laptop',
      restricted: true,
      projects: ['p1'],
      certificate: laptop.certificate,
    });
    const restricted = { port: server.port, cert: laptop.certificate, key: laptop.key };
    assert.equal((await get(`/1.0/images/${fingerprint}`, restricted)).status, 404);
    assert.equal((await ask({ method: 'POST', path: '/1.0/images', body: 'x' }, restricted)).status, 403);
    await server.trust.remove(laptop.fingerprint);
    await remove(fingerprint);
  });

  test('aliases are made, moved, renamed and removed, with slashes in their names', async () => {
    await upload();
    const fingerprint = sha256(unified);
    const base = '/1.0/images/aliases';
    const made = await json('POST', base, { name: 'debian/12', target: fingerprint, description: 'd' });
    assert.deepEqual([made.status, made.headers.location], [201, `${base}/debian/12`]);
    assert.deepEqual(metadata(await get(`${base}/debian%2F12`)), {
      description: 'd',
      target: fingerprint,
      name: 'debian/12',
      type: 'container',
    });
    const cases: [string, string, unknown, number][] = [
      ['POST', base, { name: 'debian/12', target: fingerprint }, 409],
      ['POST', base, { name: 'x' }, 400],
      ['POST', base, { name: 'x', target: 'f'.repeat(64) }, 404],
      ['POST', base, { name: '/x', target: fingerprint }, 400],
      ['POST', base, { name: 7, target: fingerprint }, 400],
      ['PUT', `${base}/debian/12`, { description: 'no target' }, 400],
      ['PATCH', `${base}/debian/12`, { description: 'e' }, 200],
      ['POST', `${base}/debian/12`, { name: 'deb' }, 201],
      ['GET', `${base}/debian/12`, undefined, 404],
      ['GET', `${base}/deb`, undefined, 200],
      ['DELETE', `${base}/deb`, undefined, 200],
      ['DELETE', `${base}/deb`, undefined, 404],
    ];
    for (const [method, path, body, status] of cases) {
      const reply = await ask({
        method,
        path,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      assert.equal(reply.status, status, `${method} ${path} ${JSON.stringify(body)}: ${reply.text}`);
    }
    await remove(fingerprint);
  });

  test('JSON bodies: a URL is downloaded, what is not implemented says so, nonsense is refused', async () => {
    const { server: web, url } = await serve(unified);
    const fingerprint = sha256(unified);
    const source = { type: 'url', url: `${url}/direct`, mode: 'pull' };
    const done = await finished(
      await json('POST', '/1.0/images', { source, public: true, aliases: [{ name: 'web' }] }),
    );
    assert.equal(done['status_code'], 200, JSON.stringify(done));
    assert.equal(metadata(await get('/1.0/images/aliases/web'))['target'], fingerprint);
    await remove(fingerprint);
    const plain = await finished(
      await json('POST', '/1.0/images', { source: { ...source, url: `${url}/file.tar.gz` } }),
    );
    assert.equal(plain['status_code'], 200, JSON.stringify(plain));
    await remove(fingerprint);
    const lying = await finished(
      await json('POST', '/1.0/images', { source: { ...source, url: `${url}/lying` } }),
    );
    assert.match(String(lying['err']), /fingerprints don't match/);
    const gone = await finished(
      await json('POST', '/1.0/images', { source: { ...source, url: `${url}/gone` } }),
    );
    assert.match(String(gone['err']), /404/);
    web.close();
    const cases: [unknown, number][] = [
      [{ source: { type: 'image', server: 'https://example.org' } }, 501],
      [{ source: { type: 'instance', name: 'c1' } }, 501],
      [{ source: { type: 'url', url: 'file:///etc/passwd' } }, 202],
      ...['', '/x', 'x/', 'a\nb'].map((name): [unknown, number] => [{ source, aliases: [{ name }] }, 400]),
      [{ source: { type: 'banana' } }, 400],
      [{ source: 7 }, 400],
      [{}, 400],
      ['{ not json', 400],
    ];
    for (const [body, status] of cases) {
      const reply = await ask({
        method: 'POST',
        path: '/1.0/images',
        body: typeof body === 'string' ? body : JSON.stringify(body),
      });
      assert.equal(reply.status, status, `${JSON.stringify(body)}: ${reply.text}`);
    }
    assert.deepEqual(readdirSync(daemon.paths.images), []);
  });

  test('a client that goes away in the middle of an upload leaves nothing', async () => {
    const { request } = await import('node:http');
    const req = request({
      socketPath: server.socketPath,
      method: 'POST',
      path: '/1.0/images',
      headers: { 'content-length': 1e6 },
    });
    req.on('error', () => undefined);
    req.write(readFileSync(unified).subarray(0, 300));
    await waitFor(() => readdirSync(daemon.paths.images).length === 1);
    req.destroy();
    await waitFor(() => readdirSync(daemon.paths.images).length === 0);
  });

  test('the unmodified lxc client imports, shows, exports, names and deletes images', async () => {
    await lxc('image', 'import', unified, '--alias', 'mine', 'color=blue');
    const fingerprint = sha256(unified);
    assert.match(
      await lxc('image', 'list', '--format', 'csv'),
      new RegExp(`^mine,${fingerprint.slice(0, 12)},no,an image`),
    );
    assert.match(await lxc('image', 'info', 'mine'), /color: blue/);
    assert.match(await lxc('image', 'list', 'color=blue', '--format', 'csv'), /mine/);
    await lxc('image', 'export', 'mine', join(scratch, 'out'));
    assert.equal(sha256(join(scratch, 'out.tar.gz')), fingerprint);
    await lxc('image', 'alias', 'create', 'second/name', fingerprint.slice(0, 12));
    await lxc('image', 'alias', 'rename', 'second/name', 'third');
    assert.match(await lxc('image', 'alias', 'list', '--format', 'csv'), /third/);
    await lxc('image', 'alias', 'delete', 'third');
    await lxc('image', 'set-property', 'mine', 'color', 'red');
    assert.equal((await lxc('image', 'get-property', 'mine', 'color')).trim(), 'red');
    await lxc('image', 'delete', 'mine');
    assert.deepEqual(readdirSync(daemon.paths.images), []);
  });

  test('the unmodified lxc client imports and exports a split image', async () => {
    const description = join(scratch, 'split-meta');
    makeDescription(description);
    const root = join(scratch, 'split-root');
    makeRoot(root);
    const meta = tar(join(scratch, 'meta.tar.xz'), description, ['--xz']);
    const rootfs = squashfs(join(scratch, 'rootfs.squashfs'), root);
    await lxc('image', 'import', meta, rootfs, '--alias', 'split');
    const out = join(scratch, 'exported');
    mkdirSync(out);
    await lxc('image', 'export', 'split', `${out}/`);
    const names = readdirSync(out).sort();
    assert.deepEqual(
      names.map((name) => sha256(join(out, name))).sort(),
      [sha256(meta), sha256(rootfs)].sort(),
      names.join(),
    );
    await lxc('image', 'delete', 'split');
  });
});

async function waitFor(isSo: () => boolean): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!isSo()) {
    assert.ok(Date.now() < deadline, 'it never came');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A web server with an image: named by headers, as a plain file, with a wrong hash, and not at all. */
async function serve(file: string): Promise<{ server: Server; url: string }> {
  const content = readFileSync(file);
  const server = createServer((req, res) => {
    if (req.url === '/gone') {
      res.writeHead(404).end();
      return;
    }
    if (req.method === 'HEAD' && req.url !== '/file.tar.gz') {
      const hash = req.url === '/lying' ? 'a'.repeat(64) : sha256(file);
      const port = String((server.address() as { port: number }).port);
      res
        .writeHead(200, { 'LXD-Image-Hash': hash, 'LXD-Image-URL': `http://127.0.0.1:${port}/file.tar.gz` })
        .end();
      return;
    }
    res.writeHead(200, { 'content-length': content.length }).end(content);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, url: `http://127.0.0.1:${String((server.address() as { port: number }).port)}` };
}
