/** A failure at every step of a build: what is left, what its user is told, what another host is given. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { ImageFault } from '../../driver/cloud/image-format.ts';
import { novaError } from '../../driver/rpc/nova-error.ts';
import { isRecord, type Json } from '../../driver/rpc/json.ts';
import { Fault } from '../../process/fault.ts';
import { BuildBench, metError, networkRequests, NETWORK } from '../support/build-bench.ts';
import { primitive } from '../support/fake-nova.ts';

let bench: BuildBench;
beforeEach(async () => {
  bench = await BuildBench.make();
});
afterEach(() => bench.stop());

type End = 'abort' | 'elsewhere' | 'policy' | 'gone';

interface Case {
  readonly what: string;
  readonly end: End;
  /** Part of the fault, or of the reason another host is given. */
  readonly says?: RegExp;
  /** Arguments that differ from the recorded message. */
  readonly change?: () => Json;
  readonly break?: () => void;
}

/** Saves of the instance, in order; the first is number 1. */
function failSave(number: number, err: Error): void {
  const before = Array.from({ length: number - 1 }, () => undefined);
  bench.life.nova.fail('Instance.save', ...before, err);
}

const deleting = () => metError('UnexpectedDeletingTaskStateError', 'it is being deleted');
const taken = () => metError('UnexpectedTaskStateError', 'somebody else took over');
const missing = () => novaError('InstanceNotFound', { instance_id: 'i' });
const away = () => new Fault('internal', 'conductor failed');
const device = (fields: Json) =>
  primitive('BlockDeviceMappingList', { objects: [primitive('BlockDeviceMapping', { id: 1, ...fields })] });

