import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NEVER } from '../../../../api/db/rows.ts';
import type { ImageRow, InstanceRow, StringMap } from '../../../../api/db/rows.ts';
import { Events } from '../../../../api/events/events.ts';
import { openInstanceStore } from '../../../../api/instances/store.ts';
import type { Expanded } from '../../../../api/instances/types.ts';
import { openImageRows } from '../../../../api/images/image-rows.ts';
import { imageProfiles } from '../../../../api/profiles/image-profiles.ts';
import { Profiles } from '../../../../api/profiles/profiles.ts';
import { openProfileStore } from '../../../../api/profiles/store.ts';
import type { ProfileHooks } from '../../../../api/profiles/types.ts';
import { openProjectStore } from '../../../../api/projects/store.ts';
import { profileRoutes } from '../../../../api/routes/profiles.ts';
import { Fault, isFault } from '../../../../process/fault.ts';
import { SILENT } from '../../../../process/log.ts';
import { callRoute, readSync, restrictedTo } from '../../../support/fake-call.ts';
import { memoryDatabase } from '../../../support/fake-tables.ts';
import { readMetadata } from '../../../support/http-fakes.ts';
import { refusedWith } from '../../../support/refused.ts';
import { instanceRow } from '../../../support/rows.ts';

/** Keys named bad.* are refused anywhere, no.* by users, fail.* when they are applied. */
class Hooks implements ProfileHooks {
  readonly applied: { readonly id: string; readonly before: StringMap; readonly after: StringMap }[] = [];

  validateProfile(config: StringMap): void {
    if (Object.keys(config).some((key) => key.startsWith('bad.'))) throw new Fault('bad_request', 'bad key');
  }
  validateUser(next: Expanded): void {
    if (Object.keys(next.config).some((key) => key.startsWith('no.')))
      throw new Fault('bad_request', 'not here');
  }
  noteUsers(): Promise<() => Promise<void>> {
    return Promise.resolve(() => Promise.resolve());
  }
  async applyToUser(id: string, views: () => { before: Expanded; after: Expanded }): Promise<void> {
    const { before, after } = views();
    if (Object.keys(after.config).some((key) => key.startsWith('fail.'))) throw new Fault('busy', 'wedged');
    this.applied.push({ id, before: before.config, after: after.config });
  }
}

async function opened() {
  const database = memoryDatabase();
  const projects = await openProjectStore(database);
  const store = await openProfileStore(database);
  const instances = await openInstanceStore({ database, profiles: store, projects, log: SILENT });
  const events = new Events();
  const heard: string[] = [];
  events.subscribe((event) => {
    const { action, source } = readMetadata(event.metadata);
    heard.push(`${String(action)} ${String(source)}`);
  });
  const hooks = new Hooks();
  const images = await openImageRows(database);
  const followers = [imageProfiles(images, projects)];
  const routes = profileRoutes(new Profiles({ store, projects, instances, hooks, events, followers }));
  return { database, images, projects, instances, hooks, heard, routes };
}

function instance(name: string, profiles: readonly string[], project = 'default'): InstanceRow {
  return instanceRow({ id: `id-${name}`, project, name, profiles });
}

test('a new server has the profile default, and a profile made by lxc is shown as LXD does', async () => {
  const { routes, heard } = await opened();
  const body = { config: null, description: '', devices: null, name: 'p1' };
  const answer = await callRoute(routes, 'POST', '/1.0/profiles', { body });
  assert.deepEqual(answer, { kind: 'created', location: '/1.0/profiles/p1' });
  const list = await readSync(callRoute(routes, 'GET', '/1.0/profiles'));
  assert.deepEqual(list.metadata, ['/1.0/profiles/default', '/1.0/profiles/p1']);
  const one = await readSync(callRoute(routes, 'GET', '/1.0/profiles/p1'));
  assert.deepEqual(one.metadata, { config: {}, description: '', devices: {}, name: 'p1', used_by: [] });
  assert.deepEqual(heard, ['profile-created /1.0/profiles/p1']);
});

