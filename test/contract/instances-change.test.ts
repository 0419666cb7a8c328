import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { profileHooks } from '../../api/instances/profile-hooks.ts';
import { Fault, isFault } from '../../process/fault.ts';
import { asObject, startInstanceServer } from '../support/instance-server.ts';
import type { InstanceServer } from '../support/instance-server.ts';

/** The body a client sends back after it has read an instance. */
async function readPut(
  server: InstanceServer,
  name: string,
): Promise<{ body: Record<string, unknown>; etag: string }> {
  const { metadata, reply } = await server.call('GET', `/1.0/instances/${name}`);
  const { architecture, config, devices, ephemeral, profiles, description } = asObject(metadata);
  return {
    body: {
      architecture,
      config: asObject(config),
      devices: asObject(devices),
      ephemeral,
      profiles,
      description,
      stateful: false,
    },
    etag: String(reply.headers.etag),
  };
}

describe('changing instances', () => {
  let server: InstanceServer;
  before(async () => {
    server = await startInstanceServer();
  });
  after(() => server.close());

  test('a PUT replaces the definition in an operation', async () => {
    const row = await server.make('c1', { config: { 'user.a': '1', 'user.b': '2' } });
    const { body } = await readPut(server, 'c1');
    const config = { ...asObject(body['config']), 'user.b': '', 'user.c': '3' };
    const end = await server.operate('PUT', '/1.0/instances/c1', { ...body, config, description: 'mine' });
    assert.equal(end['description'], 'Updating instance');
    assert.equal(end['status'], 'Success', String(end['err']));
    const next = server.store.byName('default', 'c1');
    assert.equal(next.config['user.a'], '1');
    assert.equal(next.config['user.b'], undefined);
    assert.equal(next.config['user.c'], '3');
    assert.equal(next.description, 'mine');
    assert.equal(next.config['volatile.eth0.hwaddr'], row.config['volatile.eth0.hwaddr']);
    assert.ok(server.lifecycle.includes('instance-updated /1.0/instances/c1'));
  });

  test('a PATCH is answered at once, merges keys, replaces whole devices and leaves the rest', async () => {
    await server.make('c2', {
      config: { 'user.a': '1', 'user.b': '2' },
      devices: { d: { type: 'disk', source: '/tmp', path: '/d', readonly: 'true' } },
    });
    const answer = await server.call('PATCH', '/1.0/instances/c2', {
      config: { 'user.b': '3', 'user.a': '' },
      devices: { d: { type: 'disk', source: '/var', path: '/d' } },
    });
    assert.equal(answer.status, 200, answer.error);
    assert.deepEqual(answer.metadata, {});
    const row = server.store.byName('default', 'c2');
    assert.equal(row.config['user.a'], undefined);
    assert.equal(row.config['user.b'], '3');
    assert.deepEqual(row.devices, { d: { type: 'disk', source: '/var', path: '/d' } });
    assert.deepEqual(row.profiles, ['default']);
  });

  test('an If-Match that no longer fits is refused with 412, for PUT and PATCH', async () => {
    await server.make('c3');
    const { body, etag } = await readPut(server, 'c3');
    await server.call('PATCH', '/1.0/instances/c3', { config: { 'user.x': '1' } }, { 'If-Match': etag });
    for (const method of ['PUT', 'PATCH']) {
      const answer = await server.call(method, '/1.0/instances/c3', body, { 'If-Match': etag });
      assert.equal(answer.status, 412, method);
    }
  });

  test('of two PUTs with one tag the second fails, also when both were accepted', async () => {
    await server.make('c4');
    const { body, etag } = await readPut(server, 'c4');
    const put = (description: string) =>
      server.call('PUT', '/1.0/instances/c4', { ...body, description }, { 'If-Match': etag });
    const answers = await Promise.all([put('first'), put('second')]);
    const ends: string[] = [];
    for (const answer of answers) {
      if (answer.status === 412) {
        ends.push('refused');
        continue;
      }
      const id = String(asObject(answer.metadata)['id']);
      ends.push(
        String(asObject((await server.call('GET', `/1.0/operations/${id}/wait`)).metadata)['status']),
      );
    }
    assert.equal(ends.filter((end) => end === 'Success').length, 1, ends.join());
    assert.equal(
      server.store.byName('default', 'c4').description,
      answers[0].status === 202 ? 'first' : 'second',
    );
  });

  test('a profile edit changes the tag of its instances', async () => {
    await server.make('c5');
    const { etag } = await readPut(server, 'c5');
    const profile = server.profiles.get({ project: 'default', name: 'default' });
    await server.profiles.update({ ...profile, config: { 'user.p': String(Date.now()) } });
    assert.notEqual((await readPut(server, 'c5')).etag, etag);
    await server.profiles.update(profile);
  });

  test('the daemon keeps its own volatile keys whatever a PUT says, and the id cannot change', async () => {
    const row = await server.make('c6');
    await server.store.setConfig(row.id, {
      'volatile.idmap.next': '[]',
      'volatile.last_state.power': 'RUNNING',
      'volatile.eth0.host_name': 'veth1',
    });
    const before = server.store.byId(row.id).config;
    await server.operate('PUT', '/1.0/instances/c6', { profiles: ['default'], config: { 'user.a': '1' } });
    const after = server.store.byId(row.id).config;
    for (const key of [
      'volatile.uuid',
      'volatile.base_image',
      'volatile.idmap.base',
      'volatile.idmap.next',
      'volatile.last_state.idmap',
      'volatile.last_state.power',
      'volatile.eth0.host_name',
      'volatile.apply_template',
      'volatile.cloud-init.instance-id',
    ]) {
      assert.equal(after[key], before[key], key);
    }
    assert.match(after['volatile.eth0.hwaddr'] ?? '', /^00:16:3e/, 'a MAC that was dropped is made anew');
    const id = '00000000-0000-4000-8000-000000000000';
    const answer = await server.call('PATCH', '/1.0/instances/c6', { config: { 'volatile.uuid': id } });
    assert.equal(answer.status, 400);
    assert.match(answer.error, /volatile\.uuid cannot be changed/);
  });

  test('a new nic gets a MAC, and with a nic its volatile keys go', async () => {
    const row = await server.make('c7');
    await server.call('PATCH', '/1.0/instances/c7', {
      devices: { eth1: { type: 'nic', nictype: 'p2p', name: 'eth1' } },
    });
    const mac = server.store.byId(row.id).config['volatile.eth1.hwaddr'];
    assert.match(mac ?? '', /^00:16:3e/);
    const { body } = await readPut(server, 'c7');
    await server.operate('PUT', '/1.0/instances/c7', { ...body, devices: {} });
    assert.equal(server.store.byId(row.id).config['volatile.eth1.hwaddr'], undefined);
  });

  test('cloud-init runs again when its keys or the nics change, and only then', async () => {
    const row = await server.make('c8');
    const idNow = () => server.store.byId(row.id).config['volatile.cloud-init.instance-id'];
    const first = idNow();
    await server.call('PATCH', '/1.0/instances/c8', { config: { 'user.foo': '1' } });
    assert.equal(idNow(), first);
    await server.call('PATCH', '/1.0/instances/c8', { config: { 'user.user-data': '#cloud-config' } });
    const second = idNow();
    assert.notEqual(second, first);
    await server.call('PATCH', '/1.0/instances/c8', { devices: { eth1: { type: 'nic', nictype: 'p2p' } } });
    assert.notEqual(idNow(), second);
  });

  test('a running instance is told of changes before they are saved', async () => {
    const row = await server.make('c9', { start: true });
    server.runtime.volatile = { 'volatile.eth0.host_name': 'veth9' };
    await server.call('PATCH', '/1.0/instances/c9', { config: { 'limits.memory': '64MiB' } });
    server.runtime.volatile = {};
    const last = server.runtime.applied.at(-1);
    assert.equal(last?.before.config['limits.memory'], undefined);
    assert.equal(last?.after.config['limits.memory'], '64MiB');
    assert.equal(server.store.byId(row.id).config['volatile.eth0.host_name'], 'veth9');
  });

  test('what a running container cannot take is not saved', async () => {
    const row = await server.make('c10', { start: true });
    server.runtime.faults.apply = new Fault('bad_request', 'set memory.max');
    const answer = await server.call('PATCH', '/1.0/instances/c10', { config: { 'limits.memory': '1MiB' } });
    delete server.runtime.faults.apply;
    assert.equal(answer.status, 400);
    assert.equal(server.store.byId(row.id).config['limits.memory'], undefined);
  });

  test('when the row cannot be saved the running container is put back', async () => {
    const row = await server.make('c11', { start: true });
    server.database.failWritesWith(new Fault('storage_full', 'the disk of the database is full'));
    const answer = await server.call('PATCH', '/1.0/instances/c11', { config: { 'user.x': '1' } });
    server.database.failWritesWith(null);
    assert.equal(answer.status, 507);
    const last = server.runtime.applied.at(-1);
    assert.deepEqual([last?.before.config['user.x'], last?.after.config['user.x']], ['1', undefined]);
    assert.equal(server.store.byId(row.id).config['user.x'], undefined);
  });

  test('a new size of the root disk goes to the pool, or waits for the next start', async () => {
    const row = await server.make('c12');
    const root = { type: 'disk', path: '/', pool: 'default', size: '2GiB' };
    await server.call('PATCH', '/1.0/instances/c12', { devices: { root } });
    assert.equal(
      server.pool.sizes.get(server.pool.volumePath({ project: 'default', instance: 'c12' })),
      2 ** 31,
    );
    server.runtime.set(row.id, 'Running');
    server.pool.faults.resize = new Fault(
      'bad_request',
      'the root disk cannot be made smaller while it runs',
    );
    const answer = await server.call('PATCH', '/1.0/instances/c12', {
      devices: { root: { ...root, size: '1GiB' } },
    });
    assert.equal(answer.status, 200, answer.error);
    assert.equal(server.store.byId(row.id).config['volatile.root.apply_quota'], String(2 ** 30));
    delete server.pool.faults.resize;
    await server.call('PATCH', '/1.0/instances/c12', { devices: { root } });
    assert.equal(server.store.byId(row.id).config['volatile.root.apply_quota'], undefined);
  });

  test('a size that cannot be is refused for a stopped instance', async () => {
    await server.make('c13');
    server.pool.faults.resize = new Fault('bad_request', 'smaller than what is in use');
    const root = { type: 'disk', path: '/', pool: 'default', size: '1MiB' };
    const answer = await server.call('PATCH', '/1.0/instances/c13', { devices: { root } });
    delete server.pool.faults.resize;
    assert.equal(answer.status, 400);
    assert.deepEqual(server.store.byName('default', 'c13').devices, {});
  });

  const refused: readonly (readonly [string, RegExp, unknown])[] = [
    ['a second root disk', /root disk/, { devices: { r2: { type: 'disk', path: '/', pool: 'default' } } }],
    [
      'another pool',
      /cannot be changed to "p2"/,
      { devices: { root: { type: 'disk', path: '/', pool: 'p2' } } },
    ],
    ['no root disk', /No root device/, { devices: { root: { type: 'none' } } }],
    [
      'two nics of one name',
      /same interface name/,
      { devices: { e: { type: 'nic', nictype: 'p2p', name: 'eth0' } } },
    ],
    [
      'two disks at one place',
      /same path/,
      {
        devices: {
          a: { type: 'disk', source: '/a', path: '/x' },
          b: { type: 'disk', source: '/b', path: 'x/' },
        },
      },
    ],
    ['an unknown key', /Unknown configuration key/, { config: { nope: '1' } }],
    ['an unknown profile', /doesn't exist/, { profiles: ['nope'] }],
    ['a snapshot to restore', /Restore not supported/, { restore: 's0' }],
  ];
  for (const [what, text, body] of refused) {
    test(`a PATCH with ${what} is refused and changes nothing`, async () => {
      if (!server.store.has('default', 'strict')) await server.make('strict');
      const row = server.store.byName('default', 'strict');
      const answer = await server.call('PATCH', '/1.0/instances/strict', body);
      assert.equal(answer.status, 400);
      assert.match(answer.error, text);
      assert.equal(server.store.byName('default', 'strict'), row);
    });
  }

  test('a PUT that restores a snapshot has its place but is not done', async () => {
    await server.make('c14');
    assert.equal((await server.call('PUT', '/1.0/instances/c14', { restore: 's0' })).status, 501);
  });

  test('what the network says of a nic is told with the name of the device', async () => {
    server.networks.fault = new Fault('bad_request', 'ipv4.address is outside the network');
    const answer = await server.call('POST', '/1.0/instances', { name: 'c15', source: { type: 'none' } });
    server.networks.fault = null;
    assert.equal(answer.status, 400);
    assert.match(answer.error, /Device validation failed for "eth0": ipv4\.address is outside/);
  });
});

describe('what profiles ask of instances', () => {
  let server: InstanceServer;
  before(async () => {
    server = await startInstanceServer();
  });
  after(() => server.close());

  test('keys and devices that no instance could take from a profile are refused', () => {
    const hooks = profileHooks(server.parts);
    hooks.validateProfile({ 'limits.cpu': '1' }, { root: { type: 'disk', path: '/', pool: 'default' } });
    const cases: readonly (readonly [Record<string, string>, Record<string, Record<string, string>>])[] = [
      [{ 'volatile.uuid': 'x' }, {}],
      [{ 'image.os': 'x' }, {}],
      [{ nope: '1' }, {}],
      [{}, { eth0: { type: 'nic', network: 'missing' } }],
      [{}, { d: { type: 'disk' } }],
    ];
    for (const [config, devices] of cases) {
      assert.throws(
        () => {
          hooks.validateProfile(config, devices);
        },
        (err) => isFault(err, 'bad_request'),
        JSON.stringify([config, devices]),
      );
    }
  });

  test('a profile that would take the root disk away is refused for its users', async () => {
    const row = await server.make('user1');
    const hooks = profileHooks(server.parts);
    const profile = server.profiles.get({ project: 'default', name: 'default' });
    assert.throws(
      () => {
        hooks.validateUser(server.store.expandWith(row, { ...profile, devices: {} }));
      },
      (err) => isFault(err, 'bad_request'),
    );
  });

  test('a running user of a profile follows it, and new nics get a MAC', async () => {
    const row = await server.make('user2', { start: true });
    const hooks = profileHooks(server.parts);
    const old = server.profiles.get({ project: 'default', name: 'default' });
    const next = {
      ...old,
      config: { 'limits.cpu': '1' },
      devices: { ...old.devices, eth5: { type: 'nic', nictype: 'p2p' } },
    };
    await server.profiles.update(next);
    await hooks.applyToUser(row.id, () => ({
      before: server.store.expandWith(server.store.byId(row.id), old),
      after: server.store.expandWith(server.store.byId(row.id), next),
    }));
    assert.equal(server.runtime.applied.at(-1)?.after.config['limits.cpu'], '1');
    assert.match(server.store.byId(row.id).config['volatile.eth5.hwaddr'] ?? '', /^00:16:3e/);
    await hooks.applyToUser('no-such-id', () => {
      throw new Error('must not be asked');
    });
  });
});