const CASES: readonly Case[] = [
  {
    what: 'the action event cannot be begun',
    end: 'elsewhere',
    break: () => bench.life.nova.fail('InstanceActionEvent.event_start', away()),
  },
  {
    what: 'an injected file is not base64',
    end: 'abort',
    says: /not base64/,
    change: () => ({ injected_files: [['/etc/motd', '!!']] }),
  },
  {
    what: 'a network has a tag',
    end: 'abort',
    says: /tag/,
    change: () => ({ requested_networks: networkRequests({ network_id: NETWORK, tag: 'x' }) }),
  },
  {
    what: 'a disk is a volume',
    end: 'abort',
    says: /volumes are not supported/,
    change: () => ({
      block_device_mapping: device({ source_type: 'volume', destination_type: 'volume', boot_index: 0 }),
    }),
  },
  { what: 'there is no image', end: 'abort', says: /no image/, change: () => ({ image: {} }) },
  {
    what: 'the image is not active',
    end: 'abort',
    says: /not active/,
    change: () => ({ image: { id: 'i', status: 'queued' } }),
  },
  {
    what: 'the image is larger than the disk of the flavor',
    end: 'abort',
    says: /GiB of disk/,
    change: () => ({ image: { id: 'i', status: 'active', size: 2 ** 40 } }),
  },
  {
    what: 'the image cannot be used',
    end: 'abort',
    says: /no known format/,
    break: () => bench.imageFailures.push(new ImageFault('ImageUnacceptable', 'it is of no known format')),
  },
  {
    what: 'the daemon refuses the image',
    end: 'abort',
    says: /no root file system/,
    break: () => bench.imageFailures.push(new Fault('bad_request', 'import an image: no root file system')),
  },
  {
    what: 'the image does not come',
    end: 'elsewhere',
    says: /Glance is away/,
    break: () => bench.imageFailures.push(new Fault('unavailable', 'Glance is away')),
  },
  {
    what: 'the claim is refused',
    end: 'elsewhere',
    says: /Not enough/,
    break: () => failSave(2, novaError('ComputeResourcesUnavailable', { reason: 'no' })),
  },
  { what: 'the instance is gone at the claim', end: 'gone', break: () => failSave(2, missing()) },
  { what: 'another member of the group is here', end: 'policy', says: /Anti-affinity/, break: group },
  {
    what: 'the instance is being deleted when its networks are to come',
    end: 'gone',
    break: () => failSave(3, deleting()),
  },
  {
    what: 'somebody changed the task when its networks are to come',
    end: 'abort',
    break: () => failSave(3, taken()),
  },
  {
    what: 'conductor fails when its networks are to come',
    end: 'abort',
    says: /not rescheduling/,
    break: () => failSave(3, away()),
  },
  {
    what: 'the quota of ports is used up',
    end: 'abort',
    says: /not rescheduling/,
    break: () => bench.neutron.fail('POST', /ports$/, 409, 'OverQuota'),
  },
  {
    what: 'no address is left',
    end: 'abort',
    says: /not rescheduling/,
    break: () => bench.neutron.fail('POST', /ports$/, 409, 'IpAddressGenerationFailure'),
  },
  {
    what: 'the network is not there',
    end: 'abort',
    says: /there is none/,
    change: () => ({ requested_networks: networkRequests({ network_id: 'net-9' }) }),
    break: () => {
      const at = bench.neutron.networks.findIndex((one) => one['id'] === 'net-9');
      bench.neutron.networks.splice(at, 1);
    },
  },
  {
    what: 'the port cannot be bound here',
    end: 'elsewhere',
    says: /no agent/,
    break: () => {
      bench.neutron.vifType = 'binding_failed';
    },
  },
  { what: 'Neutron is away', end: 'elsewhere', break: () => bench.neutron.fail('POST', /ports$/, 500, '') },
  {
    what: 'Neutron is away when a port is to be bound',
    end: 'elsewhere',
    break: () => bench.neutron.fail('PUT', /ports/, 500, ''),
  },
  {
    what: 'Neutron is away when the VIF is to be described',
    end: 'elsewhere',
    break: () => bench.neutron.fail('GET', /subnets/, 500, ''),
  },
  {
    what: 'the record of the port cannot be made',
    end: 'elsewhere',
    break: () => bench.life.nova.fail('VirtualInterface.create', away()),
  },
  {
    what: 'the info cache cannot be saved',
    end: 'elsewhere',
    break: () => bench.life.nova.fail('InstanceInfoCache.save', away()),
  },
  {
    what: 'the name of the disk cannot be saved',
    end: 'elsewhere',
    break: () => bench.life.nova.fail('BlockDeviceMapping.save', away()),
  },
  { what: 'conductor fails at the state of the disks', end: 'elsewhere', break: () => failSave(4, away()) },
  {
    what: 'the instance is being deleted when its disks are ready',
    end: 'gone',
    break: () => failSave(4, deleting()),
  },
  {
    what: 'the instance is being deleted before the spawn',
    end: 'gone',
    break: () => failSave(5, deleting()),
  },
  {
    what: 'the guest cannot be made',
    end: 'elsewhere',
    says: /no luck/,
    break: () => bench.life.guests.fail('spawn', novaError('InstanceDeployFailure', { reason: 'no luck' })),
  },
  {
    what: 'no host could make the guest',
    end: 'abort',
    says: /what a container cannot be/,
    break: () =>
      bench.life.guests.fail(
        'spawn',
        novaError('BuildAbortException', { instance_uuid: 'i', reason: 'what a container cannot be' }),
      ),
  },
  {
    what: 'the container vanishes while it is made',
    end: 'elsewhere',
    says: /vanished/,
    break: () => bench.life.guests.fail('spawn', missing()),
  },
  {
    what: 'the ports cannot be plugged',
    end: 'abort',
    says: /Virtual interfaces/,
    break: () => bench.life.guests.fail('spawn', novaError('VirtualInterfaceCreateException')),
  },
  { what: 'Neutron says that the port failed', end: 'abort', says: /came as failed/, break: portFails },
  {
    what: 'the failed guest cannot be removed',
    end: 'abort',
    says: /no luck/,
    break: () => {
      bench.life.guests.fail('spawn', novaError('InstanceDeployFailure', { reason: 'no luck' }));
      bench.life.guests.fail('destroy', away());
    },
  },
  { what: 'the instance is being deleted when it runs', end: 'gone', break: () => failSave(6, deleting()) },
  { what: 'the instance is gone when it runs', end: 'gone', break: () => failSave(6, missing()) },
  { what: 'conductor fails when it runs', end: 'elsewhere', break: () => failSave(6, away()) },
];

function portFails(): void {
  bench.plugs = false;
  const { before } = bench.life.guests;
  bench.life.guests.before = async (method, uuid) => {
    await before(method, uuid);
    if (method !== 'spawn') return;
    const [tag = ''] = bench.neutron.portsOf(uuid);
    bench.host.events.deliver(uuid, { name: 'network-vif-plugged', tag, status: 'failed' });
  };
}

function group(): void {
  const { answers } = bench.life.nova;
  const data = { uuid: 'group-1', policy: 'anti-affinity', members: ['other'], rules: {} };
  answers.set('InstanceGroup.get_by_hint', () => primitive('InstanceGroup', data));
  answers.set('InstanceGroup.get_by_uuid', () => primitive('InstanceGroup', data));
  answers.set('InstanceList.get_uuids_by_host', () => ['other']);
  answers.set('MigrationList.get_in_progress_by_host_and_node', () =>
    primitive('MigrationList', { objects: [] }),
  );
}

const HINTED = {
  request_spec: null,
  filter_properties: { retry: {}, scheduler_hints: { group: ['group-1'] } },
};

