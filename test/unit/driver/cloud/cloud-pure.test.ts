import assert from 'node:assert/strict';
import { test } from 'node:test';
import { choiceOf, findEndpoint, readCatalog, versioned } from '../../../../driver/cloud/catalog.ts';
import { readError } from '../../../../driver/cloud/cloud-fault.ts';
import { imageOf } from '../../../../driver/cloud/glance.ts';
import { hostInventories } from '../../../../driver/cloud/host-inventory.ts';
import { checkImage, ImageFault, sniffImage } from '../../../../driver/cloud/image-format.ts';
import { authBody, identityV3, readAccount } from '../../../../driver/cloud/keystone.ts';
import { readRequests } from '../../../../driver/cloud/network-choice.ts';
import { buildVif, devName } from '../../../../driver/cloud/vif.ts';
import { isFault } from '../../../../process/fault.ts';

const catalog = readCatalog([
  {
    type: 'network',
    endpoints: [
      { interface: 'public', region_id: 'one', url: 'http://public/' },
      { interface: 'internal', region_id: 'two', url: 'http://internal-two' },
    ],
  },
]);

test('the first interface that the region has is taken; an override wins', () => {
  const find = (options: Parameters<typeof choiceOf>[1]) =>
    findEndpoint(catalog, choiceOf(['network'], options), 'p');
  assert.equal(find({ region: 'one' }), 'http://public');
  assert.equal(find({}), 'http://internal-two');
  assert.equal(find({ region: 'three' }), null);
  assert.equal(find({ interfaces: ['publicURL'] }), 'http://public');
  assert.equal(find({ override: 'http://x/v3/%(project_id)s/' }), 'http://x/v3/p');
});

test('a version is added where there is none', () => {
  assert.equal(versioned('http://x:9696', 'v2.0'), 'http://x:9696/v2.0');
  assert.equal(versioned('http://x/v2.0', 'v2.0'), 'http://x/v2.0');
});

test('accounts are read by the names of keystoneauth', () => {
  const account = readAccount('neutron', {
    auth_url: 'http://k:5000',
    username: 'neutron',
    password: 'p',
    project_name: 'service',
    user_domain_name: 'D',
    project_domain_id: 'default',
  });
  assert.deepEqual(authBody(account), {
    auth: {
      identity: {
        methods: ['password'],
        password: { user: { name: 'neutron', domain: { name: 'D' }, password: 'p' } },
      },
      scope: { project: { name: 'service', domain: { id: 'default' } } },
    },
  });
  assert.throws(
    () => readAccount('neutron', { auth_url: 'x' }),
    /\[neutron\]: project_name|\[neutron\]: username/,
  );
  assert.throws(
    () => readAccount('neutron', { auth_url: 'x', auth_type: 'v3kerberos' }),
    (err) => isFault(err, 'bad_request'),
  );
});

test('the address of Keystone may come with or without a version', () => {
  for (const url of [
    'http://k/identity',
    'http://k/identity/',
    'http://k/identity/v3/',
    'http://k/identity/v2.0',
  ]) {
    assert.equal(identityV3(url), 'http://k/identity/v3');
  }
});

test('errors of every service are read, and secrets taken out', () => {
  assert.deepEqual(readError({ NeutronError: { type: 'IpAddressInUse', message: 'used' } }, []), {
    kind: 'IpAddressInUse',
    detail: 'used',
  });
  assert.deepEqual(readError({ errors: [{ code: 'placement.concurrent_update', detail: 'd' }] }, []), {
    kind: 'placement.concurrent_update',
    detail: 'd',
  });
  assert.deepEqual(readError({ itemNotFound: { code: 404, message: 'gone' } }, []), {
    kind: 'itemNotFound',
    detail: 'gone',
  });
  assert.equal(readError('<html><p>token abc is bad</p></html>', ['abc']).detail, 'token *** is bad');
});

test('a ratio an operator set in Placement stays, what others put there too', () => {
  const options = {
    reserved_host_cpus: 1,
    reserved_host_memory_mb: 512,
    reserved_host_disk_mb: 1500,
    cpu_allocation_ratio: 0,
    ram_allocation_ratio: 2,
    disk_allocation_ratio: 0,
    initial_cpu_allocation_ratio: 4,
    initial_ram_allocation_ratio: 1,
    initial_disk_allocation_ratio: 1,
  };
  const other = { total: 1, reserved: 0, min_unit: 1, max_unit: 1, step_size: 1, allocation_ratio: 1 };
  const now = { VCPU: { ...other, allocation_ratio: 9 }, CUSTOM_LICENCE: other, DISK_GB: other };
  const next = hostInventories({ vcpus: 8, memoryMb: 4096, diskGb: 0 }, options, now);
  assert.deepEqual(Object.keys(next).sort(), ['CUSTOM_LICENCE', 'MEMORY_MB', 'VCPU']);
  assert.equal(next['VCPU']?.allocation_ratio, 9);
  assert.equal(next['VCPU'].reserved, 1);
  assert.equal(next['MEMORY_MB']?.allocation_ratio, 2);
});