test('names that cannot be, names that are taken and unknown ones are refused', async () => {
  const { routes } = await opened();
  const post = (name: string) => callRoute(routes, 'POST', '/1.0/profiles', { body: { name } });
  await refusedWith(post('a/b'), 'bad_request', 'Profile names may not contain slashes');
  for (const name of ['', '.', '..', 'a\nb', 'x'.repeat(300)])
    await refusedWith(post(name), 'bad_request', 'name');
  await refusedWith(post('default'), 'already_exists', 'already exists');
  await refusedWith(callRoute(routes, 'GET', '/1.0/profiles/nope'), 'not_found', 'Profile not found');
  await refusedWith(callRoute(routes, 'DELETE', '/1.0/profiles/nope'), 'not_found', 'Profile not found');
  await refusedWith(callRoute(routes, 'GET', '/1.0/profiles?project=nope'), 'not_found', 'Project not found');
  const wrong = { name: 'p', config: { a: 1 } };
  await refusedWith(callRoute(routes, 'POST', '/1.0/profiles', { body: wrong }), 'bad_request', 'body');
});

test('PUT replaces, PATCH merges, and both mind the entity tag', async () => {
  const { routes } = await opened();
  const path = '/1.0/profiles/default';
  const put = {
    config: { 'user.a': '1', 'user.b': '2' },
    description: 'd',
    devices: { eth0: { type: 'nic', mtu: '9' } },
  };
  const first = await readSync(callRoute(routes, 'GET', path));
  await callRoute(routes, 'PUT', path, { body: put, ifMatch: `"${first.etag}"` });
  const stale = callRoute(routes, 'PUT', path, { body: put, ifMatch: first.etag });
  await refusedWith(stale, 'etag_mismatch', "ETag doesn't match");
  const patch = { config: { 'user.b': '', 'user.c': '3' }, devices: { eth0: { type: 'nic' } } };
  await callRoute(routes, 'PATCH', path, { body: patch });
  const after = readMetadata((await readSync(callRoute(routes, 'GET', path))).metadata);
  assert.deepEqual(after['config'], { 'user.a': '1', 'user.c': '3' });
  assert.deepEqual(after['devices'], { eth0: { type: 'nic' } });
  assert.equal(after['description'], 'd');
  await callRoute(routes, 'PUT', path, { body: {} });
  const empty = readMetadata((await readSync(callRoute(routes, 'GET', path))).metadata);
  assert.deepEqual([empty['config'], empty['devices'], empty['description']], [{}, {}, '']);
});

test('a change is checked with every user, then saved, then brought to each', async () => {
  const { routes, instances, hooks } = await opened();
  await instances.insert(instance('c1', ['default']));
  await instances.insert(instance('c2', ['default']));
  const put = (config: StringMap) => callRoute(routes, 'PUT', '/1.0/profiles/default', { body: { config } });
  await put({ 'limits.cpu': '1' });
  await put({ 'limits.cpu': '2' });
  assert.deepEqual(hooks.applied.slice(2), [
    { id: 'id-c1', before: { 'limits.cpu': '1' }, after: { 'limits.cpu': '2' } },
    { id: 'id-c2', before: { 'limits.cpu': '1' }, after: { 'limits.cpu': '2' } },
  ]);
  await refusedWith(put({ 'bad.x': '1' }), 'bad_request', 'bad key');
  await refusedWith(put({ 'no.x': '1' }), 'bad_request', 'instance "c1"');
  assert.equal(hooks.applied.length, 4);
  assert.deepEqual(instances.expand(instances.byId('id-c1')).config, { 'limits.cpu': '2' });
});

test('users that cannot follow are named, and the profile is saved all the same', async () => {
  const { routes, instances } = await opened();
  await instances.insert(instance('c1', ['default']));
  await instances.insert(instance('c2', ['default']));
  const put = callRoute(routes, 'PUT', '/1.0/profiles/default', { body: { config: { 'fail.x': '1' } } });
  await assert.rejects(put, (err) => {
    assert.ok(isFault(err, 'busy'));
    assert.match(err.message, /profile change still saved/);
    assert.match(err.message, /Instance: c1: wedged\n - Project: default, Instance: c2: wedged/);
    return true;
  });
  assert.deepEqual(instances.expand(instances.byId('id-c1')).config, { 'fail.x': '1' });
});

