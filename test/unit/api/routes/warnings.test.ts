import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Events } from '../../../../api/events/events.ts';
import { warningRoutes } from '../../../../api/routes/warnings.ts';
import { openWarnings } from '../../../../api/warnings-store.ts';
import { isFault } from '../../../../process/fault.ts';
import { SILENT } from '../../../../process/log.ts';
import { callRoute, readSync } from '../../../support/fake-call.ts';
import { memoryDatabase } from '../../../support/fake-tables.ts';

const DAY_MS = 24 * 3600 * 1000;

async function opened(database = memoryDatabase()) {
  let at = Date.parse('2026-01-01T00:00:00Z');
  const warnings = await openWarnings({ database, log: SILENT, now: () => new Date(at) });
  const pass = (ms: number) => {
    at += ms;
  };
  return { database, warnings, pass, routes: warningRoutes({ warnings, events: new Events() }) };
}

const FULL = {
  type: 'Disk is full',
  severity: 'high',
  message: 'no space',
  entityUrl: '/1.0/instances/c1',
} as const;

test('a warning is shown as LXD does, and counted when it comes again', async () => {
  const { database, warnings, routes, pass } = await opened();
  await Promise.all([warnings.raise(FULL), warnings.raise(FULL)]);
  pass(1000);
  await warnings.raise({ ...FULL, message: 'still none' });
  await warnings.raise({ type: 'Other', severity: 'low', message: 'x' });
  const list = await readSync(callRoute(routes, 'GET', '/1.0/warnings?recursion=1'));
  assert.ok(Array.isArray(list.metadata));
  const uuid = warnings.list()[0]?.uuid ?? '';
  assert.deepEqual(list.metadata[0], {
    status: 'new',
    uuid,
    location: 'none',
    project: '',
    type: 'Disk is full',
    count: 3,
    first_seen_at: '2026-01-01T00:00:00.000Z',
    last_seen_at: '2026-01-01T00:00:01.000Z',
    last_message: 'still none',
    severity: 'high',
    entity_url: '/1.0/instances/c1',
  });
  assert.equal(warnings.countNew(), 2);
  const again = await opened(database);
  assert.deepEqual(again.warnings.list().length, 2);
  const urls = await readSync(callRoute(routes, 'GET', '/1.0/warnings'));
  assert.ok(Array.isArray(urls.metadata) && urls.metadata[0] === `/1.0/warnings/${uuid}`);
});

test('acknowledged stays acknowledged when it comes again; resolved becomes new', async () => {
  const { warnings, routes } = await opened();
  await warnings.raise(FULL);
  const path = `/1.0/warnings/${warnings.list()[0]?.uuid ?? ''}`;
  const status = () => warnings.list()[0]?.status;
  await callRoute(routes, 'PUT', path, { body: { status: 'acknowledged' } });
  await warnings.raise(FULL);
  assert.equal(status(), 'acknowledged');
  await warnings.resolve(FULL.type, FULL.entityUrl);
  assert.equal(status(), 'resolved');
  await warnings.raise(FULL);
  assert.equal(status(), 'new');
  const refused = callRoute(routes, 'PUT', path, { body: { status: 'resolved' } });
  await assert.rejects(refused, (err) => isFault(err, 'forbidden'));
  await callRoute(routes, 'DELETE', path);
  for (const method of ['GET', 'DELETE'] as const) {
    await assert.rejects(callRoute(routes, method, path), (err) => isFault(err, 'not_found'));
  }
});

test('resolving what is not there is harmless, and concerns one object only', async () => {
  const { warnings } = await opened();
  await warnings.resolve('nothing');
  await warnings.raise(FULL);
  await warnings.raise({ ...FULL, entityUrl: '/1.0/instances/c2' });
  await warnings.resolve(FULL.type, '/1.0/instances/c2');
  assert.deepEqual(
    warnings
      .list()
      .map((row) => row.status)
      .sort(),
    ['new', 'resolved'],
  );
});

test('a resolved warning is forgotten after a week, others are kept', async () => {
  const { database, warnings, pass } = await opened();
  await warnings.raise(FULL);
  await warnings.raise({ type: 'Other', severity: 'low', message: 'x' });
  pass(8 * DAY_MS);
  await warnings.resolve(FULL.type, FULL.entityUrl);
  const { signal } = new AbortController();
  pass(6 * DAY_MS);
  await warnings.pruning.run(signal);
  assert.equal(warnings.list().length, 2);
  pass(2 * DAY_MS);
  await warnings.pruning.run(signal);
  assert.deepEqual(
    warnings.list().map((row) => row.type),
    ['Other'],
  );
  assert.equal((await database.tables.warnings.all()).length, 1);
});
