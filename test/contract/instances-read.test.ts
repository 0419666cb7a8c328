import assert from 'node:assert/strict';
import { symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { asObject, startInstanceServer } from '../support/instance-server.ts';
import type { InstanceServer } from '../support/instance-server.ts';

describe('lists of instances', () => {
  let server: InstanceServer;
  before(async () => {
    server = await startInstanceServer();
    await server.make('b1', { start: true, config: { 'user.role': 'db' } });
    await server.make('a1', { config: { 'user.role': 'web' } });
  });
  after(() => server.close());

  const list = async (query: string): Promise<unknown[]> => {
    const { status, metadata, error } = await server.call('GET', `/1.0/instances${query}`);
    assert.equal(status, 200, error);
    assert.ok(Array.isArray(metadata));
    return metadata;
  };
  const names = async (query: string) => (await list(query)).map((one) => asObject(one)['name']);

  test('without recursion they are URLs by name, below the path that was used', async () => {
    assert.deepEqual(await list(''), ['/1.0/instances/a1', '/1.0/instances/b1']);
    const { metadata } = await server.call('GET', '/1.0/containers');
    assert.deepEqual(metadata, ['/1.0/containers/a1', '/1.0/containers/b1']);
  });

  test('recursion 1 gives objects without state, recursion 2 adds state, snapshots and backups', async () => {
    const [a1, b1] = (await list('?recursion=1')).map(asObject);
    assert.deepEqual([a1?.['status'], b1?.['status']], ['Stopped', 'Running']);
    assert.deepEqual([a1?.['state'], b1?.['state']], [undefined, undefined]);
    const full = asObject((await list('?recursion=2&filter='))[1]);
    assert.deepEqual([full['snapshots'], full['backups']], [null, null]);
    assert.equal(asObject(full['state'])['pid'], 4711);
  });

  test('a filter looks at config keys, expanded devices and status', async () => {
    assert.deepEqual(await names('?recursion=1&filter=config.user.role%20eq%20db'), ['b1']);
    assert.deepEqual(await names('?recursion=2&filter=status%20eq%20stopped'), ['a1']);
    assert.deepEqual(await list('?filter=name%20eq%20a.*'), ['/1.0/instances/a1']);
    assert.deepEqual(await names('?recursion=1&filter=expanded_devices.root.pool%20eq%20nope'), []);
    assert.equal((await server.call('GET', '/1.0/instances?filter=name')).status, 400);
  });

  test('the type is container or virtual-machine', async () => {
    assert.equal((await list('?instance-type=container')).length, 2);
    assert.deepEqual(await list('?instance-type=virtual-machine'), []);
    assert.equal((await server.call('GET', '/1.0/instances?instance-type=jail')).status, 400);
  });

  test('all projects cannot be asked for together with one', async () => {
    assert.equal((await list('?all-projects=true')).length, 2);
    assert.equal((await server.call('GET', '/1.0/instances?all-projects=true&project=default')).status, 400);
  });

  test('an instance being made is not listed', async () => {
    const row = server.store.byName('default', 'a1');
    await server.store.insert({ ...row, id: 'x', name: 'c1', phase: 'creating' });
    assert.equal((await list('')).length, 2);
    await server.store.remove('x');
  });

  test('one instance has a tag, and with recursion its state', async () => {
    const plain = await server.call('GET', '/1.0/instances/b1');
    const full = await server.call('GET', '/1.0/instances/b1?recursion=1');
    assert.match(plain.reply.headers.etag ?? '', /^"?[0-9a-f]{64}"?$/);
    assert.equal(full.reply.headers.etag, plain.reply.headers.etag);
    assert.ok('state' in asObject(full.metadata));
    assert.deepEqual((await server.call('GET', '/1.0/instances/b1/snapshots')).metadata, []);
    assert.deepEqual((await server.call('GET', '/1.0/instances/b1/backups')).metadata, []);
    assert.equal((await server.call('GET', '/1.0/instances/nobody')).error, 'Instance not found');
    assert.equal((await server.call('GET', '/1.0/instances/nobody/snapshots')).status, 404);
  });
});

describe('metadata and templates of instances', () => {
  let server: InstanceServer;
  let volume = '';
  before(async () => {
    server = await startInstanceServer();
    await server.make('c1');
    volume = server.pool.volumePath({ project: 'default', instance: 'c1' });
  });
  after(() => server.close());

  const base = '/1.0/instances/c1/metadata';
  const templates = `${base}/templates`;

  test('metadata is read, replaced and merged, with its tag', async () => {
    const first = await server.call('GET', base);
    assert.deepEqual(asObject(first.metadata)['templates'], {
      '/etc/hostname': {
        when: ['create', 'copy', 'rename'],
        create_only: false,
        template: 'hostname.tpl',
        properties: {},
      },
    });
    const etag = String(first.reply.headers.etag);
    const patch = { properties: { release: '12' } };
    assert.equal((await server.call('PATCH', base, patch, { 'If-Match': etag })).status, 200);
    assert.equal((await server.call('PATCH', base, patch, { 'If-Match': etag })).status, 412);
    const merged = asObject((await server.call('GET', base)).metadata);
    assert.deepEqual(merged['properties'], { os: 'tiny', release: '12' });
    assert.equal((await server.call('PUT', base, { architecture: 'x86_64' })).status, 200);
    const replaced = asObject((await server.call('GET', base)).metadata);
    assert.deepEqual([replaced['properties'], replaced['templates']], [{}, {}]);
    assert.ok(server.lifecycle.includes('instance-metadata-updated /1.0/instances/c1'));
  });

  test('metadata that is none is refused', async () => {
    const rule = (path: string, template: string) => ({
      architecture: 'x86_64',
      templates: { [path]: { when: ['start'], template } },
    });
    for (const body of [
      { architecture: 'vax' },
      {},
      rule('/etc/../../x', 'a.tpl'),
      rule('etc/x', 'a.tpl'),
      rule('/etc/x', '../a.tpl'),
      rule('/etc/x', 'a/b'),
      rule('/etc/x', ''),
    ]) {
      assert.equal((await server.call('PUT', base, body)).status, 400, JSON.stringify(body));
    }
  });

  test('templates are made, listed, read and removed', async () => {
    const one = `${templates}?path=hosts.tpl`;
    assert.equal((await server.call('POST', one, '127.0.0.1 {{ container.name }}\n')).status, 200);
    assert.deepEqual((await server.call('GET', templates)).metadata, ['hosts.tpl']);
    assert.equal((await server.call('GET', one)).reply.text, '127.0.0.1 {{ container.name }}\n');
    assert.equal((await server.call('DELETE', one)).status, 200);
    assert.equal((await server.call('DELETE', one)).status, 404);
    assert.equal((await server.call('GET', one)).status, 404);
    assert.deepEqual((await server.call('GET', templates)).metadata, []);
  });

  test('a template name that is no plain file name is refused', async () => {
    for (const name of ['../x', 'a/b', '..', '.hidden', 'a%0ab', 'x'.repeat(300)]) {
      const path = `${templates}?path=${name.includes('%') ? name : encodeURIComponent(name)}`;
      for (const method of ['GET', 'POST', 'DELETE']) {
        assert.equal(
          (await server.call(method, path, method === 'POST' ? 'x' : undefined)).status,
          400,
          name,
        );
      }
    }
    assert.equal((await server.call('POST', templates, 'x')).status, 400);
  });

  test('a template larger than the limit is refused', async () => {
    const answer = await server.call('POST', `${templates}?path=big.tpl`, 'x'.repeat(300 * 1024));
    assert.equal(answer.status, 413);
  });

  test('links that an image brought are not followed', async () => {
    await writeFile(join(volume, 'secret'), 'secret');
    await symlink(join(volume, 'secret'), join(volume, 'templates', 'link.tpl'));
    const answer = await server.call('GET', `${templates}?path=link.tpl`);
    assert.equal(answer.status, 400);
    assert.doesNotMatch(answer.reply.text, /"secret"/);
    assert.deepEqual((await server.call('GET', templates)).metadata, []);
  });
});
