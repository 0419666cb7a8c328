/** Interfaces and addresses that come and go, and events of Neutron's, beside what was recorded. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { adminContext } from '../../driver/nova/context.ts';
import { isRecord, type Json } from '../../driver/rpc/json.ts';
import { novaError } from '../../driver/rpc/nova-error.ts';
import { BuildBench, NETWORK } from '../support/build-bench.ts';
import { primitive } from '../support/fake-nova.ts';
import { UUID } from '../support/life-bench.ts';

let bench: BuildBench;
beforeEach(async () => {
  bench = await BuildBench.make();
});
afterEach(() => bench.stop());

/** A running instance with these ports. */
function running(...ports: readonly string[]): Json {
  const vifs = ports.map((id) => ({
    id,
    address: 'fa:16:3e:00:00:99',
    active: true,
    network: { id: NETWORK },
  }));
  const cache = primitive('InstanceInfoCache', { instance_uuid: UUID, network_info: JSON.stringify(vifs) });
  const row = bench.life.add({ info_cache: cache, availability_zone: 'nova' });
  for (const id of ports) {
    bench.neutron.addPort(id, NETWORK, { device_id: UUID, device_owner: 'compute:nova' });
  }
  bench.life.guests.add(UUID);
  return bench.life.object(row);
}

function ask(method: string, args: Json): Promise<unknown> {
  return bench.ask({ method, args, context: { ...adminContext(), project_id: 'p1' } });
}

async function refused(method: string, args: Json): Promise<string> {
  const context = { ...adminContext(), project_id: 'p1' };
  return (await bench.refused({ method, args, context })).className;
}

function wanted(instance: Json, fields: Json = {}): Json {
  return { instance, network_id: NETWORK, port_id: null, requested_ip: null, tag: null, ...fields };
}

/** Ids in the info cache, as it was last saved. */
function cached(): unknown[] {
  const { objinst } = bench.life.nova.last('InstanceInfoCache.save');
  const data = isRecord(objinst) ? objinst['nova_object.data'] : null;
  assert.ok(isRecord(data));
  return (JSON.parse(String(data['network_info'])) as Json[]).map((vif) => vif['id']); // VIFs
}

test('a new interface comes behind those that are there', async () => {
  const instance = running('first');
  const vif = JSON.parse(JSON.stringify(await ask('attach_interface', wanted(instance)))) as Json; // a VIF
  assert.equal(vif['id'], 'port-01');
  assert.deepEqual(cached(), ['first', 'port-01']);
  // The ports that were there are not asked for again.
  assert.equal(bench.life.cloud.lines().filter((line) => line.includes('/floatingips')).length, 1);
});

test("a user's own port is attached, and given back when it is detached", async () => {
  const instance = running();
  bench.neutron.addPort('mine', NETWORK);
  await ask('attach_interface', wanted(instance, { network_id: null, port_id: 'mine' }));
  assert.equal(bench.neutron.ports.get('mine')?.fields['device_id'], UUID);
  const now = bench.life.object(bench.life.row());
  await ask('detach_interface', { instance: now, port_id: 'mine' });
  assert.equal(bench.neutron.ports.get('mine')?.fields['device_id'], '');
  assert.deepEqual(cached(), []);
});

test('an interface that cannot be plugged leaves no port', async () => {
  const instance = running('first');
  const reason = 'vnic_type direct is not for containers';
  bench.life.guests.fail('attachInterface', novaError('NovaException', {}, { message: reason }));
  assert.equal(await refused('attach_interface', wanted(instance)), 'InterfaceAttachFailed');
  assert.deepEqual([...bench.neutron.ports.keys()], ['first']);
  assert.deepEqual(cached(), ['first']);
  assert.equal(bench.life.faults.length, 1);
  assert.match(bench.life.faults[0] ?? '', /could not be attached: vnic_type direct is not for containers$/);
});

