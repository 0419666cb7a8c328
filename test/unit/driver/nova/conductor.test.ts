/** What is sent to conductor is what a real compute service sent. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Conductor } from '../../../../driver/nova/conductor.ts';
import { adminContext, elevated } from '../../../../driver/nova/context.ts';
import {
  beat,
  ensureService,
  findNode,
  minimumVersion,
  serviceVersion,
  updateNode,
} from '../../../../driver/nova/host-records.ts';
import {
  isTakenOver,
  loadFields,
  recordFault,
  saveInstance,
  withActionEvent,
} from '../../../../driver/nova/instances.ts';
import { manifestOf } from '../../../../driver/nova/object-versions.ts';
import { NovaObject } from '../../../../driver/nova/versioned-object.ts';
import { readFailure } from '../../../../driver/rpc/failures.ts';
import { isRecord } from '../../../../driver/rpc/json.ts';
import { novaError } from '../../../../driver/rpc/nova-error.ts';
import { FakeCalls, sentArgs as argsOf } from '../../../support/fake-conductor.ts';
import { recorded, recordings } from '../../../support/recorded-messages.ts';

const context = adminContext();

test('the manifest of each class is the one a real service sent', () => {
  let compared = 0;
  for (const name of recordings().filter((each) => each.includes('2022'))) {
    for (const { message } of recorded(name)) {
      const { args } = message;
      if (message['method'] !== 'object_class_action_versions' || !isRecord(args)) continue;
      compared += 1;
      assert.deepEqual(manifestOf(String(args['objname'])), args['object_versions'], String(args['objname']));
    }
  }
  assert.ok(compared >= 15);
});

test('a service that is new is made with its version among the changes', async () => {
  const calls = new FakeCalls(null, [{ id: 7, obj_what_changed: [] }, null]);
  const service = await ensureService(new Conductor(calls), context, 'node-a', 64);
  const [find, create] = calls.args;
  assert.deepEqual(
    find,
    argsOf('start-of-2022.jsonl', 'object_class_action_versions', 'get_by_host_and_binary'),
  );
  const real = NovaObject.of(argsOf('start-of-2022.jsonl', 'object_action', 'create')['objinst']);
  const mine = NovaObject.of(create?.['objinst']);
  assert.deepEqual(mine.fields(), real.fields());
  assert.deepEqual([...mine.whatChanged()].sort(), [...real.whatChanged()].sort());
  assert.equal(service.number('id'), 7);
  assert.deepEqual(service.whatChanged(), []);
});

test('a service made by another process meanwhile is taken', async () => {
  const made = NovaObject.create('Service', { host: 'node-a', report_count: 4, version: 64 });
  made.resetChanges();
  const exists = readFailure('{"class":"ServiceTopicExists","module":"nova.exception","message":"m"}');
  const calls = new FakeCalls(null, exists, made.toPrimitive(), [{ obj_what_changed: [] }, null]);
  const service = await ensureService(new Conductor(calls), context, 'node-a', 66);
  assert.equal(service.number('version'), 66);
  assert.equal(calls.asked.length, 4);
  await beat(new Conductor(new FakeCalls([{ obj_what_changed: [] }, null])), context, service);
  assert.equal(service.number('report_count'), 5);
});

test('the version that is reported is within what is known', async () => {
  assert.equal(await minimumVersion(new Conductor(new FakeCalls(68)), context, 'nova-conductor'), 68);
  assert.deepEqual(
    [0, 64, 68, 99].map((of) => serviceVersion(of, 0)),
    [64, 64, 68, 73],
  );
  assert.equal(serviceVersion(99, 66), 66);
});

test('a node that is not there is null, and nothing is written when nothing differs', async () => {
  const missing = readFailure('{"class":"ComputeHostNotFound","module":"nova.exception","message":"m"}');
  assert.equal(await findNode(new Conductor(new FakeCalls(missing)), context, 'h', 'h'), null);
  const node = NovaObject.create('ComputeNode', { vcpus: 4 });
  node.resetChanges();
  const calls = new FakeCalls([{ obj_what_changed: [] }, null]);
  assert.deepEqual(await updateNode(new Conductor(calls), context, node, { vcpus: 4 }), []);
  assert.deepEqual(await updateNode(new Conductor(calls), context, node, { vcpus: 5 }), ['vcpus']);
  assert.equal(calls.asked.length, 1);
});

test('a save sends the expected state, and keeps the changes when it is refused', async () => {
  const real = argsOf('boot-of-2022.jsonl', 'object_action', 'save');
  const instance = NovaObject.of(structuredClone(real['objinst']));
  const taken = readFailure('{"class":"UnexpectedTaskStateError","module":"nova.exception","message":"m"}');
  const calls = new FakeCalls(taken, [{ updated_at: null, obj_what_changed: [] }, null]);
  const conductor = new Conductor(calls);
  const expected = { taskState: ['scheduling', null] };
  const refused = await saveInstance(conductor, context, instance, expected).catch((err: unknown) => err);
  assert.ok(isTakenOver(refused));
  assert.deepEqual(calls.args[0], real);
  await saveInstance(conductor, context, instance, expected);
  assert.deepEqual(calls.args[1], real);
  assert.deepEqual(instance.whatChanged(), []);
});

test('fields that are missing are read once and are not changes', async () => {
  const flavor = NovaObject.create('Flavor', { vcpus: 2 });
  flavor.resetChanges();
  const full = NovaObject.create('Instance', { uuid: 'u1', flavor });
  const instance = NovaObject.create('Instance', { uuid: 'u1' });
  instance.resetChanges();
  const calls = new FakeCalls(full.toPrimitive());
  await loadFields(new Conductor(calls), context, instance, ['flavor', 'uuid']);
  await loadFields(new Conductor(calls), context, instance, ['flavor']);
  assert.equal(calls.asked.length, 1);
  assert.equal(calls.asked[0]?.context['read_deleted'], 'yes');
  assert.deepEqual(instance.whatChanged(), []);
  assert.equal(instance.object('flavor').number('vcpus'), 2);
});

test('an action event has a start and an end, with the trace of what failed', async () => {
  const calls = new FakeCalls();
  const conductor = new Conductor(calls);
  const start = argsOf('boot-of-2022.jsonl', 'object_class_action_versions', 'event_start');
  const [uuid, event] = Array.isArray(start['args']) ? start['args'].map(String) : [];
  const at = { instanceUuid: uuid ?? '', event: event ?? '', host: 'node-a', onLost: assert.ifError };
  assert.equal(await withActionEvent(conductor, context, at, () => Promise.resolve(5)), 5);
  assert.deepEqual(calls.args[0], start);
  assert.deepEqual(
    calls.args[1],
    argsOf('boot-of-2022.jsonl', 'object_class_action_versions', 'event_finish_with_failure'),
  );
  const boom = novaError('InstancePowerOffFailure', { reason: 'why' });
  await assert.rejects(
    withActionEvent(conductor, context, at, () => Promise.reject(boom)),
    boom,
  );
  const kwargs = calls.args[3]?.['kwargs'];
  assert.ok(isRecord(kwargs));
  assert.equal(kwargs['exc_val'], 'Instance could not be powered off: why');
  assert.match(String(kwargs['exc_tb']), /NovaError/);
});

test('a fault is at most 255 bytes long and has details only for code 500', async () => {
  const calls = new FakeCalls([{ obj_what_changed: [] }, null], [{ obj_what_changed: [] }, null]);
  const at = { instanceUuid: 'u1', host: 'node-a' };
  await recordFault(new Conductor(calls), context, at, new Error('ä'.repeat(400)));
  await recordFault(new Conductor(calls), context, at, novaError('ImageNotFound', { image_id: 'i' }));
  const [first, second] = calls.args.map((each) => NovaObject.of(each['objinst']));
  assert.equal(Buffer.byteLength(first?.text('message') ?? ''), 254);
  assert.equal(first?.number('code'), 500);
  assert.match(first.text('details'), /Error: ä/);
  assert.equal(second?.number('code'), 404);
  assert.equal(second.text('details'), '');
});

test('an elevated context keeps whose request it is', () => {
  const user = { ...context, roles: ['member'], is_admin: false, request_id: 'req-1', other: 1 };
  assert.deepEqual(elevated(user, 'yes'), {
    ...user,
    roles: ['member', 'admin'],
    is_admin: true,
    read_deleted: 'yes',
  });
});
