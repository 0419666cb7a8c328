import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkDevice, innerPathOf, isRootDisk } from '../../../../api/instances/device-keys.ts';
import { isFault } from '../../../../process/fault.ts';

type Device = Readonly<Record<string, string>>;

const kindOf = (device: Device): string =>
  device['type'] === 'nic' ? (device['nictype'] ?? (device['network'] === undefined ? '' : 'bridged')) : '';

const GOOD: readonly Device[] = [
  { type: 'disk', path: '/', pool: 'default' },
  {
    type: 'disk',
    path: '/',
    pool: 'p',
    size: '10GiB',
    'limits.read': '30MB',
    'limits.write': '100iops',
    'limits.max': '1MB',
  },
  { type: 'disk', path: '/data', source: '/srv/data', readonly: 'true', required: 'false' },
  { type: 'disk', path: 'data', source: '/dev/sdb1', 'raw.mount.options': 'noatime', optional: '1' },
  { type: 'disk', path: '/x', source: '/y', recursive: 'true', shift: 'True', propagation: 'rslave' },
  { type: 'disk', path: '/mnt', source: 'empty:', size: '1GiB', readonly: 'false' },
  { type: 'disk', path: '/mnt/old', source: 'root:web-1' },
  { type: 'nic', network: 'br0', name: 'eth0', 'ipv4.address': '192.0.2.5', 'ipv6.address': 'none' },
  {
    type: 'nic',
    nictype: 'bridged',
    parent: 'br0',
    hwaddr: '00:16:3E:00:00:01',
    mtu: '1400',
    host_name: 'tap1',
    vlan: '10',
    'vlan.tagged': '20,30-40',
    'limits.ingress': '1Mbit',
    'limits.egress': '2Mbit',
    'ipv4.routes': '192.0.2.0/24',
    'security.mac_filtering': 'true',
    'security.port_isolation': 'false',
  },
  { type: 'nic', nictype: 'p2p', host_name: 'p2p0', 'limits.max': '1Gbit', 'ipv6.routes': '2001:db8::/64' },
  { type: 'nic', nictype: 'bridged', parent: 'brq1', 'parent.create': 'true' },
  {
    type: 'nic',
    nictype: 'ovs',
    parent: 'br-int',
    host_name: 'tap1',
    mtu: '1442',
    'limits.ingress': '1Mbit',
    'ovs.external_ids.iface-id': '0fd0776f-418c-4b7f-bd82-ccb54bb335f5',
    'ovs.external_ids.attached-mac': 'fa:16:3e:00:00:01',
  },
  { type: 'nic', nictype: 'physical', parent: 'eth1' },
  { type: 'nic', nictype: 'macvlan', parent: 'eth1', 'boot.priority': '1' },
  { type: 'unix-char', source: '/dev/net/tun', path: '/dev/net/tun', uid: '0', gid: '0', mode: '0660' },
  { type: 'unix-block', path: '/dev/sdb', major: '8', minor: '16', required: 'false' },
  { type: 'none' },
  { type: 'disk', path: '/data', source: '/srv', 'user.note': 'mine\nyours', readonly: '' },
];

test('devices of every type and nictype that is done are taken', () => {
  for (const device of GOOD) checkDevice('d0', device, kindOf(device));
});