const REFUSALS: readonly (readonly [string, string, () => Json])[] = [
  ['a tag', 'NetworkInterfaceTaggedAttachNotSupported', () => ({ tag: 'x' })],
  ['a network that is not there', 'NetworkNotFound', () => ({ network_id: 'net-9' })],
  ['a port that is not there', 'PortNotFound', () => ({ network_id: null, port_id: 'nowhere' })],
  [
    'a port that is in use',
    'PortInUse',
    () => {
      bench.neutron.addPort('theirs', NETWORK, { device_id: 'other' });
      return { network_id: null, port_id: 'theirs' };
    },
  ],
  [
    'an address that is taken',
    'FixedIpAlreadyInUse',
    () => {
      bench.neutron.fail('POST', /ports$/, 409, 'IpAddressAlreadyAllocated');
      return { requested_ip: '10.0.0.9' };
    },
  ],
  [
    'a quota that is used up',
    'PortLimitExceeded',
    () => {
      bench.neutron.fail('POST', /ports$/, 409, 'OverQuota');
      return {};
    },
  ],
  [
    'nothing, where the project has no network',
    'InterfaceAttachFailedNoNetwork',
    () => {
      bench.neutron.networks.length = 0;
      return { network_id: null };
    },
  ],
];

for (const [what, className, change] of REFUSALS) {
  test(`${what} is refused as ${className}`, async () => {
    const instance = running('first');
    const ports = ['first'];
    const args = wanted(instance, change());
    if (className === 'PortInUse') ports.push('theirs');
    assert.equal(await refused('attach_interface', args), className);
    assert.deepEqual([...bench.neutron.ports.keys()], ports);
    assert.deepEqual(bench.life.guests.done, []);
  });
}

test('a port that is not attached cannot be detached', async () => {
  const instance = running('first');
  assert.equal(await refused('detach_interface', { instance, port_id: 'other' }), 'PortNotFound');
  assert.equal(bench.life.faults.length, 1);
});

test('a guest that keeps its interface keeps its port', async () => {
  const instance = running('first');
  bench.life.guests.fail(
    'detachInterface',
    novaError('NovaException', {}, { message: 'the bridge is busy' }),
  );
  assert.equal(await refused('detach_interface', { instance, port_id: 'first' }), 'InterfaceDetachFailed');
  assert.deepEqual([...bench.neutron.ports.keys()], ['first']);
  assert.match(bench.life.faults[0] ?? '', /could not be detached: the bridge is busy$/);
});

test('an address more, and one less', async () => {
  const instance = running('first');
  await ask('add_fixed_ip_to_instance', { instance, network_id: NETWORK });
  const fixed = bench.neutron.ports.get('first')?.fields['fixed_ips'];
  assert.deepEqual(fixed, [
    { subnet_id: `subnet-of-${NETWORK}`, ip_address: '10.0.0.99' },
    { subnet_id: `subnet-of-${NETWORK}` },
  ]);
  await ask('remove_fixed_ip_from_instance', { instance, address: '10.0.0.99' });
  assert.deepEqual(bench.neutron.ports.get('first')?.fields['fixed_ips'], [
    { subnet_id: `subnet-of-${NETWORK}` },
  ]);
});

function event(instance: Json, name: string, tag: string, status = 'completed'): Promise<unknown> {
  const told = primitive('InstanceExternalEvent', { instance_uuid: UUID, name, tag, status });
  return ask('external_instance_event', { instances: [instance], events: [told] });
}

test('a port that changed is asked for anew; the others stay', async () => {
  const instance = running('first', 'second');
  await event(instance, 'network-changed', 'second');
  assert.deepEqual(cached(), ['first', 'second']);
  const asked = bench.life.cloud.lines().filter((line) => line.includes('/floatingips'));
  assert.equal(asked.length, 1);
  assert.match(asked[0] ?? '', /port_id=second/);
});

test('a port that is no longer there goes from the cache', async () => {
  const instance = running('first', 'second');
  bench.neutron.ports.delete('second');
  await event(instance, 'network-changed', 'second');
  assert.deepEqual(cached(), ['first']);
});

test('a port that was deleted goes from the guest', async () => {
  const instance = running('first', 'second');
  await event(instance, 'network-vif-deleted', 'first');
  assert.deepEqual(cached(), ['second']);
  assert.deepEqual(bench.life.guests.done, ['detachInterface first']);
});

test('an event wakes who waits for it; one nobody waits for is no failure', async () => {
  const instance = running('first');
  const waiting = bench.host.events.expect(UUID, [{ name: 'network-vif-plugged', tag: 'first' }]);
  await event(instance, 'network-vif-plugged', 'first');
  await waiting.wait(1000);
  await event(instance, 'network-vif-plugged', 'first');
  assert.deepEqual(bench.life.faults, []);
});

test('an event of an instance that is gone is no failure', async () => {
  const instance = running('first');
  bench.life.nova.fail('InstanceInfoCache.refresh', novaError('InstanceNotFound', { instance_id: UUID }));
  await event(instance, 'network-changed', 'first');
  assert.deepEqual(bench.life.faults, []);
});