test('a new description alone disturbs no instance', async () => {
  const { routes, instances, hooks } = await opened();
  await instances.insert(instance('c1', ['default']));
  await callRoute(routes, 'PATCH', '/1.0/profiles/default', { body: { description: 'new' } });
  assert.deepEqual(hooks.applied, []);
});

test('default stays, a used profile stays, an unused one goes', async () => {
  const { routes, instances, heard } = await opened();
  await callRoute(routes, 'POST', '/1.0/profiles', { body: { name: 'p1' } });
  await instances.insert(instance('c1', ['p1']));
  const remove = (name: string) => callRoute(routes, 'DELETE', `/1.0/profiles/${name}`);
  const rename = (name: string, to: string) =>
    callRoute(routes, 'POST', `/1.0/profiles/${name}`, { body: { name: to } });
  await refusedWith(remove('default'), 'forbidden', 'cannot be deleted');
  await refusedWith(rename('default', 'x'), 'forbidden', 'cannot be renamed');
  await refusedWith(remove('p1'), 'bad_request', 'Profile is currently in use');
  await refusedWith(rename('p1', 'default'), 'already_exists', 'already in use');
  assert.deepEqual(await rename('p1', 'p 2'), { kind: 'created', location: '/1.0/profiles/p%202' });
  assert.deepEqual(instances.byId('id-c1').profiles, ['p 2']);
  const one = await readSync(callRoute(routes, 'GET', '/1.0/profiles/p%202'));
  assert.deepEqual(readMetadata(one.metadata)['used_by'], ['/1.0/instances/c1']);
  await instances.change('id-c1', { profiles: [] });
  await remove('p%202');
  assert.deepEqual(heard.slice(1), [
    'profile-renamed /1.0/profiles/p%202',
    'profile-deleted /1.0/profiles/p%202',
  ]);
});

test('a project without own profiles shows those of default; its certificates may not change them', async () => {
  const { routes, projects, instances } = await opened();
  const config = { 'features.profiles': 'false' };
  await projects.insert({ name: 'p', description: '', config }, async () => undefined);
  await instances.insert(instance('c1', ['default'], 'p'));
  await instances.insert(instance('c2', ['default']));
  const caller = restrictedTo('p');
  const one = await readSync(callRoute(routes, 'GET', '/1.0/profiles/default?project=p', { caller }));
  assert.deepEqual(readMetadata(one.metadata)['used_by'], ['/1.0/instances/c1?project=p']);
  const put = callRoute(routes, 'PUT', '/1.0/profiles/default?project=p', { caller, body: {} });
  await refusedWith(put, 'forbidden', 'may not change');
  await callRoute(routes, 'PUT', '/1.0/profiles/default?project=p', { body: {} });
});

test('what an image says of profiles follows a rename and a removal', async () => {
  const { routes, database, images } = await opened();
  const row: ImageRow = {
    project: 'default',
    fingerprint: 'ab'.repeat(32),
    filename: '',
    size: 1,
    public: false,
    autoUpdate: false,
    cached: false,
    architecture: 'x86_64',
    properties: {},
    profiles: ['default', 'p1'],
    form: 'unified',
    createdAt: NEVER,
    expiresAt: NEVER,
    uploadedAt: NEVER,
    lastUsedAt: NEVER,
  };
  await database.tables.images.insert(row);
  await images.load();
  const named = () => images.all().map((image) => image.profiles);
  await callRoute(routes, 'POST', '/1.0/profiles', { body: { name: 'p1' } });
  await callRoute(routes, 'POST', '/1.0/profiles/p1', { body: { name: 'p2' } });
  assert.deepEqual(named(), [['default', 'p2']]);
  await callRoute(routes, 'DELETE', '/1.0/profiles/p2');
  assert.deepEqual(named(), [['default']]);
  assert.deepEqual((await database.tables.images.all())[0]?.profiles, ['default']);
});
