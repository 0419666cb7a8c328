import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SILENT } from '../../../../process/log.ts';
import { cgroupLayout } from '../../../../api/metrics/cgroup.ts';
import { renderMetrics } from '../../../../api/metrics/exposition.ts';
import { FAMILIES } from '../../../../api/metrics/families.ts';
import type { MeasuredInstance, MetricsParts } from '../../../../api/metrics/metrics.ts';
import { openMetrics } from '../../../../api/metrics/metrics.ts';
import type { NetInterface } from '../../../../native/types.ts';

const layout = cgroupLayout('41 31 0:38 / /cg rw - cgroup2 cgroup2 rw', () => 'cpu io memory pids');

const ETH0: NetInterface = {
  index: 2,
  name: 'eth0',
  hwaddr: '00:16:3e:00:00:01',
  mtu: 1500,
  up: true,
  type: 'broadcast',
  peerIndex: 3,
  addresses: [],
  counters: {
    bytesReceived: 10,
    bytesSent: 20,
    packetsReceived: 1,
    packetsSent: 2,
    errorsReceived: 3,
    errorsSent: 4,
    droppedInbound: 5,
    droppedOutbound: 6,
  },
};

const FILES: Readonly<Record<string, string>> = {
  '/proc/meminfo': 'MemTotal:       1000 kB\n',
  '/cg/lxc.payload.c1/cpu.stat': 'usage_usec 3\nuser_usec 1000000\nsystem_usec 2500000\n',
  '/cg/lxc.payload.c1/memory.current': '4096\n',
  '/cg/lxc.payload.c1/memory.stat': 'anon 5\nfile 6\ninactive_file 96\nactive_anon 1\nactive_file 2\n',
  '/cg/lxc.payload.c1/memory.max': '524288\n',
  '/cg/lxc.payload.c1/memory.events': 'oom_kill 2\n',
  '/cg/lxc.payload.c1/pids.current': '9\n',
  '/cg/lxc.payload.c1/io.stat': '8:0 rbytes=1 wbytes=2 rios=3 wios=4\n7:7 rbytes=9 wbytes=9 rios=9 wios=9\n',
  '/sys/dev/block/8:0/uevent': 'MAJOR=8\nDEVNAME=sda\n',
};

const C1: MeasuredInstance = {
  project: 'default',
  name: 'c1',
  initPid: process.pid,
  cgroup: '/lxc.payload.c1',
};

function parts(instances: readonly MeasuredInstance[]): MetricsParts & { reads: number } {
  const made = {
    reads: 0,
    layout,
    log: SILENT,
    native: {
      readFiles: (paths: readonly string[]) => {
        made.reads += 1;
        return Promise.resolve(
          paths.map((path) =>
            path.endsWith('/mountinfo') ? '1 1 0:5 / / rw - overlay overlay rw\n' : (FILES[path] ?? null),
          ),
        );
      },
      interfaces: (pids: readonly number[]) => Promise.resolve(pids.map(() => [ETH0])),
    },
    source: {
      instances: (project: string | null) =>
        instances.filter((one) => project === null || one.project === project),
      runningOperations: () => 3,
      activeWarnings: () => 1,
    },
  };
  return made;
}

test('one running instance is told under LXD’s names and labels', async () => {
  const text = await openMetrics(parts([C1])).text({ projects: ['default'], withServer: false });
  const labels = 'name="c1",project="default",type="container"';
  for (const line of [
    '# TYPE lxd_cpu_seconds_total counter',
    `lxd_cpu_seconds_total{cpu="0",mode="system",${labels}} 2.5`,
    `lxd_cpu_seconds_total{cpu="0",mode="user",${labels}} 1`,
    `lxd_disk_read_bytes_total{device="sda",${labels}} 1`,
    `lxd_disk_writes_completed_total{device="sda",${labels}} 4`,
    `lxd_memory_MemTotal_bytes{${labels}} 524288`,
    `lxd_memory_MemFree_bytes{${labels}} 520192`,
    `lxd_memory_MemAvailable_bytes{${labels}} 520288`,
    `lxd_memory_OOM_kills_total{${labels}} 2`,
    `lxd_network_receive_drop_total{device="eth0",${labels}} 5`,
    `lxd_network_transmit_drop_total{device="eth0",${labels}} 6`,
    `lxd_procs_total{${labels}} 9`,
    '# TYPE lxd_procs_total gauge',
  ]) {
    assert.ok(text.split('\n').includes(line), line);
  }
  assert.match(
    text,
    /lxd_filesystem_size_bytes\{device="overlay",fstype="overlay",mountpoint="\/",name="c1"/,
  );
  assert.ok(!text.includes('device="7:7"'));
  assert.ok(!text.includes('process_'));
  assert.ok(text.endsWith('# EOF\n'));
  assert.equal(text.match(/# EOF/g)?.length, 1);
});

test('the daemon’s own metrics are told when asked for', async () => {
  const text = await openMetrics(parts([])).text({ projects: null, withServer: true });
  assert.match(text, /^lxd_operations_total 3$/m);
  assert.match(text, /^lxd_warnings_total 1$/m);
  assert.match(text, /^lxd_uptime_seconds \d/m);
  assert.match(text, /^process_resident_memory_bytes \d/m);
  assert.match(text, /^nodejs_version_info\{/m);
  assert.ok(text.endsWith('# EOF\n'));
});

test('only the projects asked for are told, each read once for several askers', async () => {
  const made = parts([C1, { ...C1, project: 'other', name: 'c2' }]);
  const metrics = openMetrics(made);
  const texts = await Promise.all(
    [1, 2, 3].map(() => metrics.text({ projects: ['other'], withServer: false })),
  );
  assert.equal(new Set(texts).size, 1);
  assert.ok(texts[0]?.includes('name="c2"'));
  assert.ok(!texts[0]?.includes('name="c1"'));
  const reads = made.reads;
  await metrics.text({ projects: ['other'], withServer: false });
  assert.equal(made.reads, reads);
});

test('an instance that ends while it is read leaves the others alone', async () => {
  const gone: MeasuredInstance = { project: 'default', name: 'gone', initPid: 0x7fff_fffe, cgroup: '/gone' };
  const text = await openMetrics(parts([gone, C1])).text({ projects: null, withServer: false });
  assert.ok(!text.includes('lxd_cpu_seconds_total{cpu="0",mode="user",name="gone"'));
  assert.ok(text.includes('name="c1"'));
});

test('label values cannot break a line', () => {
  const [family] = FAMILIES;
  assert.ok(family);
  const text = renderMetrics([family], [{ metric: family.name, labels: { name: 'a"b\\c\nd' }, value: 1 }]);
  assert.ok(text.endsWith('{name="a\\"b\\\\c\\nd"} 1\n'));
});

test('every family has its own name', () => {
  assert.equal(new Set(FAMILIES.map((family) => family.name)).size, FAMILIES.length);
});
