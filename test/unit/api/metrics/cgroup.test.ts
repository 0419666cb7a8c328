import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import {
  cgroupLayout,
  detailsQuery,
  payloadCgroup,
  readCgroupLayout,
  usageQuery,
} from '../../../../api/metrics/cgroup.ts';
import type { CgroupQuery } from '../../../../api/metrics/cgroup.ts';

const V1 = [
  '30 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct',
  '35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory',
  '38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio',
  '39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids',
  '40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime shared:9 - cgroup cgroup rw,name=systemd',
  '41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw',
].join('\n');
const V2 = '41 31 0:38 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate';

const hybrid = cgroupLayout(V1, () => '\n');
const unified = cgroupLayout(V2, () => 'cpuset cpu io memory pids\n');

function parse<T>(query: CgroupQuery<T>, files: Record<string, string>): T {
  return query.parse(query.paths.map((path) => files[path] ?? null));
}

test('each controller of a shared v1 mount is found, named hierarchies are not controllers', () => {
  assert.equal(hybrid.v1['cpuacct'], '/sys/fs/cgroup/cpu,cpuacct');
  assert.equal(hybrid.v1['cpu'], '/sys/fs/cgroup/cpu,cpuacct');
  assert.deepEqual(Object.keys(hybrid.v1).sort(), ['blkio', 'cpu', 'cpuacct', 'memory', 'pids']);
  assert.equal(hybrid.unified, '/sys/fs/cgroup/unified');
  assert.deepEqual(hybrid.unifiedControllers, []);
});

test('on a hybrid host usage comes from the v1 files, swap without memory', () => {
  const query = usageQuery(hybrid, payloadCgroup('c1'));
  const usage = parse(query, {
    '/sys/fs/cgroup/cpu,cpuacct/lxc.payload.c1/cpuacct.usage': '40839711\n',
    '/sys/fs/cgroup/memory/lxc.payload.c1/memory.usage_in_bytes': '1000\n',
    '/sys/fs/cgroup/memory/lxc.payload.c1/memory.max_usage_in_bytes': '3000\n',
    '/sys/fs/cgroup/memory/lxc.payload.c1/memory.memsw.usage_in_bytes': '1500\n',
    '/sys/fs/cgroup/memory/lxc.payload.c1/memory.memsw.max_usage_in_bytes': '2999\n',
    '/sys/fs/cgroup/pids/lxc.payload.c1/pids.current': '9\n',
  });
  assert.deepEqual(usage, {
    cpuNs: 40839711,
    memoryUsage: 1000,
    memoryPeak: 3000,
    swapUsage: 500,
    swapPeak: 0,
    processes: 9,
  });
});

test('on a v2 host usage comes from the unified tree', () => {
  const usage = parse(usageQuery(unified, 'lxc.payload.c1'), {
    '/sys/fs/cgroup/lxc.payload.c1/cpu.stat': 'usage_usec 70\nuser_usec 30\nsystem_usec 40\n',
    '/sys/fs/cgroup/lxc.payload.c1/memory.current': '1000\n',
    '/sys/fs/cgroup/lxc.payload.c1/memory.swap.current': '7\n',
    '/sys/fs/cgroup/lxc.payload.c1/pids.current': '2\n',
  });
  assert.deepEqual(usage, {
    cpuNs: 70000,
    memoryUsage: 1000,
    memoryPeak: null,
    swapUsage: 7,
    swapPeak: null,
    processes: 2,
  });
});

test('each hierarchy may have its own path', () => {
  const query = usageQuery(hybrid, (controller) => (controller === 'memory' ? '/a/b' : '/c'));
  assert.ok(query.paths.includes('/sys/fs/cgroup/memory/a/b/memory.usage_in_bytes'));
  assert.ok(query.paths.includes('/sys/fs/cgroup/pids/c/pids.current'));
});

test('files of an instance that is gone give nulls, not numbers', () => {
  const query = detailsQuery(hybrid, '/gone');
  const details = query.parse(query.paths.map(() => null));
  assert.equal(details.cpuNs, null);
  assert.equal(details.memory, null);
  assert.equal(details.processes, null);
  assert.deepEqual(details.cpus, []);
  assert.deepEqual(details.disks, []);
});

test('details of v1 count the guest’s own cgroups and part the time by CPU', () => {
  const at = '/sys/fs/cgroup';
  const details = parse(detailsQuery(hybrid, '/x'), {
    [`${at}/cpu,cpuacct/x/cpuacct.usage_all`]: 'cpu user system\n0 100 20\n1 5 6\n',
    [`${at}/memory/x/memory.stat`]: 'cache 1\nrss 2\ntotal_cache 10\ntotal_rss 20\ntotal_dirty 3\n',
    [`${at}/memory/x/memory.limit_in_bytes`]: '9223372036854771712\n',
    [`${at}/memory/x/memory.oom_control`]: 'oom_kill_disable 0\nunder_oom 0\noom_kill 4\n',
    [`${at}/blkio/x/blkio.throttle.io_service_bytes_recursive`]:
      '254:0 Read 4096\n254:0 Write 10\nTotal 4106\n',
    [`${at}/blkio/x/blkio.throttle.io_serviced_recursive`]: '254:0 Read 1\n254:0 Write 2\nTotal 3\n',
  });
  assert.deepEqual(details.cpus, [
    { cpu: 0, userNs: 100, systemNs: 20 },
    { cpu: 1, userNs: 5, systemNs: 6 },
  ]);
  assert.equal(details.cpuNs, 131);
  assert.equal(details.memory?.cache, 10);
  assert.equal(details.memory.rss, 20);
  assert.equal(details.memoryLimit, null);
  assert.equal(details.oomKills, 4);
  assert.deepEqual(details.disks, [
    { device: '254:0', readBytes: 4096, writtenBytes: 10, reads: 1, writes: 2 },
  ]);
});

test('details of v2 read cpu.stat, memory.stat and io.stat', () => {
  const details = parse(detailsQuery(unified, '/x'), {
    '/sys/fs/cgroup/x/cpu.stat': 'usage_usec 3\nuser_usec 1\nsystem_usec 2\n',
    '/sys/fs/cgroup/x/memory.stat': 'anon 5\nfile 6\nfile_mapped 7\n',
    '/sys/fs/cgroup/x/memory.max': '1048576\n',
    '/sys/fs/cgroup/x/memory.events': 'low 0\noom 1\noom_kill 1\n',
    '/sys/fs/cgroup/x/io.stat': '8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n',
  });
  assert.deepEqual(details.cpus, [{ cpu: 0, userNs: 1000, systemNs: 2000 }]);
  assert.equal(details.memory?.mapped, 7);
  assert.equal(details.memoryLimit, 1048576);
  assert.equal(details.oomKills, 1);
  assert.deepEqual(details.disks, [{ device: '8:0', readBytes: 1, writtenBytes: 2, reads: 3, writes: 4 }]);
});

test('the layout of this host names files that exist', { skip: !existsSync('/proc/self/mountinfo') }, () => {
  const query = usageQuery(readCgroupLayout(), '/');
  const found = query.paths.filter((path) => existsSync(path) && readFileSync(path, 'utf8') !== '');
  assert.ok(query.paths.length === 0 || found.length > 0, query.paths.join(' '));
});
