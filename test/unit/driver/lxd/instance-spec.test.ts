import assert from 'node:assert/strict';
import { test } from 'node:test';
import { flavorLimits } from '../../../../driver/lxd/flavor-limits.ts';
import {
  freeNicName,
  instanceBody,
  nicConfig,
  ovsExternalIds,
} from '../../../../driver/lxd/instance-spec.ts';
import { instanceName } from '../../../../driver/lxd/nova-instance.ts';
import { isFault } from '../../../../process/fault.ts';
import { novaInstance, novaVif } from '../../../support/nova-objects.ts';

const options = { name: 'instance-0000000f', fingerprint: 'f', pool: 'default', start: true };

function limitsOf(extra_specs: Record<string, string>, flavor: Record<string, unknown> = {}) {
  return flavorLimits(novaInstance({}, { extra_specs, ...flavor }).flavor);
}

test('the body holds the limits of the flavor, isolated ids and the markers', () => {
  const body = instanceBody(novaInstance(), [novaVif()], options);
  assert.deepEqual(body, {
    name: 'instance-0000000f',
    type: 'container',
    description: 'cap1',
    profiles: [],
    config: {
      'limits.cpu': '1',
      'limits.memory': '64MiB',
      'limits.memory.swap': 'false',
      'security.idmap.isolated': 'true',
      'user.nova.uuid': '135877f5-8316-4b41-9393-8113e5898d9f',
      'user.nova.name': 'cap1',
      'user.nova.project_id': 'p1',
      'user.nova.user_id': 'u1',
      'user.nova.flavor': 'm1.nano',
      'user.nova.image': 'i1',
      'boot.autostart': 'false',
    },
    devices: {
      root: { type: 'disk', path: '/', pool: 'default', size: '1GiB' },
      'tap0fd0776f-41': {
        type: 'nic',
        nictype: 'ovs',
        parent: 'br-int',
        name: 'eth0',
        hwaddr: 'fa:16:3e:8c:52:49',
        host_name: 'tap0fd0776f-41',
        mtu: '1400',
        'ovs.external_ids.iface-id': '0fd0776f-418c-4b7f-bd82-ccb54bb335f5',
        'ovs.external_ids.iface-status': 'active',
        'ovs.external_ids.attached-mac': 'fa:16:3e:8c:52:49',
        'ovs.external_ids.vm-uuid': '135877f5-8316-4b41-9393-8113e5898d9f',
      },
    },
    source: { type: 'image', fingerprint: 'f' },
    start: true,
  });
});

test('a port of a bridge goes into that bridge', () => {
  const network = { ...novaVif().network, bridge: 'brqb1dc3dc4-f1' };
  const nic = nicConfig(novaVif({ type: 'bridge', network }), 'u', 'eth1');
  assert.equal(nic['nictype'], 'bridged');
  assert.equal(nic['parent'], 'brqb1dc3dc4-f1');
  assert.equal(nic['parent.create'], 'true');
});

test('ports that containers cannot use are refused', () => {
  for (const given of [
    { type: 'binding_failed' },
    { type: 'unbound' },
    { type: 'vhostuser' },
    { vnic_type: 'direct' },
    { details: { ovs_hybrid_plug: true } },
  ]) {
    assert.throws(
      () => nicConfig(novaVif(given), 'u', 'eth0'),
      (err) => isFault(err, 'conflict'),
    );
  }
});

test('the port of an OVS bridge is named as Neutron looks for it', () => {
  assert.deepEqual(ovsExternalIds(novaVif(), 'u'), {
    'iface-id': '0fd0776f-418c-4b7f-bd82-ccb54bb335f5',
    'iface-status': 'active',
    'attached-mac': 'fa:16:3e:8c:52:49',
    'vm-uuid': 'u',
  });
});

test('nesting and privilege come from the flavor alone', () => {
  const { config } = limitsOf({ 'slipway:nesting': 'True', 'slipway:privileged': 'no' });
  assert.equal(config['security.nesting'], 'true');
  assert.equal(config['security.privileged'], undefined);
  const image = novaInstance({ system_metadata: { 'image_slipway:privileged': 'true' } });
  assert.equal(instanceBody(image, [], options).config['security.privileged'], undefined);
});

test('a quota of CPU time is for each vCPU', () => {
  const { config } = limitsOf({ 'quota:cpu_quota': '25000', 'quota:cpu_period': '50000' }, { vcpus: 2 });
  assert.equal(config['limits.cpu.allowance'], '50ms/50ms');
  assert.equal(limitsOf({ 'quota:cpu_shares': '512' }).config['limits.cpu.allowance'], '50%');
});

test('limits of disks and nics are those of Nova in the units of the daemon', () => {
  const limits = limitsOf({
    'quota:disk_read_bytes_sec': '1000',
    'quota:disk_write_iops_sec': '20',
    'quota:vif_inbound_average': '125',
  });
  assert.deepEqual(limits.root, { size: '1GiB', 'limits.read': '1000B', 'limits.write': '20iops' });
  assert.deepEqual(limits.nic, { 'limits.ingress': '1000kbit' });
});

test('extra specs that would be ignored or contradict each other are refused', () => {
  for (const specs of [
    { 'slipway:nestign': 'true' },
    { 'slipway:nesting': 'maybe' },
    { 'quota:cpu_quota': 'much' },
    { 'quota:disk_read_bytes_sec': '1', 'quota:disk_read_iops_sec': '1' },
    { 'quota:disk_read_bytes_sec': '1', 'quota:disk_total_bytes_sec': '1' },
  ]) {
    assert.throws(
      () => limitsOf(specs),
      (err) => isFault(err, 'bad_request'),
    );
  }
});

test('no root disk size means no limit, swap follows the flavor', () => {
  const limits = limitsOf({}, { root_gb: 0, swap: 512 });
  assert.deepEqual(limits.root, {});
  assert.equal(limits.config['limits.memory.swap'], '512MiB');
});

test('names follow instance_name_template', () => {
  const one = { id: 15, uuid: '135877f5-8316-4b41-9393-8113e5898d9f' };
  assert.equal(instanceName('instance-%08x', one), 'instance-0000000f');
  assert.equal(instanceName('n-%(uuid)s', one), `n-${one.uuid}`);
  assert.equal(instanceName('vm%d', one), 'vm15');
  assert.throws(
    () => instanceName('1_%x', one),
    (err) => isFault(err, 'bad_request'),
  );
});

test('a new interface gets the first free name', () => {
  assert.equal(freeNicName(['eth0', 'eth2']), 'eth1');
});
