import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NEVER } from '../../../../api/db/rows.ts';
import type { ImageRow } from '../../../../api/db/rows.ts';
import { Events } from '../../../../api/events/events.ts';
import { openInstanceStore } from '../../../../api/instances/store.ts';
import type { Operation, OperationRequest, Operations } from '../../../../api/operations/types.ts';
import { openProfileStore } from '../../../../api/profiles/store.ts';
import { Projects } from '../../../../api/projects/projects.ts';
import { openProjectStore } from '../../../../api/projects/store.ts';
import { projectRoutes } from '../../../../api/routes/projects.ts';
import { isFault } from '../../../../process/fault.ts';
import { SILENT } from '../../../../process/log.ts';
import { callRoute, readSync, restrictedTo } from '../../../support/fake-call.ts';
import { memoryDatabase } from '../../../support/fake-tables.ts';
import { readMetadata } from '../../../support/http-fakes.ts';
import { refusedWith } from '../../../support/refused.ts';
import { instanceRow } from '../../../support/rows.ts';

const INSTANCE = instanceRow({
  config: { 'limits.cpu': '0-3', 'limits.memory': '1GiB', 'limits.processes': '100' },
  devices: { root: { type: 'disk', path: '/', pool: 'default', size: '10GB' } },
});

const IMAGE: ImageRow = {
  project: 'p1',
  fingerprint: 'ab'.repeat(32),
  filename: '',
  size: 1,
  public: false,
  autoUpdate: false,
  cached: false,
  architecture: 'x86_64',
  properties: {},
  profiles: null,
  form: 'unified',
  createdAt: NEVER,
  expiresAt: NEVER,
  uploadedAt: NEVER,
  lastUsedAt: NEVER,
};

/** Runs the work at once and keeps its end. */
class OneOperation implements Operations {
  last: Promise<void> = Promise.resolve();

  create(request: OperationRequest): Operation {
    const context = { signal: new AbortController().signal, setMetadata: () => undefined };
    this.last = request.run?.(context) ?? Promise.resolve();
    const finished = this.last.catch(() => undefined);
    return { id: 'op', render: () => ({}), finished, cancel: () => Promise.resolve() };
  }
  get(): undefined {
    return undefined;
  }
  useToken(): undefined {
    return undefined;
  }
}

async function opened(database = memoryDatabase()) {
  const store = await openProjectStore(database);
  const profiles = await openProfileStore(database);
  const instances = await openInstanceStore({ database, profiles, projects: store, log: SILENT });
  const followed: string[] = [];
  const follower = {
    projectRenamed: async (from: string, to: string) => void followed.push(`${from}>${to}`),
    projectRemoved: async (name: string) => void followed.push(`-${name}`),
  };
  const events = new Events();
  const projects = new Projects({ database, store, profiles, instances, followers: [follower], events });
  const operations = new OneOperation();
  return {
    database,
    store,
    profiles,
    instances,
    followed,
    operations,
    routes: projectRoutes({ projects, operations }),
  };
}

test('the project default is there from the start and stays as it is', async () => {
  const { routes } = await opened();
  const one = await readSync(callRoute(routes, 'GET', '/1.0/projects/default'));
  assert.deepEqual(one.metadata, {
    config: {
      'features.images': 'true',
      'features.networks': 'true',
      'features.profiles': 'true',
      'features.storage.volumes': 'true',
    },
    description: 'Default LXD project',
    name: 'default',
    used_by: ['/1.0/profiles/default'],
  });
  await refusedWith(callRoute(routes, 'DELETE', '/1.0/projects/default'), 'forbidden', 'cannot be deleted');
  const rename = callRoute(routes, 'POST', '/1.0/projects/default', { body: { name: 'x' } });
  await refusedWith(rename, 'forbidden', 'cannot be renamed');
  const put = callRoute(routes, 'PUT', '/1.0/projects/default', { body: { config: {} } });
  await refusedWith(put, 'bad_request', "You can't change the features of the default project");
  const body = { config: { 'user.a': '1' }, description: 'mine' };
  await callRoute(routes, 'PATCH', '/1.0/projects/default', { body });
});

