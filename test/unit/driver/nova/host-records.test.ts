/** What a host asks about itself is what a real compute service asked when it began. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Conductor } from '../../../../driver/nova/conductor.ts';
import { adminContext, requestIdOf, tokenOf } from '../../../../driver/nova/context.ts';
import { createNode, findNode, findNodeByUuid, nodesOfHost } from '../../../../driver/nova/host-records.ts';
import { instancesOfHost, instancesOfNode } from '../../../../driver/nova/instances.ts';
import { NovaObject } from '../../../../driver/nova/versioned-object.ts';
import { novaError } from '../../../../driver/rpc/nova-error.ts';
import { FakeCalls, sentArgs } from '../../../support/fake-conductor.ts';

const START = 'start-of-2022.jsonl';
const CLASS = 'object_class_action_versions';
const context = adminContext();

function listOf(name: string): unknown {
  const list = NovaObject.create(name, { objects: [] });
  list.resetChanges();
  return list.toPrimitive();
}

test('instances are asked for by host and by node', async () => {
  const calls = new FakeCalls(listOf('InstanceList'), listOf('InstanceList'));
  const conductor = new Conductor(calls);
  const attrs = ['info_cache', 'metadata', 'numa_topology'];
  assert.deepEqual(await instancesOfHost(conductor, context, 'node-a', attrs), []);
  const more = ['system_metadata', 'numa_topology', 'flavor', 'migration_context', 'resources'];
  await instancesOfNode(conductor, context, { host: 'node-a', node: 'node-a' }, more);
  assert.deepEqual(calls.args, [
    sentArgs(START, CLASS, 'get_by_host'),
    sentArgs(START, CLASS, 'get_by_host_and_node'),
  ]);
});

test('nodes are asked for by host, by name and by uuid; none is no error', async () => {
  const missing = novaError('ComputeHostNotFound', { host: 'node-a' });
  const calls = new FakeCalls(missing, missing, missing);
  const conductor = new Conductor(calls);
  assert.deepEqual(await nodesOfHost(conductor, context, 'node-a'), []);
  assert.equal(await findNode(conductor, context, 'node-a', 'node-a'), null);
  assert.equal(await findNodeByUuid(conductor, context, 'u1'), null);
  assert.deepEqual(calls.args.slice(0, 2), [
    sentArgs(START, CLASS, 'get_all_by_host'),
    sentArgs(START, CLASS, 'get_by_host_and_nodename'),
  ]);
  // A node that was deleted is revived under its old uuid.
  assert.deepEqual(
    calls.asked.map((each) => each.context['read_deleted']),
    ['no', 'no', 'yes'],
  );
});

test('a node is made with the objects within it, all of it as changes', async () => {
  const calls = new FakeCalls([{ id: 3, uuid: 'u1', obj_what_changed: [] }, null]);
  const spec = NovaObject.create('HVSpec', { arch: 'x86_64', hv_type: 'lxc', vm_mode: 'exe' });
  const node = await createNode(new Conductor(calls), context, {
    host: 'node-a',
    vcpus: 2,
    stats: { failed_builds: '0' },
    supported_hv_specs: [spec],
  });
  assert.equal(node.number('id'), 3);
  assert.deepEqual(node.whatChanged(), []);
  assert.deepEqual(calls.args[0], {
    objinst: {
      'nova_object.name': 'ComputeNode',
      'nova_object.namespace': 'nova',
      'nova_object.version': '1.19',
      'nova_object.data': {
        host: 'node-a',
        vcpus: 2,
        stats: { failed_builds: '0' },
        supported_hv_specs: [
          {
            'nova_object.name': 'HVSpec',
            'nova_object.namespace': 'nova',
            'nova_object.version': '1.2',
            'nova_object.data': { arch: 'x86_64', hv_type: 'lxc', vm_mode: 'exe' },
            'nova_object.changes': ['arch', 'hv_type', 'vm_mode'],
          },
        ],
      },
      'nova_object.changes': ['host', 'vcpus', 'stats', 'supported_hv_specs'],
    },
    objmethod: 'create',
    args: [],
    kwargs: {},
  });
});

test('a context of the service itself has a request id and no token', () => {
  assert.match(requestIdOf(context), /^req-[0-9a-f-]{36}$/);
  assert.equal(tokenOf(context), null);
  assert.equal(tokenOf({ auth_token: 't' }), 't');
  assert.equal(requestIdOf({ request_id: 5 }), '');
});