test('a port of OVS is on the integration bridge; a subnet may have no gateway', () => {
  const vif = buildVif(
    {
      port: {
        id: '0fd0776f-418c-4b7f-bd82-ccb54bb335f5',
        status: 'ACTIVE',
        'binding:vif_type': 'ovs',
        fixed_ips: [{ subnet_id: 's', ip_address: 'fd00::2' }],
      },
      network: { id: 'n', name: 'net', mtu: 1442, project_id: 'p' },
      subnets: [
        {
          id: 's',
          cidr: 'fd00::/64',
          ip_version: 6,
          gateway_ip: null,
          enable_dhcp: true,
          ipv6_address_mode: 'slaac',
        },
      ],
      dhcpServers: new Map(),
      floating: new Map(),
      physicalNetwork: null,
      isTunneled: true,
      isPreserved: true,
    },
    'br-int',
  );
  assert.equal(vif.network.bridge, 'br-int');
  assert.equal(vif.ovs_interfaceid, vif.id);
  assert.equal(vif.active, true);
  assert.deepEqual(vif.network.subnets[0]?.gateway, {
    address: null,
    type: 'gateway',
    version: null,
    meta: {},
  });
  assert.deepEqual(vif.network.subnets[0].meta, { ipv6_address_mode: 'slaac' });
  assert.equal(devName(vif.id), 'tap0fd0776f-41');
});

test('requests for networks are read; none is not an empty list', () => {
  const list = (...objects: unknown[]) => ({
    'nova_object.data': { objects: objects.map((one) => ({ 'nova_object.data': one })) },
  });
  assert.equal(readRequests(list({ network_id: 'none' })), null);
  assert.equal(readRequests(list({ network_id: 'auto' }))?.length, 1);
  assert.deepEqual(readRequests(list({ network_id: 'n', address: '10.0.0.9', port_id: null, tag: 't' })), [
    { networkId: 'n', portId: null, address: '10.0.0.9', tag: 't' },
  ]);
});

test('formats are told from content', () => {
  const at = (offset: number, text: string): Buffer => {
    const head = Buffer.alloc(66 * 1024);
    head.write(text, offset, 'latin1');
    return head;
  };
  assert.equal(sniffImage(at(0, 'hsqs')), 'squashfs');
  assert.equal(sniffImage(at(0, 'QFI\xfb')), 'qcow2');
  assert.equal(sniffImage(at(0, '\x28\xb5\x2f\xfd')), 'compressed');
  assert.equal(sniffImage(at(512, 'EFI PART')), 'disk');
  assert.equal(sniffImage(at(510, '\x55\xaa')), 'disk');
  assert.equal(sniffImage(at(1080, '\x53\xef')), 'filesystem');
  assert.equal(sniffImage(at(0x10040, '_BHRfS_M')), 'filesystem');
  assert.equal(sniffImage(at(1024, '\xe2\xe1\xf5\xe0')), 'filesystem');
  assert.equal(sniffImage(at(32_769, 'CD001')), 'iso');
  assert.equal(sniffImage(Buffer.alloc(0)), 'unknown');
});

test('an image must be active and fit the flavor', () => {
  const image = (given: Record<string, unknown>) => imageOf({ id: 'i', status: 'active', ...given });
  const problem = (given: Record<string, unknown>, rootGb: number): string => {
    try {
      checkImage(image(given), { memoryMb: 512, rootGb });
      return '';
    } catch (err) {
      assert.ok(err instanceof ImageFault);
      return err.problem;
    }
  };
  assert.equal(problem({ status: 'queued' }, 1), 'ImageNotActive');
  assert.equal(problem({ min_ram: 1024 }, 1), 'FlavorMemoryTooSmall');
  assert.equal(problem({ min_disk: 2 }, 1), 'FlavorDiskTooSmall');
  assert.equal(problem({ size: 2 ** 31 }, 1), 'FlavorDiskTooSmall');
  assert.equal(problem({ size: 2 ** 20, virtual_size: 2 ** 31 }, 1), 'FlavorDiskTooSmall');
  assert.equal(problem({ container_format: 'docker' }, 1), 'ImageUnacceptable');
  assert.equal(problem({ min_disk: 2 }, 0), '');
});