test('a new project has its own images and profiles, with an empty default, over a restart too', async () => {
  const { database, routes } = await opened();
  const body = { name: 'p1', description: 'd', config: { 'user.a': '1' } };
  const answer = await callRoute(routes, 'POST', '/1.0/projects', { body });
  assert.deepEqual(answer, { kind: 'created', location: '/1.0/projects/p1' });
  const again = await opened(database);
  const one = readMetadata((await readSync(callRoute(again.routes, 'GET', '/1.0/projects/p1'))).metadata);
  assert.deepEqual(one['config'], {
    'features.images': 'true',
    'features.profiles': 'true',
    'features.storage.volumes': 'true',
    'user.a': '1',
  });
  assert.deepEqual(one['used_by'], ['/1.0/profiles/default?project=p1']);
  assert.equal(again.store.resolve('images', 'p1'), 'p1');
  assert.equal(again.store.resolve('networks', 'p1'), 'default');
  assert.equal(again.store.resolve('instances', 'p1'), 'p1');
  assert.throws(
    () => again.store.resolve('images', 'nope'),
    (err) => isFault(err, 'not_found'),
  );
});

test('names LXD refuses are refused, and a name that is taken', async () => {
  const { routes } = await opened();
  const names = ['', 'a/b', '*', 'a b', 'a_b', "a'b", 'a"b', '.', '..', 'a*', 'x'.repeat(64), 'a\u0007'];
  for (const name of names) {
    await refusedWith(callRoute(routes, 'POST', '/1.0/projects', { body: { name } }), 'bad_request', 'name');
  }
  const taken = callRoute(routes, 'POST', '/1.0/projects', { body: { name: 'default' } });
  await refusedWith(taken, 'already_exists', 'already exists');
});

test('keys that nothing here enforces are refused by name', async () => {
  const { routes } = await opened();
  const refused = [
    'limits.instances',
    'restricted.containers.nesting',
    'images.auto_update_cached',
    'backups.compression_algorithm',
    'nonsense',
    'features.unknown',
  ];
  for (const key of refused) {
    const body = { name: 'p1', config: { [key]: '1' } };
    await refusedWith(callRoute(routes, 'POST', '/1.0/projects', { body }), 'bad_request', key);
  }
  const restricted = { name: 'p1', config: { restricted: 'true' } };
  await refusedWith(
    callRoute(routes, 'POST', '/1.0/projects', { body: restricted }),
    'bad_request',
    'not enforce',
  );
  const networks = { name: 'p1', config: { 'features.networks': 'true' } };
  await refusedWith(
    callRoute(routes, 'POST', '/1.0/projects', { body: networks }),
    'bad_request',
    'networks',
  );
  const odd = { name: 'p1', config: { 'features.images': 'maybe' } };
  await refusedWith(
    callRoute(routes, 'POST', '/1.0/projects', { body: odd }),
    'bad_request',
    'features.images',
  );
  await callRoute(routes, 'POST', '/1.0/projects', { body: { name: 'p1', config: { restricted: 'false' } } });
});

test('features change only while the project is empty, and the default profile comes and goes with them', async () => {
  const { routes, database, profiles, instances } = await opened();
  await callRoute(routes, 'POST', '/1.0/projects', { body: { name: 'p1' } });
  const patch = (value: string) =>
    callRoute(routes, 'PATCH', '/1.0/projects/p1', { body: { config: { 'features.profiles': value } } });
  await patch('false');
  assert.deepEqual(profiles.list('p1'), []);
  assert.equal((await database.tables.profiles.all()).length, 1);
  await patch('true');
  assert.deepEqual(
    profiles.list('p1').map((row) => row.name),
    ['default'],
  );
  await instances.insert({ ...INSTANCE, project: 'p1' });
  await refusedWith(patch('false'), 'bad_request', 'Features can only be changed on empty projects');
  await callRoute(routes, 'PATCH', '/1.0/projects/p1', { body: { description: 'new' } });
});

