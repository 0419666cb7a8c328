/** Objects of Nova for tests, as small as they may be. */
import { readInstance, type NovaInstance } from '../../driver/lxd/nova-instance.ts';
import { type Vif } from '../../driver/cloud/vif.ts';

const PORT = '0fd0776f-418c-4b7f-bd82-ccb54bb335f5';

/** An instance with a flavor of 64 MiB; `given` replaces fields, `flavor` fields of the flavor. */
export function novaInstance(
  given: Readonly<Record<string, unknown>> = {},
  flavor: Readonly<Record<string, unknown>> = {},
): NovaInstance {
  return readInstance({
    'nova_object.data': {
      id: 15,
      uuid: '135877f5-8316-4b41-9393-8113e5898d9f',
      display_name: 'cap1',
      hostname: 'cap1',
      project_id: 'p1',
      user_id: 'u1',
      availability_zone: 'nova',
      launch_index: 0,
      image_ref: 'i1',
      user_data: 'I2Nsb3VkLWNvbmZpZwo=',
      key_name: 'key1',
      key_data: 'ssh-rsa AAAA test',
      metadata: { purpose: 'capture' },
      system_metadata: {},
      flavor: {
        'nova_object.data': {
          name: 'm1.nano',
          vcpus: 1,
          memory_mb: 64,
          root_gb: 1,
          ephemeral_gb: 0,
          swap: 0,
          extra_specs: {},
          ...flavor,
        },
      },
      ...given,
    },
  });
}

/** A VIF of OVS on a network with DHCP. */
export function novaVif(given: Partial<Vif> = {}): Vif {
  return {
    id: PORT,
    address: 'fa:16:3e:8c:52:49',
    type: 'ovs',
    details: { connectivity: 'l2' },
    devname: 'tap0fd0776f-41',
    ovs_interfaceid: PORT,
    qbh_params: null,
    qbg_params: null,
    active: false,
    vnic_type: 'normal',
    profile: {},
    preserve_on_delete: false,
    delegate_create: true,
    meta: {},
    network: {
      id: 'b1dc3dc4-f119-45ad-88c1-22ed9b9798c3',
      bridge: 'br-int',
      label: 'private',
      meta: { injected: false, tenant_id: 'p1', mtu: 1400, physical_network: null, tunneled: true },
      subnets: [
        {
          cidr: '10.77.0.0/24',
          version: 4,
          dns: [{ address: '10.77.0.2', type: 'dns', version: 4, meta: {} }],
          gateway: { address: '10.77.0.1', type: 'gateway', version: 4, meta: {} },
          ips: [{ address: '10.77.0.76', type: 'fixed', version: 4, meta: {}, floating_ips: [] }],
          routes: [],
          meta: { dhcp_server: '10.77.0.2' },
        },
      ],
    },
    ...given,
  };
}