const BAD: readonly (readonly [RegExp, Device])[] = [
  [/needs a value for "size"/, { type: 'disk', path: '/mnt', source: 'empty:' }],
  [/too small/, { type: 'disk', path: '/mnt', source: 'empty:', size: '1MiB' }],
  [/Invalid device option "recursive"/, { type: 'disk', path: '/m', source: 'root:web', recursive: 'true' }],
  [/"source"/, { type: 'disk', path: '/m', source: 'root:../x' }],
  [/Missing device type/, {}],
  [/Unsupported device type "magic"/, { type: 'magic' }],
  [/Unsupported device type "constructor"/, { type: 'constructor' }],
  ...['proxy', 'usb', 'gpu', 'tpm', 'infiniband', 'pci', 'unix-hotplug'].map(
    (type) => [new RegExp(`"${type}" are not supported yet`), { type }] as const,
  ),
  [/needs a value for "path"/, { type: 'disk', source: '/x' }],
  [/needs a value for "source"/, { type: 'disk', path: '/x' }],
  [/needs a value for "pool"/, { type: 'disk', path: '/' }],
  [/may not have a "source"/, { type: 'disk', path: '/', pool: 'p', source: '/x' }],
  [/other than the root disk are not supported yet/, { type: 'disk', path: '/x', source: 'vol', pool: 'p' }],
  [/not an absolute path on this host/, { type: 'disk', path: '/x', source: 'ceph:pool/vol' }],
  [/holds "\.\."/, { type: 'disk', path: '/x/../y', source: '/y' }],
  [/is the root of the instance/, { type: 'disk', path: '//', source: '/y' }],
  [/is the root of the instance/, { type: 'disk', path: '.', source: '/y' }],
  [/"size".*not a size/, { type: 'disk', path: '/', pool: 'p', size: 'big' }],
  [/Invalid device option "size"/, { type: 'disk', path: '/x', source: '/y', size: '1GiB' }],
  [/only for virtual machines/, { type: 'disk', path: '/', pool: 'p', 'size.state': '1GiB' }],
  [/Ceph/, { type: 'disk', path: '/x', source: '/y', 'ceph.user_name': 'x' }],
  [/"recursive" and "readonly"/, { type: 'disk', path: '/x', source: '/y', recursive: '1', readonly: '1' }],
  [/"optional" is the old inverse/, { type: 'disk', path: '/x', source: '/y', optional: '1', required: '0' }],
  [/"propagation"/, { type: 'disk', path: '/x', source: '/y', propagation: 'loud' }],
  [/control character/, { type: 'disk', path: '/x\nlxc.hook = y', source: '/y' }],
  [/needs "network" or "nictype"/, { type: 'nic', parent: 'br0' }],
  [/not supported yet/, { type: 'nic', nictype: 'sriov', parent: 'eth0' }],
  [/Unsupported nictype/, { type: 'nic', nictype: 'magic' }],
  [/needs a "parent"/, { type: 'nic', nictype: 'bridged' }],
  [/needs a "parent"/, { type: 'nic', nictype: 'macvlan' }],
  [/needs a value for "parent"/, { type: 'nic', nictype: 'ovs' }],
  [/Invalid device option "network"/, { type: 'nic', nictype: 'ovs', parent: 'b', network: 'n' }],
  [
    /no key of external_ids/,
    { type: 'nic', nictype: 'ovs', parent: 'b', 'ovs.external_ids.slipway-state': 'x' },
  ],
  [/no key of external_ids/, { type: 'nic', nictype: 'ovs', parent: 'b', 'ovs.external_ids.a=b': 'x' }],
  [/control characters/, { type: 'nic', nictype: 'ovs', parent: 'b', 'ovs.external_ids.a': 'x\ny' }],
  [/Invalid device option/, { type: 'nic', nictype: 'bridged', parent: 'b', 'ovs.external_ids.a': 'x' }],
  [/"parent.create"/, { type: 'nic', network: 'n', 'parent.create': 'true' }],
  [/"nictype" property in conjunction/, { type: 'nic', nictype: 'bridged', network: 'br0' }],
  [/"parent" property in conjunction/, { type: 'nic', parent: 'x', network: 'br0' }],
  [
    /Invalid device option "limits.ingress"/,
    { type: 'nic', nictype: 'physical', parent: 'x', 'limits.ingress': '1Mbit' },
  ],
  [/Invalid device option "host_name"/, { type: 'nic', nictype: 'macvlan', parent: 'x', host_name: 'y' }],
  [/"name"/, { type: 'nic', nictype: 'p2p', name: 'far-too-long-a-name' }],
  [/"name"/, { type: 'nic', nictype: 'p2p', name: 'a/b' }],
  [/"host_name"/, { type: 'nic', nictype: 'p2p', host_name: 'a%d' }],
  [/"hwaddr"/, { type: 'nic', nictype: 'p2p', hwaddr: 'x' }],
  [/"mtu"/, { type: 'nic', nictype: 'p2p', mtu: '10' }],
  [/"vlan"/, { type: 'nic', nictype: 'bridged', parent: 'x', vlan: '5000' }],
  [/"vlan.tagged"/, { type: 'nic', nictype: 'bridged', parent: 'x', 'vlan.tagged': '30-20' }],
  [/"ipv4.address"/, { type: 'nic', network: 'x', 'ipv4.address': '192.0.2.300' }],
  [
    /"limits.max" sets both/,
    { type: 'nic', nictype: 'p2p', 'limits.max': '1Mbit', 'limits.egress': '1Mbit' },
  ],
  [/"vlan" is not supported on a physical nic/, { type: 'nic', nictype: 'physical', parent: 'x', vlan: '5' }],
  [/is not supported on a macvlan nic/, { type: 'nic', nictype: 'macvlan', parent: 'x', gvrp: 'true' }],
  [/"source" or a "path"/, { type: 'unix-char', mode: '0600' }],
  [/"mode"/, { type: 'unix-char', path: '/dev/x', mode: 'rw' }],
  [/"major"/, { type: 'unix-char', path: '/dev/x', major: '-1' }],
  [/Invalid device option "x"/, { type: 'none', x: 'y' }],
];

test('what is wrong with a device is told with its name', () => {
  for (const [text, device] of BAD) {
    assert.throws(
      () => {
        checkDevice('d0', device, kindOf(device));
      },
      (err) =>
        isFault(err, 'bad_request') &&
        err.message.startsWith('Device validation failed for "d0": ') &&
        text.test(err.message),
      JSON.stringify(device),
    );
  }
});

test('device names are plain', () => {
  for (const name of ['', 'a/b', '.', '..', 'a\nb', '__proto__', 'x'.repeat(65)]) {
    assert.throws(
      () => {
        checkDevice(name, { type: 'none' }, '');
      },
      (err) => isFault(err, 'bad_request'),
      JSON.stringify(name),
    );
  }
  checkDevice('my disk-1.2', { type: 'none' }, '');
});

test('paths in the container are absolute and plain', () => {
  assert.equal(innerPathOf('data//x/./'), '/data/x');
  assert.equal(innerPathOf('/'), '/');
  assert.equal(innerPathOf('../../etc'), '/etc');
});

test('only a disk at / without a source is the root disk', () => {
  assert.ok(isRootDisk({ type: 'disk', path: '/', pool: 'p' }));
  assert.ok(!isRootDisk({ type: 'disk', path: '/x', source: '/' }));
  assert.ok(!isRootDisk({ type: 'none', path: '/' }));
});
