import assert from 'node:assert/strict';
import { test } from 'node:test';
import { balanceCpus } from '../../../../api/instances/cpu-balance.ts';
import type { HostFacts } from '../../../../api/instances/host.ts';
import { cgroupSettings, limitChanges, refuseUnkept } from '../../../../api/instances/limits.ts';
import type { ContainerSpec } from '../../../../api/instances/lxc-config.ts';
import { escapeField, renderLxcConfig } from '../../../../api/instances/lxc-config.ts';
import { planNics } from '../../../../api/instances/nics.ts';
import { seccompPolicy } from '../../../../api/instances/seccomp.ts';
import type { Expanded } from '../../../../api/instances/types.ts';
import { instanceRow } from '../../../support/rows.ts';

const V2: HostFacts = {
  v1: {},
  unified: '/sys/fs/cgroup',
  unifiedControllers: ['cpu', 'cpuset', 'io', 'memory', 'pids'],
  swapAccounting: true,
  diskWeight: true,
  memoryBytes: 8 * 2 ** 30,
  cpuCount: 4,
  architecture: 'x86_64',
  lxcfsPath: '/var/lib/lxcfs',
  appArmor: true,
  extraPaths: ['dev/fuse'],
  idRange: { start: 1_000_000, size: 65_536 },
  bootId: 'b',
};
const CONTROLLERS = ['cpu', 'cpuset', 'memory', 'blkio', 'pids', 'devices', 'freezer'];
const HYBRID: HostFacts = {
  ...V2,
  v1: Object.fromEntries(CONTROLLERS.map((c) => [c, `/sys/fs/cgroup/${c}`])),
  unified: '/sys/fs/cgroup/unified',
  unifiedControllers: [],
  appArmor: false,
};

function spec(changes: Partial<ContainerSpec> = {}): ContainerSpec {
  return {
    containerName: 'c1',
    hostname: 'c1',
    rootPath: '/pool/c1/rootfs',
    rootMountPoint: '/state/lxc/.root',
    logDir: '/log/c1',
    config: {},
    architecture: 'x86_64',
    idmap: [{ kind: 'b', nsId: 0, hostId: 1_000_000, range: 65_536 }],
    nics: [],
    mounts: [],
    deviceRules: [],
    seccompFile: null,
    stopHook: '/bin/false',
    guestSocketDir: null,
    diskLimits: [],
    cpus: null,
    lxcfs: [],
    ...changes,
  };
}

test('a pure v2 host gives cgroup:rw:force and v2 limit keys', () => {
  const text = renderLxcConfig(
    spec({ config: { 'limits.memory': '512MiB', 'limits.cpu.allowance': '20ms/100ms' } }),
    V2,
  );
  assert.match(text, /^lxc\.mount\.auto = proc:rw sys:rw cgroup:rw:force$/m);
  assert.match(text, /^lxc\.cgroup2\.memory\.max = 536870912$/m);
  assert.match(text, /^lxc\.cgroup2\.cpu\.max = 20000 100000$/m);
  assert.match(text, /^lxc\.apparmor\.profile = generated$/m);
  assert.doesNotMatch(text, /lxc\.cgroup\./);
});

test('a hybrid host gives the guest a cgroup2 mount of its own, unless the image asks for v1', () => {
  assert.match(renderLxcConfig(spec(), HYBRID), /^lxc\.mount\.entry = cgroup2 sys\/fs\/cgroup cgroup2 /m);
  const old = renderLxcConfig(spec({ config: { 'image.requirements.cgroup': 'v1' } }), HYBRID);
  assert.match(old, /cgroup:mixed/);
  assert.doesNotMatch(old, /cgroup2 sys\/fs\/cgroup/);
});

test('on v1 the sum of memory and swap is limited', () => {
  const files = cgroupSettings({ 'limits.memory': '25%' }, HYBRID).map((s) => `${s.file}=${s.value}`);
  assert.deepEqual(files, [
    'memory.limit_in_bytes=2147483648',
    'memory.memsw.limit_in_bytes=2147483648',
    'memory.soft_limit_in_bytes=1932735283',
  ]);
});

