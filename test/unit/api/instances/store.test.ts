import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ProfileRow } from '../../../../api/db/rows.ts';
import { openInstanceStore } from '../../../../api/instances/store.ts';
import { openProfileStore } from '../../../../api/profiles/store.ts';
import { openProjectStore } from '../../../../api/projects/store.ts';
import { Fault, isFault } from '../../../../process/fault.ts';
import { SILENT } from '../../../../process/log.ts';
import { memoryDatabase } from '../../../support/fake-tables.ts';
import { instanceRow } from '../../../support/rows.ts';

const ROW = instanceRow({ config: { 'user.a': '1' } });

const WEB: ProfileRow = {
  project: 'default',
  name: 'web',
  description: '',
  config: { 'user.a': 'profile', 'limits.cpu': '1' },
  devices: { root: { type: 'disk', path: '/', pool: 'p', size: '1GiB' }, eth0: { type: 'nic' } },
};

async function opened(db = memoryDatabase()) {
  const projects = await openProjectStore(db);
  const profiles = await openProfileStore(db);
  const store = await openInstanceStore({ database: db, profiles, projects, log: SILENT });
  return { db, projects, profiles, store };
}

test('an inserted instance is found by name and id, is frozen, and is in the database', async () => {
  const { db, store } = await opened();
  await store.insert(ROW);
  const row = store.byName('default', 'c1');
  assert.deepEqual(row, ROW);
  assert.equal(store.byId('id-1'), row);
  assert.ok(Object.isFrozen(row) && Object.isFrozen(row.config) && Object.isFrozen(row.profiles));
  assert.ok(!Object.isFrozen(ROW.config), 'the caller keeps its own object');
  assert.deepEqual(await db.tables.instances.all(), [ROW]);
});

test('an instance being created is not found by name, and its name is taken', async () => {
  const { store } = await opened();
  await store.insert({ ...ROW, phase: 'creating' });
  assert.throws(
    () => store.byName('default', 'c1'),
    (err) => isFault(err, 'not_found'),
  );
  assert.equal(store.has('default', 'c1'), true);
  assert.equal(store.list('default').length, 1);
  await store.change('id-1', { phase: 'ready' });
  assert.equal(store.byName('default', 'c1').phase, 'ready');
});

test('rows that are in the database are known after the next start', async () => {
  const { db, store } = await opened();
  await store.insert(ROW);
  await store.setConfig('id-1', { 'volatile.last_state.power': 'RUNNING' });
  const again = await opened(db);
  assert.deepEqual(again.store.list(), store.list());
});

test('changes of one instance at the same time lose nothing', async () => {
  const { db, store } = await opened();
  await store.insert(ROW);
  const keys = Array.from({ length: 30 }, (_, i) => `volatile.${String(i)}`);
  await Promise.all([
    ...keys.map((key) => store.setConfig('id-1', { [key]: 'x' })),
    store.change('id-1', { description: 'new' }),
    store.setConfig('id-1', { 'user.a': null }),
  ]);
  const row = store.byId('id-1');
  assert.deepEqual(Object.keys(row.config).sort(), [...keys].sort());
  assert.equal(row.description, 'new');
  assert.deepEqual(await db.tables.instances.find({ id: 'id-1' }), row);
});

test('a change that the database refuses is not in memory', async () => {
  const { db, store } = await opened();
  await store.insert(ROW);
  db.failWritesWith(new Fault('storage_full', 'no space'));
  await assert.rejects(store.setConfig('id-1', { 'user.b': '2' }), (err) => isFault(err, 'storage_full'));
  await assert.rejects(store.insert({ ...ROW, id: 'id-2', name: 'c2' }), (err) =>
    isFault(err, 'storage_full'),
  );
  await assert.rejects(store.remove('id-1'), (err) => isFault(err, 'storage_full'));
  assert.deepEqual(store.list(), [ROW]);
  assert.equal(store.has('default', 'c2'), false);
});

test('after a lost answer the next change writes the whole row', async () => {
  const { db, store } = await opened();
  await store.insert(ROW);
  db.failWritesWith(new Fault('unavailable', 'gone'));
  await assert.rejects(store.change('id-1', { description: 'lost' }));
  db.failWritesWith(null);
  // The write had been done although its answer was lost.
  await db.tables.instances.update({ id: 'id-1' }, { description: 'lost' });
  await store.setConfig('id-1', { 'user.b': '2' });
  assert.deepEqual(await db.tables.instances.find({ id: 'id-1' }), store.byId('id-1'));
  assert.equal(store.byId('id-1').description, '');
});

test('a change that changes nothing writes nothing and gives the same row', async () => {
  const { db, store } = await opened();
  await store.insert(ROW);
  const before = db.writes;
  const row = store.byId('id-1');
  assert.equal(await store.setConfig('id-1', { 'user.a': '1', 'user.gone': null }), row);
  assert.equal(await store.change('id-1', { phase: 'ready', config: row.config }), row);
  assert.equal(db.writes, before);
});

test('a name that is taken is refused in an insert and in a rename', async () => {
  const { store } = await opened();
  await store.insert(ROW);
  await store.insert({ ...ROW, id: 'id-2', name: 'c2' });
  await assert.rejects(store.insert({ ...ROW, id: 'id-3' }), /Instance "c1" already exists/);
  await assert.rejects(store.change('id-2', { name: 'c1' }), (err) => isFault(err, 'already_exists'));
  const both = [
    store.insert({ ...ROW, id: 'a', name: 'new' }),
    store.insert({ ...ROW, id: 'b', name: 'new' }),
  ];
  const ends = (await Promise.allSettled(both)).map((end) => end.status).sort();
  assert.deepEqual(ends, ['fulfilled', 'rejected']);
});

