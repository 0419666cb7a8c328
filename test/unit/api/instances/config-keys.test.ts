import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkConfig, isVolatileOf } from '../../../../api/instances/config-keys.ts';
import { parseRawLxc } from '../../../../api/instances/raw-lxc.ts';
import { isFault } from '../../../../process/fault.ts';

const UUID = '8f0d1b7e-6c1c-4a0e-9b52-7d0f5a3c1e2d';

/** Each line: key, values that are fine, values that are not. */
const KEYS: readonly (readonly [string, readonly string[], readonly string[]])[] = [
  ['boot.autostart', ['true', 'False'], ['maybe']],
  ['boot.autostart.delay', ['0', '30'], ['-1', 'x']],
  ['boot.autostart.priority', ['-5', '10'], ['high']],
  ['boot.host_shutdown_timeout', ['30'], ['-1']],
  ['boot.stop.priority', ['0'], ['x']],
  ['cloud-init.user-data', ['#cloud-config\nx: y'], ['a\0b']],
  ['cloud-init.vendor-data', ['x'], []],
  ['cloud-init.network-config', ['version: 1'], []],
  ['cluster.evacuate', ['auto', 'stop'], ['later']],
  ['environment.FOO', ['bar baz'], ['a\nb']],
  ['limits.cpu', ['2', '0-1'], ['0', 'two']],
  ['limits.cpu.allowance', ['10%', '10ms/100ms'], ['10']],
  ['limits.cpu.priority', ['0', '10'], ['11']],
  ['limits.disk.priority', ['5'], ['-1']],
  ['limits.hugepages.2MB', ['64MiB'], ['x']],
  ['limits.kernel.nofile', ['1024', '1:2', 'unlimited'], ['x']],
  ['limits.memory', ['64MiB', '10%'], ['0', '12X', '0%']],
  ['limits.memory.enforce', ['hard', 'soft'], ['maybe']],
  ['limits.memory.swap', ['true', '0', '64MiB'], ['10x', '10XiB']],
  ['limits.memory.swap.priority', ['0'], ['20']],
  ['limits.network.priority', ['0'], ['20']],
  ['limits.processes', ['100'], ['0', 'x']],
  ['linux.kernel_modules', ['overlay,nf_nat', 'ip_tables, xt_nat'], ['../x', 'a b', '-r']],
  ['linux.sysctl.net.ipv4.ip_forward', ['1'], ['1\n2']],
  ['migration.incremental.memory', ['false'], ['x']],
  [
    'raw.idmap',
    ['both 1000 1000', 'uid 50-60 500-510\ngid 1 2'],
    ['both x 1', 'uid 1-2 3', 'all 1 1', 'uid 4294967295 0'],
  ],
  [
    'raw.lxc',
    ['lxc.console.logfile = /x', '# note\n\nlxc.mount.auto=proc'],
    ['nonsense', 'lxc.log.file = /x'],
  ],
  ['raw.seccomp', ['2\ndenylist'], []],
  ['security.devlxd', ['true', 'false'], ['x']],
  ['security.idmap.base', ['1000000'], ['-1', '4294967295']],
  ['security.idmap.isolated', ['true'], ['x']],
  ['security.idmap.size', ['65536', 'auto'], ['0', 'big']],
  ['security.nesting', ['True'], ['x']],
  ['security.privileged', ['True'], ['x']],
  ['security.protection.delete', ['true'], ['x']],
  ['security.syscalls.deny', ['mount\nkexec_load errno 38'], ['MOUNT;']],
  ['security.syscalls.blacklist_default', ['true'], ['x']],
  ['security.syscalls.intercept.mknod', ['false'], ['true', 'x']],
  ['security.devlxd.images', ['false'], ['true']],
  ['nvidia.runtime', ['false'], ['true']],
  ['nvidia.driver.capabilities', [], ['all']],
  ['raw.apparmor', [], ['deny /x w,']],
  ['security.syscalls.intercept.mount.allowed', [], ['ext4']],
  ['snapshots.schedule', ['@daily', '0 6 * * *'], ['sometimes']],
  ['snapshots.pattern', ['snap%d'], ['a\nb']],
  ['snapshots.expiry', ['1w 2d'], ['soon']],
  ['user.anything at all', ['x'], ['a\0b']],
];

