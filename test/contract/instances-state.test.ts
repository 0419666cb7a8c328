import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { asObject, startInstanceServer } from '../support/instance-server.ts';
import type { InstanceServer } from '../support/instance-server.ts';

async function finish(
  server: InstanceServer,
  asked: Promise<{ metadata: unknown }>,
): Promise<Record<string, unknown>> {
  const id = String(asObject((await asked).metadata)['id']);
  return asObject((await server.call('GET', `/1.0/operations/${id}/wait?timeout=10`)).metadata);
}

describe('the state of instances', () => {
  let server: InstanceServer;
  before(async () => {
    server = await startInstanceServer();
  });
  after(() => server.close());

  const put = (name: string, body: Record<string, unknown>) =>
    server.call('PUT', `/1.0/instances/${name}/state`, body);

  test('each action has its description, its event and its new status', async () => {
    const row = await server.make('life');
    const steps = [
      [{ action: 'start', timeout: 0 }, 'Starting instance', 'instance-started', 'Running'],
      [{ action: 'freeze', timeout: 0 }, 'Freezing instance', 'instance-paused', 'Frozen'],
      [{ action: 'unfreeze', timeout: 0 }, 'Unfreezing instance', 'instance-resumed', 'Running'],
      [
        { action: 'restart', timeout: -1, force: true },
        'Restarting instance',
        'instance-restarted',
        'Running',
      ],
      [{ action: 'stop' }, 'Stopping instance', 'instance-shutdown', 'Stopped'],
      [{ action: 'start' }, 'Starting instance', 'instance-started', 'Running'],
      [{ action: 'stop', force: true }, 'Stopping instance', 'instance-stopped', 'Stopped'],
    ] as const;
    for (const [body, description, event, status] of steps) {
      const end = await finish(server, put('life', body));
      assert.equal(end['status'], 'Success', String(end['err']));
      assert.equal(end['description'], description);
      assert.equal(server.lifecycle.at(-1), `${event} /1.0/instances/life`);
      assert.equal(server.runtime.status(row.id), status);
      const shown = asObject((await server.call('GET', '/1.0/instances/life/state')).metadata);
      assert.equal(shown['status'], status);
    }
  });

  test('what has nothing to do fails with the text of LXD', async () => {
    const row = await server.make('texts');
    const cases = [
      ['Stopped', 'stop', 'The instance is already stopped'],
      ['Stopped', 'restart', 'The instance is already stopped'],
      ['Stopped', 'freeze', "The instance isn't running"],
      ['Running', 'start', 'The instance is already running'],
      ['Frozen', 'start', 'The instance is already running'],
      ['Frozen', 'freeze', 'The instance is already frozen'],
      ['Running', 'unfreeze', 'The instance is already running'],
    ] as const;
    for (const [status, action, text] of cases) {
      server.runtime.set(row.id, status);
      const end = await finish(server, put('texts', { action, force: true }));
      assert.equal(end['status'], 'Failure', action);
      assert.equal(end['status_code'], 400);
      assert.equal(end['err'], text);
    }
    server.runtime.set(row.id, 'Stopped');
  });

  test('a bad request is refused at once', async () => {
    await server.make('strict');
    const cases: readonly (readonly [Record<string, unknown>, number])[] = [
      [{ action: 'explode' }, 400],
      [{ action: 'constructor' }, 400],
      [{}, 400],
      [{ action: 'stop', timeout: 'soon' }, 400],
      [{ action: 'stop', timeout: -2 }, 400],
      [{ action: 'stop', stateful: true }, 501],
    ];
    for (const [body, status] of cases) {
      assert.equal((await put('strict', body)).status, status, JSON.stringify(body));
    }
    assert.equal((await put('nobody', { action: 'start' })).status, 404);
  });

  test('a second start joins the first', async () => {
    await server.make('joined');
    server.runtime.calls.length = 0;
    server.runtime.starting.close();
    const first = put('joined', { action: 'start' });
    const second = put('joined', { action: 'start' });
    await Promise.all([first, second]);
    server.runtime.starting.open();
    assert.equal((await finish(server, first))['status'], 'Success');
    assert.equal((await finish(server, second))['status'], 'Success');
    assert.deepEqual(server.runtime.calls, ['start']);
  });

  test('while a clean stop waits, other work is refused and a forced stop takes over', async () => {
    const row = await server.make('slow', { start: true });
    server.runtime.guest.close();
    const clean = put('slow', { action: 'stop', timeout: -1 });
    await clean;
    const start = await finish(server, put('slow', { action: 'start' }));
    assert.equal(start['err'], 'Instance is busy running a stop operation');
    const patch = await server.call('PATCH', '/1.0/instances/slow', { config: { 'user.a': '1' } });
    assert.equal(patch.status, 409);
    assert.match(patch.error, /busy running a stop operation/);
    const joined = put('slow', { action: 'stop', timeout: 30 });
    await joined;
    const forced = await finish(server, put('slow', { action: 'stop', force: true }));
    assert.equal(forced['status'], 'Success', String(forced['err']));
    assert.equal((await finish(server, clean))['status'], 'Success');
    assert.equal((await finish(server, joined))['status'], 'Success');
    assert.equal(server.runtime.status(row.id), 'Stopped');
    server.runtime.guest.open();
    assert.equal((await finish(server, put('slow', { action: 'start' })))['status'], 'Success');
  });

  test('a clean restart that a forced stop ends has failed', async () => {
    const row = await server.make('over', { start: true });
    server.runtime.guest.close();
    const clean = put('over', { action: 'restart', timeout: -1 });
    await clean;
    const forced = await finish(server, put('over', { action: 'stop', timeout: 0 }));
    server.runtime.guest.open();
    assert.equal(forced['status'], 'Success');
    const end = await finish(server, clean);
    assert.equal(end['status'], 'Failure');
    assert.match(String(end['err']), /forced stop took over/);
    assert.equal(server.runtime.status(row.id), 'Stopped');
  });

  test('a start behind a start that failed is a start of its own', async () => {
    await server.make('retry');
    server.runtime.faults.start = new Error('no cgroup');
    assert.equal((await finish(server, put('retry', { action: 'start' })))['status'], 'Failure');
    delete server.runtime.faults.start;
    assert.equal((await finish(server, put('retry', { action: 'start' })))['status'], 'Success');
  });
});

