import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configDrive, needsConfigDrive } from '../../../../driver/lxd/config-drive.ts';
import { netmask, networkData } from '../../../../driver/lxd/network-data.ts';
import { novaInstance, novaVif } from '../../../support/nova-objects.ts';

const options = {
  dhcpDomain: 'novalocal',
  adminPassword: 'pw',
  files: [{ path: '/etc/motd', content: Buffer.from('hello') }],
  randomSeed: 'c2VlZA==',
  vendorData: { a: 1 },
};

function jsonAt(tree: ReadonlyMap<string, Buffer>, path: string): unknown {
  return JSON.parse(tree.get(path)?.toString() ?? 'null');
}

test('the newest metadata is that of Nova', () => {
  const tree = configDrive(novaInstance(), [novaVif()], options);
  assert.deepEqual(jsonAt(tree, 'openstack/latest/meta_data.json'), {
    uuid: '135877f5-8316-4b41-9393-8113e5898d9f',
    meta: { purpose: 'capture' },
    public_keys: { key1: 'ssh-rsa AAAA test' },
    keys: [{ name: 'key1', type: 'ssh', data: 'ssh-rsa AAAA test' }],
    files: [{ path: '/etc/motd', content_path: '/content/0000' }],
    hostname: 'cap1.novalocal',
    name: 'cap1',
    launch_index: 0,
    availability_zone: 'nova',
    admin_pass: 'pw',
    random_seed: 'c2VlZA==',
    project_id: 'p1',
    devices: [],
    dedicated_cpus: [],
  });
  assert.equal(tree.get('openstack/latest/user_data')?.toString(), '#cloud-config\n');
  assert.equal(tree.get('openstack/content/0000')?.toString(), 'hello');
  assert.deepEqual(jsonAt(tree, 'openstack/latest/vendor_data2.json'), { static: { a: 1 } });
  assert.ok(tree.has('ec2/latest/meta-data.json'));
});

test('older releases have what they had', () => {
  const tree = configDrive(novaInstance({ user_data: null }), [], options);
  assert.ok(!tree.has('openstack/2012-08-10/vendor_data.json'));
  assert.ok(!tree.has('openstack/2013-10-17/network_data.json'));
  assert.ok(tree.has('openstack/2015-10-15/network_data.json'));
  assert.ok(!tree.has('openstack/latest/user_data'));
  assert.deepEqual(
    Object.keys(jsonAt(tree, 'openstack/2012-08-10/meta_data.json') as object).includes('random_seed'),
    false,
  );
});

test('a network with DHCP is told in one line', () => {
  assert.deepEqual(networkData([novaVif()]), {
    links: [
      {
        id: 'tap0fd0776f-41',
        vif_id: '0fd0776f-418c-4b7f-bd82-ccb54bb335f5',
        type: 'ovs',
        mtu: null,
        ethernet_mac_address: 'fa:16:3e:8c:52:49',
      },
    ],
    networks: [
      {
        id: 'network0',
        type: 'ipv4_dhcp',
        link: 'tap0fd0776f-41',
        network_id: 'b1dc3dc4-f119-45ad-88c1-22ed9b9798c3',
      },
    ],
    services: [{ type: 'dns', address: '10.77.0.2' }],
  });
});

test('a network without DHCP is told in full', () => {
  const { network } = novaVif();
  const [subnet] = network.subnets;
  assert.ok(subnet);
  const data = networkData([novaVif({ network: { ...network, subnets: [{ ...subnet, meta: {} }] } })]);
  assert.equal(data.links[0]?.['mtu'], 1400);
  assert.deepEqual(data.networks[0], {
    id: 'network0',
    type: 'ipv4',
    link: 'tap0fd0776f-41',
    network_id: network.id,
    ip_address: '10.77.0.76',
    netmask: '255.255.255.0',
    routes: [{ network: '0.0.0.0', netmask: '0.0.0.0', gateway: '10.77.0.1' }],
    services: [{ type: 'dns', address: '10.77.0.2' }],
  });
});

test('masks are written as addresses', () => {
  assert.equal(netmask(20, 4), '255.255.240.0');
  assert.equal(netmask(0, 6), '::');
  assert.equal(netmask(64, 6), 'ffff:ffff:ffff:ffff::');
  assert.equal(netmask(128, 6), 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff');
});

test('a config drive is made when the server, the option or the image wants one', () => {
  const none = { configDrive: '', isForced: false, isNew: true, systemMetadata: {} };
  assert.equal(needsConfigDrive(none), false);
  assert.equal(needsConfigDrive({ ...none, configDrive: 'True' }), true);
  assert.equal(needsConfigDrive({ ...none, isForced: true }), true);
  assert.equal(needsConfigDrive({ ...none, isForced: true, isNew: false }), false);
  assert.equal(needsConfigDrive({ ...none, systemMetadata: { image_img_config_drive: 'mandatory' } }), true);
});