test('each key takes its values, the empty one among them, and refuses others by name', () => {
  for (const [key, good, bad] of KEYS) {
    for (const value of ['', ...good]) checkConfig({ [key]: value }, 'profile');
    for (const value of bad) {
      assert.throws(
        () => {
          checkConfig({ [key]: value }, 'profile');
        },
        (err) => isFault(err, 'bad_request') && err.message.includes(key),
        `${key}=${value}`,
      );
    }
  }
});

test('unknown keys are refused in the words of LXD', () => {
  for (const key of [
    'limits.magic',
    'user.',
    'user',
    '',
    '__proto__',
    'constructor',
    'environment.A=B',
    'environment.',
    'limits.kernel.magic',
    'linux.sysctl.',
    'linux.sysctl.a b',
    'user.a\nb',
    'volatile.magic',
    'volatile.eth0.magic',
    'volatile..hwaddr',
    'security.syscalls.intercept.magic',
  ]) {
    assert.throws(
      () => {
        checkConfig({ [key]: 'x' }, 'instance');
      },
      (err) => isFault(err, 'bad_request') && err.message === `Unknown configuration key: ${key}`,
      key,
    );
  }
});

test('keys of virtual machines say that they are', () => {
  for (const key of ['security.secureboot', 'raw.qemu', 'limits.memory.hugepages', 'migration.stateful']) {
    assert.throws(
      () => {
        checkConfig({ [key]: 'true' }, 'instance');
      },
      /only for virtual machines/,
      key,
    );
  }
});

test('volatile and image keys stand on an instance only', () => {
  const keys: Readonly<Record<string, string>> = {
    'image.os': 'debian',
    'volatile.uuid': UUID,
    'volatile.base_image': 'ab'.repeat(32),
    'volatile.apply_template': 'create',
    'volatile.eth0.hwaddr': '00:16:3e:00:00:01',
    'volatile.eth0.host_name': 'veth1',
    'volatile.root.apply_quota': '1024',
    'volatile.a.b.last_state.mtu': '1500',
    'volatile.idmap.next': '[]',
    'volatile.last_state.power': 'RUNNING',
  };
  checkConfig(keys, 'instance');
  for (const [key, value] of Object.entries(keys)) {
    assert.throws(
      () => {
        checkConfig({ [key]: value }, 'profile');
      },
      /only be set on an instance/,
      key,
    );
  }
  for (const [key, value] of [
    ['volatile.uuid', 'x'],
    ['volatile.eth0.hwaddr', 'x'],
    ['volatile.base_image', 'x'],
    ['volatile.idmap.next', '{'],
  ] as const) {
    assert.throws(() => {
      checkConfig({ [key]: value }, 'instance');
    }, new RegExp(key));
  }
});

test('the old and the new name of one key cannot both be set', () => {
  checkConfig({ 'security.syscalls.blacklist': 'mount', 'security.syscalls.deny': '' }, 'instance');
  assert.throws(() => {
    checkConfig({ 'security.syscalls.blacklist': 'mount', 'security.syscalls.deny': 'mount' }, 'instance');
  }, /old name of security\.syscalls\.deny/);
});

test('raw.lxc keeps the hold of the daemon on the container', () => {
  const refused = [
    'lxc.log.file=/x',
    'LXC.LOG.FILE = /x',
    'lxc.log.syslog = daemon',
    'lxc.ephemeral = 1',
    'lxc.prlimit.nofile = 5',
    'lxc.net.0.type = phys',
    'lxc.net = ',
    'lxc.include = /x',
  ];
  for (const line of refused) {
    if (line === 'lxc.net = ') continue;
    assert.throws(
      () => {
        checkConfig({ 'raw.lxc': `lxc.mount.auto = proc\n${line}` }, 'instance');
      },
      /raw\.lxc/,
      line,
    );
  }
  checkConfig(
    { 'raw.lxc': 'lxc.net.0.ipv4.address = 192.0.2.1/24\nlxc.net.0.ipv6.gateway = auto' },
    'instance',
  );
  assert.deepEqual(parseRawLxc('# a\n lxc.X.y = a = b \n'), [{ key: 'lxc.x.y', value: 'a = b' }]);
});

test('volatile keys of a device are told from those of one whose name begins alike', () => {
  assert.ok(isVolatileOf('volatile.eth0.hwaddr', 'eth0'));
  assert.ok(isVolatileOf('volatile.a.b.hwaddr', 'a.b'));
  assert.ok(!isVolatileOf('volatile.a.b.hwaddr', 'a'));
  assert.ok(!isVolatileOf('volatile.eth0.hwaddr', 'eth'));
  assert.ok(!isVolatileOf('volatile.idmap.next', 'idmap'));
});
