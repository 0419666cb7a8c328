import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { finishDelete, undoCreate } from '../../api/instances/delete.ts';
import { finishRenames } from '../../api/instances/rename.ts';
import { isFault } from '../../process/fault.ts';
import { asObject, startInstanceServer } from '../support/instance-server.ts';
import type { InstanceServer } from '../support/instance-server.ts';

describe('creating instances', () => {
  let server: InstanceServer;
  before(async () => {
    server = await startInstanceServer();
  });
  after(() => server.close());

  test('a create from an image stores the row, makes the volume and tells of it', async () => {
    const end = await server.operate('POST', '/1.0/instances', {
      name: 'web1',
      source: { type: 'image', alias: 'tiny' },
      config: { 'limits.memory': '64MiB' },
    });
    assert.equal(end['description'], 'Creating instance');
    assert.equal(end['status'], 'Success');
    assert.deepEqual(end['resources'], {
      instances: ['/1.0/instances/web1'],
      containers: ['/1.0/containers/web1'],
    });
    assert.deepEqual(end['metadata'], { create_instance_from_image_unpack_progress: 'Unpack: 50%' });
    const { metadata } = await server.call('GET', '/1.0/instances/web1');
    const shown = asObject(metadata);
    const config = asObject(shown['config']);
    assert.equal(config['image.os'], 'tiny');
    assert.equal(config['limits.memory'], '64MiB');
    assert.equal(config['volatile.base_image'], 'ab'.repeat(32));
    assert.equal(config['volatile.apply_template'], 'create');
    assert.equal(config['volatile.last_state.idmap'], '[]');
    assert.match(String(config['volatile.uuid']), /^[0-9a-f-]{36}$/);
    assert.match(String(config['volatile.cloud-init.instance-id']), /^[0-9a-f-]{36}$/);
    assert.match(String(config['volatile.eth0.hwaddr']), /^00:16:3e:[0-9a-f]{2}:[0-9a-f]{2}:[0-9a-f]{2}$/);
    assert.equal(shown['status'], 'Stopped');
    assert.equal(shown['status_code'], 102);
    assert.equal(shown['type'], 'container');
    assert.equal(shown['location'], 'none');
    assert.equal(shown['last_used_at'], '1970-01-01T00:00:00Z');
    assert.deepEqual(shown['profiles'], ['default']);
    assert.deepEqual(shown['devices'], {});
    assert.deepEqual(Object.keys(asObject(shown['expanded_devices'])).sort(), ['eth0', 'root']);
    assert.ok(server.lifecycle.includes('instance-created /1.0/instances/web1'));
    assert.equal(server.images.touched, 1);
    assert.ok(await server.pool.exists({ project: 'default', instance: 'web1' }));
  });

  test('a create without a name gets one of two words', async () => {
    const asked = await server.call('POST', '/1.0/instances', { source: { type: 'none' } });
    assert.equal(asked.status, 202);
    const [url] = asObject(asObject(asked.metadata)['resources'])['instances'] as string[]; // a list of URLs, as the next line checks
    assert.match(url ?? '', /^\/1\.0\/instances\/[a-z]+-[a-z]+$/);
  });

  test('an instance type becomes limits, which explicit keys override', async () => {
    const row = await server.make('typed', { instance_type: 'c2-m4', config: { 'limits.cpu': '1' } });
    assert.equal(row.config['limits.cpu'], '1');
    assert.equal(row.config['limits.memory'], '4096MB');
  });

  test('a size of the root disk reaches the pool in bytes', async () => {
    await server.make('sized', {
      devices: { root: { type: 'disk', path: '/', pool: 'default', size: '1GiB' } },
    });
    const path = server.pool.volumePath({ project: 'default', instance: 'sized' });
    assert.equal(server.pool.sizes.get(path), 2 ** 30);
  });

  test('a create with start:true runs in the same operation', async () => {
    const row = await server.make('started', { start: true });
    assert.equal(server.runtime.status(row.id), 'Running');
    assert.ok(server.lifecycle.includes('instance-started /1.0/instances/started'));
  });

  test('when the start of a create with start:true fails the instance stays', async () => {
    server.runtime.faults.start = new Error('no cgroup');
    const end = await server.operate('POST', '/1.0/instances', {
      name: 'unstarted',
      source: { type: 'none' },
      start: true,
    });
    delete server.runtime.faults.start;
    assert.equal(end['status'], 'Failure');
    assert.equal(server.store.byName('default', 'unstarted').phase, 'ready');
  });

  test('null maps and lists, as Go clients send them, are empty ones and the default profile', async () => {
    const row = await server.make('go', { config: null, devices: null, profiles: null, description: null });
    assert.deepEqual(row.profiles, ['default']);
    assert.deepEqual(row.devices, {});
  });

  test('two creates of one name at once have one winner, and the other is told 409', async () => {
    const body = { name: 'twin', source: { type: 'none' } };
    const [a, b] = await Promise.all([
      server.call('POST', '/1.0/instances', body),
      server.call('POST', '/1.0/instances', body),
    ]);
    assert.deepEqual([a.status, b.status].sort(), [202, 409]);
    assert.match(`${a.error}${b.error}`, /Instance "twin" already exists/);
  });

  const refused: readonly (readonly [string, number, RegExp, Record<string, unknown>])[] = [
    ['a taken name', 409, /already exists/, { name: 'web1' }],
    ['a name that is no host name', 400, /Invalid instance name/, { name: 'a_b' }],
    ['a name that begins with a digit', 400, /Invalid instance name/, { name: '1a' }],
    ['a name that leaves the folder', 400, /Invalid instance name/, { name: '../x' }],
    ['a virtual machine', 400, /virtual machines are not supported/, { type: 'virtual-machine' }],
    ['an unknown type', 400, /unknown instance type/, { type: 'jail' }],
    ['an unknown source', 400, /unknown source type/, { source: { type: 'magic' } }],
    ['no source', 400, /unknown source type/, { source: null }],
    [
      'an image source that says nothing',
      400,
      /alias, a fingerprint or properties/,
      { source: { type: 'image' } },
    ],
    ['an unknown image', 404, /not found/, { source: { type: 'image', alias: 'nope' } }],
    [
      'an image of another server',
      501,
      /another server/,
      { source: { type: 'image', alias: 'x', server: 'https://x' } },
    ],
    ['a migration', 501, /between servers/, { source: { type: 'migration', mode: 'pull' } }],
    ['a copy of nothing', 400, /name of an instance/, { source: { type: 'copy' } }],
    [
      'a copy of an unknown instance',
      404,
      /Instance not found/,
      { source: { type: 'copy', source: 'nope' } },
    ],
    ['a copy of a snapshot', 501, /snapshot/, { source: { type: 'copy', source: 'web1/s0' } }],
    ['an unknown profile', 400, /Requested profile "nope" doesn't exist/, { profiles: ['nope'] }],
    ['a profile named twice', 400, /Duplicate profile/, { profiles: ['default', 'default'] }],
    ['an unknown key', 400, /Unknown configuration key: limits\.magic/, { config: { 'limits.magic': '1' } }],
    ['a bad value', 400, /limits\.memory "12X" is not a size/, { config: { 'limits.memory': '12X' } }],
    ['a device of an unknown type', 400, /Unsupported device type/, { devices: { d: { type: 'magic' } } }],
    ['a device that is not done', 400, /proxy.*not supported yet/, { devices: { d: { type: 'proxy' } } }],
    [
      'an unknown network',
      400,
      /Network "x" not found/,
      { devices: { eth0: { type: 'nic', network: 'x' } } },
    ],
    [
      'no root disk',
      400,
      /No root device could be found/,
      { devices: { root: { type: 'none' } }, profiles: ['default'] },
    ],
    ['an architecture that cannot run', 400, /isn't supported/, { architecture: 'vax' }],
    ['an unknown instance type', 400, /instance type "t9.huge" is not known/, { instance_type: 't9.huge' }],
    [
      'an instance type of no cloud',
      400,
      /"__proto__:toString" is not known/,
      { instance_type: '__proto__:toString' },
    ],
    ['a config value that is no text', 400, /config/, { config: { 'limits.cpu': 2 } }],
    ['a state to restore', 501, /running state/, { stateful: true }],
  ];
  for (const [what, status, text, body] of refused) {
    test(`${what} is refused at once and leaves nothing`, async () => {
      const world =
        what === 'no root disk' ? await startInstanceServer({ pools: ['default', 'second'] }) : server;
      const known = world.store.list().length;
      const answer = await world.call('POST', '/1.0/instances', {
        source: { type: 'none' },
        name: 'refused',
        ...body,
      });
      assert.equal(answer.status, status, answer.error);
      assert.match(answer.error, text);
      assert.equal(world.store.list().length, known);
      if (world !== server) await world.close();
    });
  }

  test('a raw body is a backup to import, which has its place but is not done', async () => {
    const answer = await server.call('POST', '/1.0/instances', 'tar', {
      'Content-Type': 'application/octet-stream',
    });
    assert.equal(answer.status, 501);
    assert.match(answer.error, /backup/);
  });

  test('without a root disk the only pool is used', async () => {
    const row = await server.make('rootless', { profiles: [] });
    assert.deepEqual(row.devices, { root: { type: 'disk', path: '/', pool: 'default' } });
    assert.equal(row.pool, 'default');
  });

  test('a create that fails on storage leaves no row, no volume and a free name', async () => {
    server.pool.faults.create = new Error('disk on fire');
    const body = { name: 'burnt', source: { type: 'none' } };
    const end = await server.operate('POST', '/1.0/instances', body);
    delete server.pool.faults.create;
    assert.equal(end['status'], 'Failure');
    assert.ok(!server.store.has('default', 'burnt'));
    assert.equal((await server.operate('POST', '/1.0/instances', body))['status'], 'Success');
  });

  test('a cancelled create leaves nothing', async () => {
    server.pool.barrier.close();
    const asked = await server.call('POST', '/1.0/instances', { name: 'gone', source: { type: 'none' } });
    const id = String(asObject(asked.metadata)['id']);
    assert.equal((await server.call('GET', '/1.0/instances/gone')).status, 404, 'not yet there');
    assert.ok(server.store.has('default', 'gone'), 'but its name is taken');
    assert.equal((await server.call('DELETE', `/1.0/operations/${id}`)).status, 200);
    const end = asObject((await server.call('GET', `/1.0/operations/${id}/wait`)).metadata);
    server.pool.barrier.open();
    assert.equal(end['status'], 'Cancelled');
    assert.ok(!server.store.has('default', 'gone'));
  });

  test('a copy has the definition of its source and an identity of its own', async () => {
    const source = await server.make('orig', {
      config: { 'user.a': '1', 'user.b': '2' },
      devices: { data: { type: 'disk', source: '/tmp', path: '/data' } },
      description: 'first',
    });
    const end = await server.operate('POST', '/1.0/instances', {
      name: 'copied',
      source: { type: 'copy', source: 'orig' },
      config: { 'user.b': 'new', 'volatile.eth0.hwaddr': source.config['volatile.eth0.hwaddr'] },
    });
    assert.equal(end['status'], 'Success', String(end['err']));
    const copy = server.store.byName('default', 'copied');
    assert.equal(copy.config['user.a'], '1');
    assert.equal(copy.config['user.b'], 'new');
    assert.equal(copy.config['volatile.base_image'], source.config['volatile.base_image']);
    assert.equal(copy.config['volatile.apply_template'], 'copy');
    for (const key of ['volatile.uuid', 'volatile.cloud-init.instance-id', 'volatile.eth0.hwaddr']) {
      assert.notEqual(copy.config[key], source.config[key], key);
    }
    assert.deepEqual(copy.devices, source.devices);
    assert.deepEqual(server.pool.created.at(-1)?.source, {
      kind: 'copy',
      copyOf: { project: 'default', instance: 'orig' },
    });
  });

  test('a running source is frozen while it is copied, and thawed also when the copy fails', async () => {
    const row = await server.make('busy', { start: true });
    server.runtime.calls.length = 0;
    await server.operate('POST', '/1.0/instances', {
      name: 'still',
      source: { type: 'copy', source: 'busy' },
    });
    server.pool.faults.create = new Error('full');
    await server.operate('POST', '/1.0/instances', {
      name: 'failed',
      source: { type: 'copy', source: 'busy' },
    });
    delete server.pool.faults.create;
    assert.deepEqual(server.runtime.calls, ['freeze', 'unfreeze', 'freeze', 'unfreeze', 'forget']);
    assert.equal(server.runtime.status(row.id), 'Running');
  });
});

describe('deleting and renaming instances', () => {
  let server: InstanceServer;
  before(async () => {
    server = await startInstanceServer();
  });
  after(() => server.close());

  test('a delete removes volume, row and what the network knows', async () => {
    await server.make('c1');
    const end = await server.operate('DELETE', '/1.0/instances/c1');
    assert.equal(end['description'], 'Deleting instance');
    assert.equal(end['status'], 'Success');
    assert.equal((await server.call('GET', '/1.0/instances/c1')).status, 404);
    assert.ok(!(await server.pool.exists({ project: 'default', instance: 'c1' })));
    assert.ok(server.networks.forgotten.includes('c1'));
    assert.ok(server.lifecycle.includes('instance-deleted /1.0/instances/c1'));
  });

  test('a running instance is not deleted', async () => {
    const row = await server.make('runs');
    server.runtime.set(row.id, 'Running');
    const answer = await server.call('DELETE', '/1.0/instances/runs');
    assert.equal(answer.status, 400);
    assert.match(answer.error, /Instance is running/);
  });

  test('a protected instance is not deleted, whichever way the boolean is written', async () => {
    await server.make('kept', { config: { 'security.protection.delete': 'True' } });
    assert.equal((await server.call('DELETE', '/1.0/instances/kept')).status, 403);
  });

  test('a delete that a crash interrupted is finished, and an unfinished create undone', async () => {
    const row = await server.make('half');
    server.pool.faults.remove = new Error('busy');
    const end = await server.operate('DELETE', '/1.0/instances/half');
    assert.equal(end['status'], 'Failure');
    assert.equal(server.store.byId(row.id).phase, 'deleting');
    delete server.pool.faults.remove;
    await finishDelete(server.parts, server.store.byId(row.id));
    assert.ok(!server.store.has('default', 'half'));
    await finishDelete(server.parts, row);

    const begun = { ...row, id: 'x', name: 'begun', phase: 'creating' as const };
    await server.store.insert(begun);
    await undoCreate(server.parts, begun);
    assert.ok(!server.store.has('default', 'begun'));
  });

  test('a delete that failed may be asked for again', async () => {
    await server.make('again');
    server.pool.faults.remove = new Error('busy');
    await server.operate('DELETE', '/1.0/instances/again');
    delete server.pool.faults.remove;
    assert.equal((await server.operate('DELETE', '/1.0/instances/again'))['status'], 'Success');
  });

  test('an ephemeral instance is gone after its stop', async () => {
    await server.make('brief', { ephemeral: true, start: true });
    await server.operate('PUT', '/1.0/instances/brief/state', { action: 'stop', force: true });
    assert.ok(!server.store.has('default', 'brief'));
    assert.ok(server.lifecycle.includes('instance-deleted /1.0/instances/brief'));
  });

  test('a rename moves the volume and keeps the rest', async () => {
    const row = await server.make('old');
    const end = await server.operate('POST', '/1.0/instances/old', { name: 'new', migration: false });
    assert.equal(end['status'], 'Success', String(end['err']));
    const renamed = server.store.byName('default', 'new');
    assert.equal(renamed.id, row.id);
    assert.equal(renamed.config['volatile.rename.from'], undefined);
    assert.ok(await server.pool.exists({ project: 'default', instance: 'new' }));
    assert.ok(server.lifecycle.includes('instance-renamed /1.0/instances/new'));
    assert.equal((await server.call('GET', '/1.0/instances/old')).status, 404);
  });

  test('a rename is refused for a running instance, a taken name, a bad name and a migration', async () => {
    const row = await server.make('here');
    await server.make('there');
    const ask = (body: unknown) => server.call('POST', '/1.0/instances/here', body);
    assert.equal((await ask({ name: 'there' })).status, 409);
    assert.equal((await ask({ name: 'no/way' })).status, 400);
    assert.equal((await ask({ name: '' })).status, 400);
    assert.equal((await ask({ name: 'x', migration: true })).status, 501);
    server.runtime.set(row.id, 'Running');
    const answer = await ask({ name: 'elsewhere' });
    assert.equal(answer.status, 400);
    assert.match(answer.error, /Renaming of running instance not allowed/);
  });

  test('a rename whose volume cannot move gives the old name back', async () => {
    const row = await server.make('stays');
    server.pool.faults.rename = new Error('stuck');
    const end = await server.operate('POST', '/1.0/instances/stays', { name: 'moves' });
    delete server.pool.faults.rename;
    assert.equal(end['status'], 'Failure');
    assert.deepEqual(server.store.byName('default', 'stays').config, row.config);
    assert.ok(!server.store.has('default', 'moves'));
  });

  test('a rename that a crash interrupted is finished at the next start', async () => {
    const row = await server.make('before');
    await server.store.change(row.id, {
      name: 'after',
      config: { ...row.config, 'volatile.rename.from': 'before' },
    });
    await finishRenames(server.parts);
    assert.ok(await server.pool.exists({ project: 'default', instance: 'after' }));
    assert.equal(server.store.byId(row.id).config['volatile.rename.from'], undefined);
    await finishRenames(server.parts);
  });

  test('names are looked up in their project only', () => {
    assert.throws(
      () => server.store.byName('other', 'here'),
      (err) => isFault(err, 'not_found'),
    );
  });
});
