import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'node:test';
import { Events } from '../../../../api/events/events.ts';
import { openOperations, instanceResources } from '../../../../api/operations/operations.ts';
import type { OperationRequest } from '../../../../api/operations/types.ts';
import { Fault, isFault } from '../../../../process/fault.ts';
import { SILENT } from '../../../../process/log.ts';
import type { Log } from '../../../../process/log.ts';
import { readMetadata, fakeSocket } from '../../../support/http-fakes.ts';

function setUp(options: { log?: Log; keepEndedMs?: number } = {}) {
  const events = new Events();
  const seen: string[] = [];
  events.subscribe((event) => {
    const metadata = readMetadata(event.metadata);
    seen.push(`${event.type} ${String(metadata['status'])}`);
  });
  const { keepEndedMs } = options;
  const operations = openOperations({
    events,
    log: options.log ?? SILENT,
    ...(keepEndedMs === undefined ? {} : { keepEndedMs }),
  });
  return { events, seen, operations };
}

const TASK: OperationRequest = { class: 'task', description: 'Starting instance', project: 'default' };

test('a task goes from pending over running to success, each told by an event in order', async () => {
  const { operations, seen } = setUp();
  const operation = operations.create({
    ...TASK,
    run: async (context) => {
      context.setMetadata({ fs_progress: '1%' });
    },
  });
  assert.equal(operation.render()['status'], 'Running');
  await operation.finished;
  assert.deepEqual(seen, [
    'operation Pending',
    'operation Running',
    'operation Running',
    'operation Success',
  ]);
  assert.deepEqual(operation.render()['metadata'], { fs_progress: '1%' });
});

test('the final event comes when the operation reads as final', async () => {
  const { operations, events } = setUp();
  const readings: unknown[] = [];
  const operation = operations.create({ ...TASK, run: async () => undefined });
  events.subscribe(() => readings.push(operations.get(operation.id)?.render()['status_code']));
  await operation.finished;
  assert.deepEqual(readings, [200]);
});

test('what a task throws becomes err, with the texts of the causes', async () => {
  const { operations } = setUp();
  const cause = Object.assign(new Error("ENOSPC: no space left on device, write '/x'"), {
    code: 'ENOSPC',
    syscall: 'write',
  });
  const operation = operations.create({
    ...TASK,
    run: () => Promise.reject(new Fault('storage_full', 'unpack the image', { cause })),
  });
  await operation.finished;
  assert.equal(operation.render()['err'], 'unpack the image: ENOSPC: no space left on device');
  assert.equal(operation.render()['status'], 'Failure');
});

test('an error that is no Fault is logged once with its stack and hidden from the client', async () => {
  const lines: { msg: string; stack: unknown }[] = [];
  const log: Log = {
    ...SILENT,
    error: (msg, facts) => void lines.push({ msg, stack: facts?.['stack'] }),
    with: () => log,
  };
  const { operations } = setUp({ log });
  const operation = operations.create({
    ...TASK,
    run: () => {
      throw new TypeError('secret detail of /some/path');
    },
  });
  await operation.finished;
  assert.equal(lines.length, 1);
  assert.match(String(lines[0]?.stack), /TypeError: secret detail/);
  assert.doesNotMatch(String(operation.render()['err']), /secret|path/);
});

test('an ended operation is readable for a while and then gone', async () => {
  const { operations } = setUp({ keepEndedMs: 1 });
  const operation = operations.create({ ...TASK, run: async () => undefined });
  await operation.finished;
  assert.equal(operations.known(operation.id).status, 'Success');
  const deadline = Date.now() + 5000;
  while (operations.get(operation.id) !== undefined && Date.now() < deadline) await turn();
  assert.throws(
    () => operations.known(operation.id),
    (err) => isFault(err, 'not_found'),
  );
});

test('cancel tells the work and ends as cancelled', async () => {
  const { operations, seen } = setUp();
  const operation = operations.create({
    ...TASK,
    mayCancel: true,
    run: ({ signal }) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          reject(signal.reason);
        });
      }),
  });
  await turn();
  await operation.cancel();
  await operation.finished;
  assert.deepEqual(seen.slice(2), ['operation Cancelling', 'operation Cancelled']);
  await assert.rejects(operation.cancel(), (err) => isFault(err, 'bad_request'));
});

test('an operation that may not be cancelled refuses', async () => {
  const { operations } = setUp();
  let release: () => void = () => undefined;
  const operation = operations.create({ ...TASK, run: () => new Promise((resolve) => (release = resolve)) });
  await turn();
  await assert.rejects(operation.cancel(), (err) => isFault(err, 'bad_request'));
  release();
  await operation.finished;
});

test('each websocket secret connects once, a wrong one never', async () => {
  const { operations } = setUp();
  const connected: string[] = [];
  let release: () => void = () => undefined;
  const operation = operations.create({
    class: 'websocket',
    description: 'Executing command',
    project: 'default',
    metadata: { fds: { '0': 'a'.repeat(64), control: 'b'.repeat(64) } },
    onConnect: (fd) => void connected.push(fd),
    run: () => new Promise((resolve) => (release = resolve)),
  });
  await turn();
  operations.connect(operation.id, 'b'.repeat(64))(fakeSocket());
  assert.deepEqual(connected, ['control']);
  for (const secret of ['b'.repeat(64), 'c'.repeat(64), '']) {
    assert.throws(
      () => operations.connect(operation.id, secret),
      (err) => isFault(err, 'forbidden'),
    );
  }
  release();
  await operation.finished;
  assert.throws(
    () => operations.connect(operation.id, 'a'.repeat(64)),
    (err) => isFault(err, 'bad_request'),
  );
});

test('a token is found by its secret once and is cancelled by its use', () => {
  const { operations, seen } = setUp();
  operations.create({
    class: 'token',
    description: 'Executing operation',
    project: '',
    metadata: { secret: 's1' },
  });
  const matches = (metadata: Readonly<Record<string, unknown>>) => metadata['secret'] === 's1';
  assert.equal(operations.useToken(matches)?.render()['status'], 'Cancelled');
  assert.equal(operations.useToken(matches), undefined);
  assert.deepEqual(seen, ['operation Pending', 'operation Running', 'operation Cancelled']);
});

test('a stop tells running work, refuses new work and names what does not end', async () => {
  const { operations } = setUp();
  operations.create({ ...TASK, description: 'stuck', run: () => new Promise(() => undefined) });
  const polite = operations.create({
    ...TASK,
    run: ({ signal }) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          reject(signal.reason);
        });
      }),
  });
  await turn();
  operations.abortAll();
  await polite.finished;
  assert.equal(polite.render()['err'], 'the server is shutting down');
  assert.deepEqual(await operations.settle(10), ['stuck']);
  assert.deepEqual(await operations.settle(60_000, (description) => description !== 'stuck'), []);
  assert.throws(
    () => operations.create(TASK),
    (err) => isFault(err, 'unavailable'),
  );
});

test('resources name an instance under both of its keys', () => {
  assert.deepEqual(instanceResources('p1', 'c1'), {
    instances: ['/1.0/instances/c1?project=p1'],
    containers: ['/1.0/containers/c1?project=p1'],
  });
});