test('a project with an instance, an image or a profile of its own stays; an empty one goes', async () => {
  const { routes, database, profiles, instances, followed } = await opened();
  await callRoute(routes, 'POST', '/1.0/projects', { body: { name: 'p1' } });
  const remove = () => callRoute(routes, 'DELETE', '/1.0/projects/p1');
  const text = 'Only empty projects can be removed';
  await instances.insert({ ...INSTANCE, project: 'p1' });
  await refusedWith(remove(), 'bad_request', text);
  await instances.remove('id-1');
  await database.tables.images.insert(IMAGE);
  await refusedWith(remove(), 'bad_request', text);
  await database.tables.images.remove(IMAGE);
  const own = { project: 'p1', name: 'own', description: '', config: {}, devices: {} };
  await profiles.insert(own);
  await refusedWith(remove(), 'bad_request', text);
  await profiles.remove(own, () => undefined);
  await remove();
  assert.deepEqual(followed, ['-p1']);
  assert.deepEqual(
    (await database.tables.profiles.all()).map((row) => row.project),
    ['default'],
  );
  await refusedWith(remove(), 'not_found', 'Project not found');
});

test('an empty project is renamed by an operation, with its profile', async () => {
  const { routes, store, profiles, operations, followed, database } = await opened();
  await callRoute(routes, 'POST', '/1.0/projects', { body: { name: 'p1' } });
  const rename = (to: string) => callRoute(routes, 'POST', '/1.0/projects/p1', { body: { name: to } });
  await refusedWith(rename('default'), 'already_exists', 'already exists');
  const answer = await rename('p2');
  assert.equal(answer.kind, 'async');
  await operations.last;
  assert.deepEqual(
    store.list().map((row) => row.name),
    ['default', 'p2'],
  );
  assert.deepEqual(
    profiles.list().map((row) => row.project),
    ['default', 'p2'],
  );
  assert.deepEqual(followed, ['p1>p2']);
  const again = await opened(database);
  assert.deepEqual(again.profiles.list(), profiles.list());
});

test('an instance cannot come into a project that is being removed', async () => {
  const { routes, instances, store } = await opened();
  await callRoute(routes, 'POST', '/1.0/projects', { body: { name: 'p1' } });
  const ends = await Promise.allSettled([
    callRoute(routes, 'DELETE', '/1.0/projects/p1'),
    instances.insert({ ...INSTANCE, project: 'p1', profiles: [] }),
  ]);
  assert.equal(ends.filter((end) => end.status === 'fulfilled').length, 1);
  assert.equal(store.exists('p1'), instances.list('p1').length === 1);
});

test('the state adds up what the instances may use', async () => {
  const { routes, instances } = await opened();
  await instances.insert(INSTANCE);
  await instances.insert({
    ...INSTANCE,
    id: 'id-2',
    name: 'c2',
    config: { 'limits.cpu': '2', 'limits.memory': '50%' },
    devices: {},
  });
  const { metadata } = await readSync(callRoute(routes, 'GET', '/1.0/projects/default/state'));
  assert.deepEqual(metadata, {
    resources: {
      cpu: { Limit: -1, Usage: 6 },
      memory: { Limit: -1, Usage: 1_073_741_824 },
      processes: { Limit: -1, Usage: 100 },
      disk: { Limit: -1, Usage: 10_000_000_000 },
      networks: { Limit: -1, Usage: 0 },
      instances: { Limit: -1, Usage: 2 },
      containers: { Limit: -1, Usage: 2 },
      'virtual-machines': { Limit: -1, Usage: 0 },
    },
  });
});

test('a restricted certificate sees its projects only', async () => {
  const { routes } = await opened();
  await callRoute(routes, 'POST', '/1.0/projects', { body: { name: 'p1' } });
  const caller = restrictedTo('p1');
  const list = await readSync(callRoute(routes, 'GET', '/1.0/projects', { caller }));
  assert.deepEqual(list.metadata, ['/1.0/projects/p1']);
  await refusedWith(
    callRoute(routes, 'GET', '/1.0/projects/default', { caller }),
    'forbidden',
    'not authorized',
  );
  await refusedWith(
    callRoute(routes, 'GET', '/1.0/projects/default/state', { caller }),
    'forbidden',
    'not authorized',
  );
});

test('a change of a project minds the entity tag', async () => {
  const { routes } = await opened();
  await callRoute(routes, 'POST', '/1.0/projects', { body: { name: 'p1' } });
  const { etag } = await readSync(callRoute(routes, 'GET', '/1.0/projects/p1'));
  const body = { description: 'x' };
  await callRoute(routes, 'PATCH', '/1.0/projects/p1', { body, ifMatch: etag });
  const stale = callRoute(routes, 'PATCH', '/1.0/projects/p1', { body, ifMatch: etag });
  await refusedWith(stale, 'etag_mismatch', 'ETag');
});
