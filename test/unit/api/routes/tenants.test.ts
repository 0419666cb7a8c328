/** What a restricted certificate must not reach or see of other projects. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { instanceRoutes } from '../../../../api/routes/instances.ts';
import { networkRoutes } from '../../../../api/routes/networks.ts';
import { storageRoutes } from '../../../../api/routes/storage.ts';
import type { NetworkAdmin } from '../../../../api/network/types.ts';
import type { PoolAdmin } from '../../../../api/storage/pools.ts';
import { isFault } from '../../../../process/fault.ts';
import { ADMIN, callRoute, readSync, restrictedTo } from '../../../support/fake-call.ts';
import { openWorld } from '../../../support/fake-instances.ts';

const USERS = ['/1.0/instances/a', '/1.0/instances/b?project=other', '/1.0/profiles/p?project=mine'];

test('an instance of a project that the certificate may not use is not copied', async () => {
  const world = await openWorld();
  const routes = instanceRoutes({ parts: world.parts, changes: world.changes });
  const ask = (project: string) =>
    callRoute(routes, 'POST', '/1.0/instances', {
      caller: restrictedTo('default'),
      body: { name: 'c1', source: { type: 'copy', source: 'secret', project } },
    });
  await assert.rejects(ask('other'), (err) => isFault(err, 'forbidden'));
  await assert.rejects(ask('default'), (err) => isFault(err, 'not_found'));
  await assert.rejects(ask(''), (err) => isFault(err, 'not_found'));
  await world.close();
});

test('users of a network in other projects are not told', async () => {
  const shown = { name: 'br0', managed: true, type: 'bridge', description: '', config: {}, used_by: USERS };
  // Only what the reading routes ask for.
  const networks = {
    list: () => Promise.resolve([shown]),
    get: () => Promise.resolve(shown),
    etagParts: () => '',
  } as unknown as NetworkAdmin;
  const routes = networkRoutes(networks);
  const told = async (caller: typeof ADMIN, path: string): Promise<string> =>
    JSON.stringify((await readSync(callRoute(routes, 'GET', path, { caller }))).metadata);
  for (const path of ['/1.0/networks?recursion=1', '/1.0/networks/br0']) {
    assert.match(await told(ADMIN, path), /project=other/);
    assert.doesNotMatch(await told(restrictedTo('mine'), path), /project=other|instances\/a/);
    assert.match(await told(restrictedTo('mine'), path), /project=mine/);
  }
});

test('users of a pool in other projects are not told', async () => {
  const record = { name: 'default', driver: 'dir', description: '', config: {}, status: 'Created' };
  // Only what the reading routes ask for.
  const pools = {
    record: () => record,
    usedBy: () => Promise.resolve(USERS),
  } as unknown as PoolAdmin;
  const ask = async (caller: typeof ADMIN): Promise<unknown> =>
    (await readSync(callRoute(storageRoutes(pools), 'GET', '/1.0/storage-pools/default', { caller })))
      .metadata;
  assert.deepEqual(Object.entries(Object(await ask(ADMIN))).find(([key]) => key === 'used_by')?.[1], USERS);
  const mine = Object.entries(Object(await ask(restrictedTo('mine'))));
  assert.deepEqual(mine.find(([key]) => key === 'used_by')?.[1], ['/1.0/profiles/p?project=mine']);
});
