import assert from 'node:assert/strict';
import { test } from 'node:test';
import { COMPUTE_OPTIONS } from '../../../config/options/compute.ts';
import { readIni } from '../../../config/oslo-ini.ts';
import { readOptions } from '../../../config/read-options.ts';

const NOVA_CONF = `
[DEFAULT]
transport_url = rabbit://openstack:pa$$word@controller:5672/
my_ip = 10.0.0.31
host = node-a
state_path = /var/lib/nova
cpu_allocation_ratio = 8.0
[oslo_messaging_rabbit]
rabbit_quorum_queue = true
amqp_durable_queues = True
[oslo_messaging_notifications]
driver = messagingv2
driver = log
[notifications]
notification_format = both
[placement]
auth_url = http://controller:5000/v3
username = placement
password = secret
region_name = RegionOne
[cinder]
os_region_name = RegionOne
[service_user]
send_service_user_token = true
[serial_console]
enabled = yes
proxyclient_address = $my_ip
[libvirt]
virt_type = kvm
`;

test('a nova.conf as operators write it is read', () => {
  const { values, warnings } = readOptions(COMPUTE_OPTIONS, readIni(NOVA_CONF, 'nova.conf'));
  assert.equal(values.DEFAULT.transport_url, 'rabbit://openstack:pa$word@controller:5672/');
  assert.equal(values.DEFAULT.cpu_allocation_ratio, 8);
  assert.equal(values.DEFAULT.rpc_response_timeout, 60);
  assert.equal(values.oslo_messaging_rabbit.amqp_durable_queues, true);
  assert.deepEqual(values.oslo_messaging_notifications.driver, ['messagingv2', 'log']);
  assert.equal(values.placement.username, 'placement');
  assert.deepEqual(values.placement.valid_interfaces, ['internal', 'public']);
  assert.equal(values.cinder.catalog_info, 'volumev3::publicURL');
  assert.equal(values.serial_console.proxyclient_address, '10.0.0.31');
  assert.deepEqual(warnings, ['unknown option [libvirt] virt_type (nova.conf line 29) is ignored']);
});

test('an option that moved is read where it is now, else where it was', () => {
  const domainOf = (text: string) => {
    const { values, warnings } = readOptions(COMPUTE_OPTIONS, readIni(text, 'nova.conf'));
    assert.deepEqual(warnings, []);
    return values.api.dhcp_domain;
  };
  assert.equal(domainOf(''), 'novalocal');
  assert.equal(domainOf('[DEFAULT]\ndhcp_domain = old.example\n'), 'old.example');
  assert.equal(domainOf('[DEFAULT]\ndhcp_domain = old.example\n[api]\ndhcp_domain =\n'), '');
  const cache = 'image_cache_manager_interval = -1\nremove_unused_base_images = false\n';
  const { values } = readOptions(COMPUTE_OPTIONS, readIni(`[DEFAULT]\n${cache}`, 'nova.conf'));
  assert.equal(values.image_cache.manager_interval, -1);
  assert.equal(values.image_cache.remove_unused_base_images, false);
});

test('intervals that Nova turns off by -1 can be turned off so', () => {
  const off = 'instance_delete_interval = -1\nrunning_deleted_instance_poll_interval = -1\n';
  const { values } = readOptions(COMPUTE_OPTIONS, readIni(`[DEFAULT]\n${off}`, 'nova.conf'));
  assert.equal(values.DEFAULT.instance_delete_interval, -1);
});

test('each option has a help text, and passwords are marked as such', () => {
  for (const [group, options] of Object.entries(COMPUTE_OPTIONS)) {
    for (const [name, option] of Object.entries(options)) {
      assert.notEqual(option.help, '', `[${group}] ${name}`);
      if (/password$|transport_url$/.test(name)) assert.equal(option.secret, true, `[${group}] ${name}`);
    }
  }
});

test('a wrong value is named with its option and its place', () => {
  const groups = readIni('[DEFAULT]\nreport_interval = 0\n', 'nova.conf');
  assert.throws(
    () => readOptions(COMPUTE_OPTIONS, groups),
    /option \[DEFAULT\] report_interval \(nova.conf line 2\)/,
  );
});
