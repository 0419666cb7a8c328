/** Builds and deletes beside what was recorded: what a guest gets, what is waited for, what others do meanwhile. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Fault } from '../../process/fault.ts';
import { isRecord, type Json } from '../../driver/rpc/json.ts';
import { novaError } from '../../driver/rpc/nova-error.ts';
import { BuildBench, metError, networkRequests, NETWORK } from '../support/build-bench.ts';
import { primitive } from '../support/fake-nova.ts';

let bench: BuildBench;
beforeEach(async () => {
  bench = await BuildBench.make();
});
afterEach(() => bench.stop());

async function remake(extra: string): Promise<void> {
  await bench.stop();
  bench = await BuildBench.make(extra);
}

function dataOf(args: Json): Json {
  const { instance } = args;
  const data = isRecord(instance) ? instance['nova_object.data'] : null;
  assert.ok(isRecord(data));
  return data;
}

function fileOf(path: string): string {
  return bench.life.guests.spawned[0]?.drive?.get(path)?.toString() ?? '';
}

test('a config drive is made when the server asks for one, and the record says so', async () => {
  const asked = bench.record('boot');
  dataOf(asked.args)['config_drive'] = 'True';
  await bench.ask(asked);
  const metadata = JSON.parse(fileOf('openstack/latest/meta_data.json')) as Json; // the file's shape
  assert.equal(metadata['uuid'], asked.uuid);
  assert.equal(metadata['admin_pass'], asked.args['admin_password']);
  assert.match(fileOf('openstack/latest/network_data.json'), /fa:16:3e/);
});

test('a config drive has the domain and the vendor data of the configuration', async () => {
  const path = join(await mkdtemp(join(tmpdir(), 'vendor-')), 'vendor.json');
  await writeFile(path, '{"cloud-init": "#cloud-config"}');
  const metadataWith = async (file: string) => {
    await remake(
      `force_config_drive = true\n[api]\ndhcp_domain = example.org\nvendordata_jsonfile_path = ${file}\n`,
    );
    await bench.ask(bench.record('boot-no-network'));
    return fileOf('openstack/latest/vendor_data.json');
  };
  assert.equal(await metadataWith(path), '{"cloud-init":"#cloud-config"}');
  assert.match(fileOf('openstack/latest/vendor_data2.json'), /^\{"static":\{"cloud-init"/);
  assert.match(fileOf('openstack/latest/meta_data.json'), /"hostname":"[^".]+\.example\.org"/);
  // As in Nova: a broken file is no reason to build nothing.
  await writeFile(path, '{');
  assert.equal(await metadataWith(path), '{}');
  assert.equal(await metadataWith(`${path}.gone`), '{}');
  await rm(dirname(path), { recursive: true });
});

test('where every server gets a config drive, its record says that it has one', async () => {
  await remake('force_config_drive = true\n');
  const asked = bench.record('boot-no-network');
  await bench.ask(asked);
  assert.notEqual(fileOf('openstack/latest/meta_data.json'), '');
  assert.equal(bench.life.row(asked.uuid)['config_drive'], 'True');
});

test('files its user sent come in a config drive', async () => {
  const content = Buffer.from('hello\n').toString('base64');
  const asked = bench.record('boot-no-network', { injected_files: [['/etc/motd', content]] });
  await bench.ask(asked);
  assert.equal(fileOf('openstack/content/0000'), 'hello\n');
  assert.match(fileOf('openstack/latest/meta_data.json'), /\/etc\/motd/);
});

test('the addresses of the network an operator named are the ones users see first', async () => {
  await remake('default_access_ip_network_name = private\n');
  const asked = bench.record('boot');
  await bench.ask(asked);
  assert.equal(bench.life.row(asked.uuid)['access_ip_v4'], '10.0.0.01');
});

test('disks without a name get one in the order Nova gives them', async () => {
  const device = (id: number, fields: Json) =>
    primitive('BlockDeviceMapping', { id, destination_type: 'local', device_name: null, ...fields });
  const devices = [
    device(1, { source_type: 'blank', guest_format: 'swap', boot_index: -1 }),
    device(2, { source_type: 'blank', guest_format: null, boot_index: -1 }),
    device(3, { source_type: 'image', boot_index: 0 }),
  ];
  const list = primitive('BlockDeviceMappingList', { objects: devices });
  await bench.ask(bench.record('boot-no-network', { block_device_mapping: list }));
  const saved = bench.life.calls().filter((call) => call.object === 'BlockDeviceMapping');
  assert.deepEqual(
    saved.map((call) => call.changes?.['device_name']),
    ['/dev/sda', '/dev/sdb', '/dev/sdc'],
  );
});

test('ports that a host before has left are bound to this one', async () => {
  const asked = bench.record('boot');
  const data = dataOf(asked.args);
  data['system_metadata'] = { network_allocated: 'True' };
  const { project_id: tenant_id } = data;
  bench.neutron.addPort('left', NETWORK, { device_id: asked.uuid, tenant_id, 'binding:host_id': 'node-b' });
  await bench.ask(asked);
  assert.equal(bench.neutron.ports.get('left')?.fields['binding:host_id'], 'node-a');
  assert.deepEqual(
    bench.life.guests.spawned[0]?.vifs.map((vif) => vif.id),
    ['left'],
  );
  const { system_metadata: kept } = bench.life.row(asked.uuid);
  assert.ok(isRecord(kept));
  assert.equal(Object.hasOwn(kept, 'network_allocated'), false);
});

test('an affinity group is kept to: members elsewhere send the build there', async () => {
  const asked = bench.record('boot-no-network', {
    request_spec: null,
    filter_properties: { retry: {}, scheduler_hints: { group: 'group-1' } },
  });
  const data = { uuid: 'group-1', policy: 'affinity', members: [], rules: {} };
  bench.life.nova.answers.set('InstanceGroup.get_by_hint', () => primitive('InstanceGroup', data));
  bench.life.nova.answers.set('InstanceGroup.get_hosts', () => [{ obj_what_changed: [] }, ['node-b']]);
  await bench.ask(asked);
  assert.equal(bench.life.row(asked.uuid)['task_state'], 'scheduling');
  assert.deepEqual(bench.ended, []);
});

test('a group that lets two be here lets the second come', async () => {
  const asked = bench.record('boot-no-network', {
    request_spec: null,
    filter_properties: { scheduler_hints: { group: 'group-1' } },
  });
  const rules = { max_server_per_host: 2 };
  const data = { uuid: 'group-1', policy: 'anti-affinity', members: ['other'], rules };
  const { answers } = bench.life.nova;
  answers.set('InstanceGroup.get_by_hint', () => primitive('InstanceGroup', data));
  answers.set('InstanceGroup.get_by_uuid', () => primitive('InstanceGroup', data));
  answers.set('InstanceList.get_uuids_by_host', () => ['other', asked.uuid]);
  answers.set('MigrationList.get_in_progress_by_host_and_node', () =>
    primitive('MigrationList', { objects: [] }),
  );
  await bench.ask(asked);
  assert.equal(bench.life.row(asked.uuid)['vm_state'], 'active');
});

test('a hint for a group that is gone is no hint', async () => {
  const asked = bench.record('boot-no-network', {
    request_spec: null,
    filter_properties: { scheduler_hints: { group: 'group-1' } },
  });
  bench.life.nova.fail('InstanceGroup.get_by_hint', metError('InstanceGroupNotFound'));
  await bench.ask(asked);
  assert.equal(bench.life.row(asked.uuid)['vm_state'], 'active');
});

test('a delete that comes while a build waits for its ports ends the wait', async () => {
  bench.plugs = false;
  const asked = bench.record('boot');
  const isSpawned = new Promise<void>((resolve) => {
    const { before } = bench.life.guests;
    bench.life.guests.before = async (method, uuid) => {
      await before(method, uuid);
      if (method === 'spawn') void setImmediate().then(resolve);
    };
  });
  const build = bench.ask(asked);
  await isSpawned;
  const { instance } = asked.args;
  const context = asked.context;
  await bench.ask({
    method: 'terminate_instance',
    args: { instance: structuredClone(instance), bdms: null },
    context,
  });
  await build;
  assert.equal(bench.life.nova.instances.length, 0);
  assert.deepEqual(bench.leftovers(asked.uuid), { guest: false, ports: [], claim: false });
});

test('a delete does not wait for the image of a build', async () => {
  bench.isImageSlow = true;
  const asked = bench.record('boot');
  const build = bench.ask(asked);
  while (bench.life.row(asked.uuid)['task_state'] !== 'spawning') await setImmediate();
  const args = { instance: structuredClone(asked.args['instance']), bdms: null };
  await bench.ask({ method: 'terminate_instance', args, context: asked.context });
  await build;
  assert.equal(bench.life.nova.instances.length, 0);
  assert.deepEqual(bench.life.guests.spawned, []);
  assert.deepEqual(bench.leftovers(asked.uuid), { guest: false, ports: [], claim: false });
  assert.deepEqual(bench.life.faults, []);
});

test('a port that is not plugged is no failure where it is not fatal', async () => {
  await remake('vif_plugging_is_fatal = false\nvif_plugging_timeout = 1\n');
  bench.plugs = false;
  const asked = bench.record('boot');
  await bench.ask(asked);
  assert.equal(bench.life.row(asked.uuid)['vm_state'], 'active');
});

test('a port that Neutron calls wired is wired, though its event was lost', async () => {
  await remake('vif_plugging_timeout = 2\n');
  bench.plugs = false;
  bench.life.guests.before = (method) => {
    if (method === 'spawn') bench.neutron.wire();
    return Promise.resolve();
  };
  const asked = bench.record('boot');
  await bench.ask(asked);
  assert.equal(bench.life.row(asked.uuid)['vm_state'], 'active');
  assert.deepEqual(bench.life.faults, []);
});

test('as many builds run at a time as the option says', async () => {
  await remake('max_concurrent_builds = 1\n');
  let running = 0;
  let most = 0;
  bench.life.guests.before = async (method) => {
    if (method !== 'spawn') return;
    running += 1;
    most = Math.max(most, running);
    await setImmediate();
    running -= 1;
  };
  await bench.askTogether([bench.record('boot-many-1'), bench.record('boot-many-2')]);
  assert.equal(most, 1);
  assert.deepEqual(bench.ended, [true, true]);
});

test('a guest that cannot be powered off keeps its ports, and its delete fails', async () => {
  const asked = bench.record('delete');
  bench.life.guests.add(asked.uuid);
  bench.neutron.addPort('p', NETWORK, { device_id: asked.uuid });
  bench.life.guests.fail('destroy', novaError('InstancePowerOffFailure', { reason: 'it does not stop' }));
  const failure = await bench.refused(asked);
  assert.equal(failure.className, 'InstancePowerOffFailure');
  assert.deepEqual(bench.neutron.portsOf(asked.uuid), ['p']);
  assert.equal(bench.life.row(asked.uuid)['vm_state'], 'error');
  assert.equal(bench.life.faults.length, 1);
  bench.life.nova.instances.length = 0;
  await bench.ask(bench.record('delete'));
  assert.deepEqual(bench.leftovers(asked.uuid), { guest: false, ports: [], claim: false });
});

test('a guest that cannot be removed gives its ports back all the same', async () => {
  const asked = bench.record('delete');
  bench.neutron.addPort('p', NETWORK, { device_id: asked.uuid });
  bench.life.guests.fail('destroy', novaError('InstanceTerminationFailure', { reason: 'busy' }));
  await bench.refused(asked);
  assert.deepEqual(bench.neutron.portsOf(asked.uuid), []);
  assert.equal(bench.life.row(asked.uuid)['vm_state'], 'error');
});

test('an instance whose record is gone is deleted from this host', async () => {
  const asked = bench.record('delete');
  bench.life.guests.add(asked.uuid);
  bench.life.nova.instances.length = 0;
  await bench.ask(asked);
  assert.deepEqual(bench.leftovers(asked.uuid), { guest: false, ports: [], claim: false });
  assert.deepEqual(bench.life.faults, []);
});

test('a port its user made outlives the server', async () => {
  const asked = bench.record('delete');
  const cache = dataOf(asked.args)['info_cache'];
  const fields = isRecord(cache) ? cache['nova_object.data'] : null;
  assert.ok(isRecord(fields));
  fields['network_info'] = JSON.stringify([{ id: 'mine', preserve_on_delete: true, network: {} }]);
  bench.neutron.addPort('mine', NETWORK, { device_id: asked.uuid });
  await bench.ask(asked);
  assert.equal(bench.neutron.ports.get('mine')?.fields['device_id'], '');
});

test('two requested networks are the first and the second interface', async () => {
  bench.neutron.addNetwork('net-2');
  const requested = networkRequests({ network_id: 'net-2' }, { network_id: NETWORK });
  await bench.ask(bench.record('boot', { requested_networks: requested }));
  assert.deepEqual(
    bench.life.guests.spawned[0]?.vifs.map((vif) => vif.network.id),
    ['net-2', NETWORK],
  );
});

test('a control plane that is away for a while does not leave a server in the middle of its build', async () => {
  const asked = bench.record('boot-no-network', { filter_properties: {} });
  bench.life.guests.fail('spawn', novaError('InstanceDeployFailure', { reason: 'no luck' }));
  const late = () => new Fault('timeout', 'conductor did not answer');
  bench.life.nova.fail('InstanceFault.create', late());
  await bench.ask(asked);
  assert.match(bench.life.faults.at(-1) ?? '', /no luck/);
  assert.equal(bench.life.row(asked.uuid)['vm_state'], 'error');
});

test('a build whose beginning could not be written down goes to another host', async () => {
  const asked = bench.record('boot-no-network');
  bench.life.nova.fail('Instance.save', new Fault('timeout', 'conductor did not answer'));
  await bench.ask(asked);
  assert.equal(bench.life.row(asked.uuid)['task_state'], 'scheduling');
  assert.equal(bench.life.casts().filter((cast) => cast.method === 'build_instances').length, 1);
});

test('the allocation of networks is tried again as often as the option says', async () => {
  await remake('network_allocate_retries = 1\n');
  bench.neutron.fail('POST', /ports$/, 500, '');
  const asked = bench.record('boot');
  await bench.ask(asked);
  assert.equal(bench.life.row(asked.uuid)['vm_state'], 'active');
  assert.equal(bench.neutron.portsOf(asked.uuid).length, 1);
});

test('a project without a network gets the one that Neutron makes for it', async () => {
  bench.neutron.networks.length = 0;
  const requested_networks = networkRequests({ network_id: 'auto' });
  const asked = bench.record('boot-no-network', { requested_networks });
  bench.neutron.networks.length = 0;
  await bench.ask(asked);
  assert.deepEqual(
    bench.life.guests.spawned[0]?.vifs.map((vif) => vif.network.id),
    ['auto-1'],
  );
});

test('where Neutron makes no networks, a server that wants one is not built', async () => {
  const requested_networks = networkRequests({ network_id: 'auto' });
  const asked = bench.record('boot-no-network', { requested_networks });
  bench.neutron.networks.length = 0;
  bench.neutron.fail('GET', /auto-allocated/, 404, 'NotFound');
  await bench.ask(asked);
  assert.match(bench.life.faults[0] ?? '', /not rescheduling/);
});

test('where the cell cannot ask for groups, their policies are not looked at again', async () => {
  await remake('[workarounds]\ndisable_group_policy_check_upcall = true\n');
  const filter_properties = { scheduler_hints: { group: 'group-1' } };
  const asked = bench.record('boot-no-network', { request_spec: null, filter_properties });
  await bench.ask(asked);
  assert.equal(bench.life.row(asked.uuid)['vm_state'], 'active');
  assert.equal(bench.life.nova.lines.includes('InstanceGroup.get_by_hint'), false);
});