test('a renamed instance is found under the new name only', async () => {
  const { store } = await opened();
  await store.insert(ROW);
  await store.change('id-1', { name: 'c9' });
  assert.equal(store.byName('default', 'c9').id, 'id-1');
  assert.equal(store.has('default', 'c1'), false);
  await store.insert({ ...ROW, id: 'id-2' });
  assert.deepEqual(
    store.list().map((row) => row.name),
    ['c1', 'c9'],
  );
});

test('removing is harmless when there is nothing', async () => {
  const { store } = await opened();
  await store.insert(ROW);
  await store.remove('id-1');
  await store.remove('id-1');
  assert.deepEqual(store.list(), []);
  assert.throws(
    () => store.byId('id-1'),
    (err) => isFault(err, 'not_found'),
  );
});

test('profiles are merged in order: keys one by one, devices as a whole, the instance last', async () => {
  const { profiles, store } = await opened();
  await profiles.insert(WEB);
  await profiles.insert({
    ...WEB,
    name: 'big',
    config: { 'limits.cpu': '8' },
    devices: { root: { type: 'disk', path: '/' } },
  });
  const row = { ...ROW, profiles: ['web', 'big'], devices: { eth0: { type: 'none' } } };
  await store.insert(row);
  const expanded = store.expand(store.byId('id-1'));
  assert.deepEqual(expanded.config, { 'user.a': '1', 'limits.cpu': '8' });
  assert.deepEqual(expanded.devices, { root: { type: 'disk', path: '/' }, eth0: { type: 'none' } });
});

test('an expansion is kept until the profile or the row changes', async () => {
  const { profiles, store } = await opened();
  await profiles.insert(WEB);
  await store.insert({ ...ROW, profiles: ['web'] });
  const first = store.expand(store.byId('id-1'));
  assert.equal(store.expand(store.byId('id-1')), first);
  await profiles.update({ ...WEB, config: { 'limits.cpu': '2' } });
  assert.equal(store.expand(store.byId('id-1')).config['limits.cpu'], '2');
  await store.setConfig('id-1', { 'limits.cpu': '3' });
  assert.equal(store.expand(store.byId('id-1')).config['limits.cpu'], '3');
});

test('a profile that does not exist is refused for new users and left out for old ones', async () => {
  const { db, profiles, store } = await opened();
  const row = { ...ROW, profiles: ['nope'] };
  assert.throws(() => store.expand(row), /Requested profile "nope" doesn't exist/);
  await assert.rejects(store.insert(row), (err) => isFault(err, 'bad_request'));
  await profiles.insert({ ...WEB, name: 'nope' });
  await store.insert(row);
  await db.tables.profiles.remove({ project: 'default', name: 'nope' });
  const again = await opened(db);
  assert.deepEqual(again.store.expand(again.store.byId('id-1')).config, ROW.config);
});

test('a project without own profiles uses those of default', async () => {
  const { db, projects, profiles, store } = await opened();
  await projects.insert(
    { name: 'p', description: '', config: { 'features.profiles': 'false' } },
    async () => undefined,
  );
  await profiles.insert(WEB);
  await store.insert({ ...ROW, project: 'p', profiles: ['web'] });
  assert.equal(store.expand(store.byId('id-1')).config['limits.cpu'], '1');
  assert.deepEqual(
    store.usersOf(WEB).map((row) => row.project),
    ['p'],
  );
  assert.equal(store.isProjectUsed('p'), true);
  assert.equal((await db.tables.instances.all()).length, 1);
});

test('a profile is in use from the moment an instance with it is on its way to the database', async () => {
  const { profiles, store } = await opened();
  await profiles.insert(WEB);
  const coming = store.insert({ ...ROW, profiles: ['web'] });
  const end = await Promise.allSettled([
    profiles.remove(WEB, () => {
      if (store.isProfileUsed(WEB)) throw new Fault('bad_request', 'in use');
    }),
    coming,
  ]);
  // Whoever came first won; never both.
  assert.equal(end.filter((one) => one.status === 'fulfilled').length, 1);
});

test('the rename of a profile changes every user of it, or nothing', async () => {
  const { db, profiles, store } = await opened();
  await profiles.insert(WEB);
  await store.insert({ ...ROW, profiles: ['default', 'web'] });
  const rename = () =>
    store.renameProfile(WEB, 'www', {
      write: (tables) => profiles.writeRename(tables, WEB, 'www'),
      done: () => {
        profiles.renamed(WEB, 'www');
      },
    });
  db.failWritesWith(new Fault('storage_full', 'no space'));
  await assert.rejects(rename());
  assert.deepEqual(store.byId('id-1').profiles, ['default', 'web']);
  db.failWritesWith(null);
  await Promise.all([
    store.setConfig('id-1', { 'user.b': '1' }),
    rename(),
    store.setConfig('id-1', { 'user.c': '1' }),
  ]);
  assert.deepEqual(store.byId('id-1').profiles, ['default', 'www']);
  assert.equal(store.expand(store.byId('id-1')).config['limits.cpu'], '1');
  assert.deepEqual(await db.tables.instances.all(), store.list());
  assert.deepEqual(Object.keys(store.byId('id-1').config), ['user.a', 'user.b', 'user.c']);
});