test('a size of swap comes on top of the memory, where the kernel can keep to it', () => {
  const config = { 'limits.memory': '64MiB', 'limits.memory.swap': '16MiB' };
  const valueOf = (given: Readonly<Record<string, string>>, host: HostFacts, file: string) =>
    cgroupSettings(given, host).find((one) => one.file === file)?.value;
  assert.equal(valueOf(config, HYBRID, 'memory.memsw.limit_in_bytes'), String(80 * 2 ** 20));
  assert.equal(valueOf(config, HYBRID, 'memory.swappiness'), undefined);
  assert.equal(valueOf(config, V2, 'memory.swap.max'), String(16 * 2 ** 20));
  assert.equal(valueOf({ 'limits.memory.swap': '16MiB' }, V2, 'memory.swap.max'), String(16 * 2 ** 20));
  assert.equal(valueOf({ 'limits.memory': '64MiB' }, V2, 'memory.swap.max'), '0');
  for (const [given, host] of [
    [config, { ...HYBRID, swapAccounting: false }],
    [{ 'limits.memory.swap': '16MiB' }, HYBRID],
    [{ ...config, 'limits.memory.enforce': 'soft' }, HYBRID],
  ] as const) {
    assert.throws(() => cgroupSettings(given, host), /limits\.memory\.swap = 16MiB/);
  }
});

test('a limit that the host cannot keep is refused, and can be taken away', () => {
  const bare = { ...V2, unifiedControllers: [], diskWeight: false };
  const limits: Record<string, string> = {
    'limits.memory': '64MiB',
    'limits.memory.swap': '16MiB',
    'limits.cpu': '1',
    'limits.cpu.allowance': '20ms/100ms',
    'limits.cpu.priority': '5',
    'limits.processes': '50',
    'limits.hugepages.2MB': '4MiB',
    'limits.disk.priority': '5',
  };
  for (const [key, value] of Object.entries(limits)) {
    const message = new RegExp(`^${key.replaceAll('.', '\\.')} cannot be kept`);
    assert.throws(
      () => {
        refuseUnkept({ [key]: value }, bare);
      },
      { message },
    );
    assert.throws(() => renderLxcConfig(spec({ config: { [key]: value } }), bare), { message });
    if (key !== 'limits.hugepages.2MB') refuseUnkept({ [key]: value }, V2);
  }
  assert.deepEqual(cgroupSettings(limits, bare), []);
  refuseUnkept({ ...limits, 'limits.hugepages.2MB': '' }, V2);
  assert.equal(cgroupSettings({ 'limits.disk.priority': '5' }, HYBRID)[0]?.file, 'blkio.weight');
  assert.equal(cgroupSettings({ 'limits.disk.priority': '5' }, V2)[0]?.file, 'io.weight');
  const withPages = { ...V2, unifiedControllers: ['hugetlb'] };
  assert.equal(cgroupSettings({ 'limits.hugepages.2MB': '4MiB' }, withPages)[0]?.file, 'hugetlb.2MB.max');
});

test('a live change lifts what differs before it sets the new values', () => {
  const small = cgroupSettings({ 'limits.memory': '1GiB', 'limits.processes': '10' }, HYBRID);
  const large = cgroupSettings({ 'limits.memory': '2GiB', 'limits.processes': '10' }, HYBRID);
  const writes = limitChanges(small, large).map((s) => `${s.file}=${s.value}`);
  assert.deepEqual(writes.slice(0, 3), [
    'memory.soft_limit_in_bytes=-1',
    'memory.memsw.limit_in_bytes=-1',
    'memory.limit_in_bytes=-1',
  ]);
  assert.equal(writes[3], 'memory.limit_in_bytes=2147483648');
  assert.equal(writes.length, 6);
  assert.deepEqual(limitChanges(small, small), []);
});

test('an unprivileged container has an id map and no device rules, a privileged one the reverse', () => {
  const plain = renderLxcConfig(spec(), HYBRID);
  assert.match(plain, /^lxc\.idmap = b 0 1000000 65536$/m);
  assert.doesNotMatch(plain, /devices\./);
  const privileged = renderLxcConfig(spec({ idmap: [], deviceRules: ['c 10:232 rwm'] }), HYBRID);
  assert.doesNotMatch(privileged, /lxc\.idmap/);
  assert.match(privileged, /^lxc\.cap\.drop = sys_time sys_module/m);
  assert.match(privileged, /^lxc\.cgroup\.devices\.deny = a\n/m);
  assert.match(privileged, /^lxc\.cgroup\.devices\.allow = c 10:232 rwm$/m);
});