for (const one of CASES) {
  test(`${one.what}: nothing is left (${one.end})`, async () => {
    const asked = bench.record('boot', { ...(one.end === 'policy' ? HINTED : {}), ...one.change?.() });
    one.break?.();
    await bench.ask(asked);
    assert.deepEqual(bench.leftovers(asked.uuid), { guest: false, ports: [], claim: false });
    assert.deepEqual([...new Set(bench.life.placement.dropped)], [asked.uuid]);
    check(one.end, asked.uuid, one.says ?? /./);
  });
}

function check(end: End, uuid: string, says: RegExp): void {
  const row = bench.life.row(uuid);
  const casts = bench.life.casts().filter((cast) => cast.method === 'build_instances');
  const { faults } = bench.life;
  if (end === 'abort') {
    assert.deepEqual(
      [row['vm_state'], row['task_state'], row['host'], row['node']],
      ['error', null, null, null],
    );
    assert.equal(faults.length, 1);
    assert.match(faults[0] ?? '', says);
    assert.equal(casts.length, 0);
  } else if (end === 'gone') {
    assert.notEqual(row['vm_state'], 'error');
    assert.deepEqual([faults, casts], [[], []]);
  } else {
    assert.deepEqual([row['vm_state'], row['task_state'], row['host']], ['building', 'scheduling', null]);
    assert.deepEqual(faults, []);
    assert.equal(casts.length, 1);
    assert.match(String(retryOf(casts[0]?.args ?? {})['exc_reason']), says);
  }
  assert.deepEqual(bench.ended, end === 'policy' ? [] : [false]);
}

function retryOf(args: Json): Json {
  const properties = args['filter_properties'];
  const retry = isRecord(properties) ? properties['retry'] : null;
  assert.ok(isRecord(retry));
  assert.ok(Array.isArray(retry['exc']));
  return retry;
}

test('a build that was deleted before it began leaves only its allocation to drop', async () => {
  const asked = bench.record('boot');
  bench.life.row(asked.uuid)['task_state'] = 'deleting';
  await bench.ask(asked);
  assert.deepEqual(bench.life.faults, []);
  assert.deepEqual(bench.life.placement.dropped, [asked.uuid]);
  assert.equal(bench.life.row(asked.uuid)['task_state'], 'deleting');
  assert.deepEqual(bench.ended, [false]);
});

test('without a scheduler that counts, the first failure is the last, and the reason is told', async () => {
  const asked = bench.record('boot', { filter_properties: {} });
  bench.life.guests.fail('spawn', novaError('InstanceDeployFailure', { reason: 'no luck' }));
  await bench.ask(asked);
  assert.match(bench.life.faults[0] ?? '', /no luck/);
  assert.equal(bench.life.row(asked.uuid)['vm_state'], 'error');
  assert.deepEqual(bench.leftovers(asked.uuid), { guest: false, ports: [], claim: false });
});

test('another host gets everything this one was given', async () => {
  const asked = bench.record('boot');
  bench.life.guests.fail('spawn', novaError('InstanceDeployFailure', { reason: 'no luck' }));
  await bench.ask(asked);
  const [cast] = bench.life.casts().filter((one) => one.method === 'build_instances');
  assert.ok(cast);
  for (const name of ['image', 'admin_password', 'injected_files', 'requested_networks', 'security_groups']) {
    assert.deepEqual(cast.args[name], asked.args[name], name);
  }
  assert.deepEqual(cast.args['host_lists'], [asked.args['host_list']]);
  const instances = cast.args['instances'];
  assert.ok(Array.isArray(instances) && instances.length === 1);
  const before = asked.args['filter_properties'];
  assert.ok(isRecord(before) && isRecord(before['retry']));
  assert.equal(retryOf(cast.args)['num_attempts'], before['retry']['num_attempts']);
});

for (const what of [
  'the guest cannot be made',
  'the info cache cannot be saved',
  'the quota of ports is used up',
]) {
  test(`${what}: the port its user made goes back to its user`, async () => {
    const asked = bench.record('boot', {
      requested_networks: networkRequests({ network_id: NETWORK, port_id: 'mine' }, { network_id: NETWORK }),
    });
    bench.neutron.addPort('mine', NETWORK, { tenant_id: tenantOf(asked.args) });
    CASES.find((one) => one.what === what)?.break?.();
    await bench.ask(asked);
    assert.deepEqual(bench.leftovers(asked.uuid), { guest: false, ports: [], claim: false });
    assert.deepEqual([...bench.neutron.ports.keys()], ['mine']);
    const { fields } = bench.neutron.ports.get('mine') ?? {};
    assert.deepEqual([fields?.['device_id'], fields?.['binding:host_id'] ?? null], ['', null]);
  });
}

function tenantOf(args: Json): unknown {
  const { instance } = args;
  const data = isRecord(instance) ? instance['nova_object.data'] : null;
  return isRecord(data) ? data['project_id'] : null;
}