describe('the state of all instances of a project', () => {
  let server: InstanceServer;
  before(async () => {
    server = await startInstanceServer();
  });
  after(() => server.close());

  test('only those that the action concerns are changed, in one operation', async () => {
    const [a, b] = [await server.make('a'), await server.make('b', { start: true })];
    const end = await server.operate('PUT', '/1.0/instances', { state: { action: 'start', timeout: 0 } });
    assert.equal(end['status'], 'Success');
    assert.deepEqual(asObject(end['resources'])['instances'], ['/1.0/instances/a']);
    assert.equal(server.runtime.status(a.id), 'Running');
    assert.equal(server.runtime.status(b.id), 'Running');
  });

  test('the failures of some are collected and the others go on', async () => {
    const [a, b] = [server.store.byName('default', 'a'), server.store.byName('default', 'b')];
    await server.operate('PUT', '/1.0/instances', { state: { action: 'stop', force: true } });
    server.runtime.faults.start = new Error('no cgroup');
    const end = await server.operate('PUT', '/1.0/instances', { state: { action: 'start' } });
    delete server.runtime.faults.start;
    assert.equal(end['status'], 'Failure');
    assert.match(
      String(end['err']),
      /failed to update state:\n - Instance: a: no cgroup\n - Instance: b: no cgroup/,
    );
    assert.equal(server.runtime.status(a.id), 'Stopped');
    assert.equal(server.runtime.status(b.id), 'Stopped');
  });

  test('a request without a state is refused', async () => {
    assert.equal((await server.call('PUT', '/1.0/instances', {})).status, 400);
  });
});