test('blanks and backslashes in mount fields are escaped', () => {
  assert.equal(escapeField('/a b\\c'), '/a\\040b\\134c');
  const text = renderLxcConfig(
    spec({
      mounts: [
        { source: '/srv/x y', target: '/mnt/z', fstype: 'none', options: ['bind', 'ro'], isDirectory: true },
      ],
    }),
    V2,
  );
  assert.match(text, /^lxc\.mount\.entry = \/srv\/x\\040y mnt\/z none bind,ro,create=dir 0 0$/m);
});

test('raw.lxc comes last', () => {
  const text = renderLxcConfig(spec({ config: { 'raw.lxc': 'lxc.signal.halt = SIGUSR1' } }), V2);
  assert.ok(text.endsWith('lxc.signal.halt = SIGUSR1\n'));
});

test('counts of processors are spread over the least used ones', () => {
  const map = balanceCpus(
    [
      { id: 'pinned', text: '1-1' },
      { id: 'a', text: '1' },
      { id: 'b', text: '1' },
      { id: 'c', text: '1' },
      { id: 'all', text: '8' },
      { id: 'none', text: '' },
    ],
    4,
  );
  assert.equal(map.get('pinned'), '1');
  assert.deepEqual([map.get('a'), map.get('b'), map.get('c')], ['0', '2', '3']);
  assert.equal(map.get('all'), null);
  assert.equal(map.get('none'), null);
});

function expanded(devices: Expanded['devices'], config: Expanded['config'] = {}): Expanded {
  return {
    row: instanceRow({ profiles: [], config }),
    config,
    devices,
  };
}

const NAMES = { hostName: (): string => 'vethnew', hwaddr: (): string => '00:16:3e:00:00:01' };

test('a nic on a managed bridge joins it, and what was chosen is kept', () => {
  const [nic] = planNics(
    expanded({ eth0: { type: 'nic', network: 'br0' } }, { 'volatile.eth0.hwaddr': '00:16:3e:aa:bb:cc' }),
    () => ({ name: 'br0', type: 'bridge', config: { 'bridge.mtu': '1400' } }),
    NAMES,
  );
  assert.deepEqual(nic?.link, {
    kind: 'veth',
    link: 'br0',
    hostName: 'vethnew',
    name: 'eth0',
    hwaddr: '00:16:3e:aa:bb:cc',
    mtu: '1400',
  });
  assert.equal(nic.bridged?.network, 'br0');
  assert.equal(nic.volatile['volatile.eth0.host_name'], 'vethnew');
});

test('guest names are never given twice', () => {
  const nics = planNics(
    expanded({ a: { type: 'nic', nictype: 'p2p' }, b: { type: 'nic', nictype: 'p2p', name: 'eth0' } }),
    () => null,
    NAMES,
  );
  assert.deepEqual(
    nics.map((n) => n.link.name),
    ['eth1', 'eth0'],
  );
});

test('a nic on an unknown network or without a parent is refused', () => {
  assert.throws(
    () => planNics(expanded({ e: { type: 'nic', network: 'nope' } }), () => null, NAMES),
    /no managed network "nope"/,
  );
  assert.throws(
    () => planNics(expanded({ e: { type: 'nic', nictype: 'bridged' } }), () => null, NAMES),
    /needs a parent/,
  );
});

test('the default seccomp policy denies kernel modules, and deny_default=false lifts it', () => {
  assert.match(seccompPolicy({}) ?? '', /^2\ndenylist\n.*finit_module errno 38/s);
  assert.equal(seccompPolicy({ 'security.syscalls.deny_default': 'false' }), null);
  assert.match(
    seccompPolicy({ 'security.syscalls.deny': 'mkdir errno 1' }) ?? '',
    /\[all\]\nmkdir errno 1\n$/,
  );
  assert.match(
    seccompPolicy({ 'security.syscalls.allow': 'read\nwrite' }) ?? '',
    /^2\nallowlist\n\[all\]\nread\nwrite\n$/,
  );
});
