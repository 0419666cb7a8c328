import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NovaObject } from '../../../../driver/nova/versioned-object.ts';
import { isRecord, type Json } from '../../../../driver/rpc/json.ts';
import { isFault } from '../../../../process/fault.ts';
import { recorded, recordedRequest, recordings } from '../../../support/recorded-messages.ts';

/** Every primitive at any depth. */
function primitives(value: unknown, found: Json[] = []): Json[] {
  if (Array.isArray(value)) for (const each of value) primitives(each, found);
  if (!isRecord(value)) return found;
  if (typeof value['nova_object.name'] === 'string') found.push(value);
  for (const each of Object.values(value)) primitives(each, found);
  return found;
}

function builtInstance(): NovaObject {
  const { args } = recordedRequest('boot-of-2025.jsonl', 'build_and_run_instance').message;
  assert.ok(isRecord(args));
  return NovaObject.of(args['instance']);
}

test('every recorded object goes out byte for byte as it came in', () => {
  let objects = 0;
  for (const name of recordings()) {
    for (const { message } of recorded(name)) {
      for (const primitive of primitives(message)) {
        objects += 1;
        const before = JSON.stringify(primitive);
        assert.equal(JSON.stringify(NovaObject.of(primitive)), before);
      }
    }
  }
  assert.ok(objects > 300, String(objects));
});

test('an instance is read by the types of its fields', () => {
  const instance = builtInstance();
  assert.equal(instance.name, 'Instance');
  assert.equal(instance.version, '2.8');
  assert.ok(instance.isAtLeast(8) && !instance.isAtLeast(9));
  assert.equal(instance.text('task_state'), 'scheduling');
  assert.equal(instance.textOrNull('host'), null);
  assert.equal(instance.textOrNull('no_such_field'), null);
  assert.ok(instance.dateOrNull('created_at') instanceof Date);
  assert.equal(instance.object('flavor').number('vcpus'), 1);
  assert.equal(typeof instance.texts('system_metadata')['image_disk_format'], 'string');
  assert.throws(
    () => instance.text('no_such_field'),
    (err) => isFault(err, 'internal'),
  );
  assert.throws(() => instance.number('uuid'), /not a number/);
});

test('what is set counts as changed, times and objects are written as Nova writes them', () => {
  const instance = builtInstance();
  instance.resetChanges();
  assert.deepEqual(instance.whatChanged(), []);
  assert.equal('nova_object.changes' in instance.toPrimitive(), false);
  instance.set('host', 'node-a').set('launched_at', new Date('2026-01-02T03:04:05.678Z'));
  instance.set('host', 'node-a');
  const primitive = instance.toPrimitive();
  assert.deepEqual(primitive['nova_object.changes'], ['host', 'launched_at']);
  assert.equal(instance.get('launched_at'), '2026-01-02T03:04:05Z');
});

test('a change within a nested object is a change of the field that holds it', () => {
  const instance = builtInstance();
  instance.resetChanges();
  instance.object('info_cache').set('network_info', '[]');
  assert.deepEqual(instance.whatChanged(), ['info_cache']);
  assert.deepEqual(instance.toPrimitive()['nova_object.changes'], ['info_cache']);
  const copy = instance.clone();
  instance.resetChanges();
  assert.deepEqual(instance.object('info_cache').whatChanged(), []);
  assert.deepEqual(copy.whatChanged(), ['info_cache']);
});

test('only fields that differ are assigned', () => {
  const spec = () => NovaObject.create('HVSpec', { arch: 'x86_64', hv_type: 'lxc', vm_mode: 'exe' });
  const node = NovaObject.create('ComputeNode', {
    vcpus: 4,
    stats: { a: '1', b: '2' },
    supported_hv_specs: [spec()],
  });
  node.resetChanges();
  const same = { vcpus: 4, stats: { b: '2', a: '1' }, supported_hv_specs: [spec()] };
  assert.deepEqual(node.assign(same), []);
  assert.deepEqual(node.assign({ ...same, vcpus: 8, host_ip: null }), ['vcpus', 'host_ip']);
  assert.deepEqual(node.whatChanged(), ['vcpus', 'host_ip']);
});

test('updates of conductor are taken over, what was set meanwhile stays', () => {
  const instance = builtInstance();
  instance.set('host', 'node-a').set('task_state', 'networking');
  const newer = instance.track();
  instance.set('task_state', 'spawning');
  instance.untrack(newer);
  instance.applyUpdates(
    { host: 'NODE-A', task_state: 'networking', updated_at: null, obj_what_changed: [] },
    newer,
  );
  assert.equal(instance.text('host'), 'NODE-A');
  assert.equal(instance.text('task_state'), 'spawning');
  assert.deepEqual(instance.whatChanged(), ['task_state']);
  instance.applyUpdates({ obj_what_changed: ['host'] });
  assert.deepEqual(instance.whatChanged(), ['host']);
});

test('what is no object is refused', () => {
  const bare = { 'nova_object.name': 'X' };
  for (const value of [
    null,
    5,
    [],
    {},
    bare,
    { ...bare, 'nova_object.version': '1.0', 'nova_object.data': [] },
  ]) {
    assert.throws(
      () => NovaObject.of(value),
      (err) => isFault(err, 'bad_request'),
    );
  }
});
