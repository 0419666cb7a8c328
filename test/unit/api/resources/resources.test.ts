import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { Reader } from '../../../../api/resources/reader.ts';
import { readResources } from '../../../../api/resources/resources.ts';
import { resources } from '../../../../api/wire/resources.ts';
import type { ResourcesWire } from '../../../../api/wire/resources.ts';

const PCI = 'sys/devices/pci0000:00';

const CPU = 'sys/devices/system/cpu';

const FILES: Readonly<Record<string, string>> = {
  'proc/cpuinfo': [
    'processor\t: 0\nvendor_id\t: Acme\nmodel name\t: Acme CPU\nflags\t: fpu hypervisor vme',
    'processor\t: 1\nvendor_id\t: Acme\nmodel name\t: Acme CPU\nflags\t: fpu',
  ].join('\n\n'),
  'proc/meminfo':
    'MemTotal: 2000 kB\nMemFree: 100 kB\nMemAvailable: 1500 kB\nHugePages_Total: 4\nHugePages_Free: 3\nHugepagesize: 2048 kB\n',
  'sys/devices/system/node/node0/meminfo':
    'Node 0 MemTotal: 2000 kB\nNode 0 MemFree: 100 kB\nNode 0 FilePages: 400 kB\nNode 0 HugePages_Total: 4\nNode 0 HugePages_Free: 4\n',
  [`${CPU}/isolated`]: '1\n',
  [`${CPU}/cpu0/topology/physical_package_id`]: '0',
  [`${CPU}/cpu0/topology/core_id`]: '0',
  [`${CPU}/cpu0/topology/die_id`]: '0',
  [`${CPU}/cpu0/cache/index0/level`]: '1',
  [`${CPU}/cpu0/cache/index0/type`]: 'Data',
  [`${CPU}/cpu0/cache/index0/size`]: '32K',
  [`${CPU}/cpu0/cpufreq/scaling_cur_freq`]: '2400000',
  [`${CPU}/cpu0/cpufreq/cpuinfo_max_freq`]: '3000000',
  [`${CPU}/cpu0/cpufreq/cpuinfo_min_freq`]: '800000',
  [`${CPU}/cpu1/topology/physical_package_id`]: '0',
  [`${CPU}/cpu1/topology/core_id`]: '0',
  [`${CPU}/cpu1/topology/die_id`]: '-1',
  [`${CPU}/cpu1/online`]: '1',
  [`${CPU}/cpu2/online`]: '0',
  [`${PCI}/0000:00:03.0/vendor`]: '0x8086',
  [`${PCI}/0000:00:03.0/device`]: '0x100e',
  [`${PCI}/0000:00:03.0/numa_node`]: '-1',
  [`${PCI}/0000:00:03.0/net/eth0/address`]: '02:00:00:00:00:01',
  [`${PCI}/0000:00:03.0/net/eth0/type`]: '1',
  [`${PCI}/0000:00:03.0/net/eth0/dev_port`]: '0',
  [`${PCI}/0000:00:03.0/net/eth0/carrier`]: '1',
  [`${PCI}/0000:00:03.0/net/eth0/speed`]: '10000',
  [`${PCI}/0000:00:03.0/net/eth0/duplex`]: 'full',
  [`${PCI}/0000:00:04.0/vendor`]: '0x1af4',
  [`${PCI}/0000:00:04.0/device`]: '0x1042',
  [`${PCI}/0000:00:04.0/nvme/nvme0/model`]: 'Acme Disk   ',
  [`${PCI}/0000:00:04.0/nvme/nvme0/serial`]: 'S1',
  [`${PCI}/0000:00:04.0/nvme/nvme0/nvme0n1/dev`]: '259:0',
  [`${PCI}/0000:00:04.0/nvme/nvme0/nvme0n1/size`]: '8',
  [`${PCI}/0000:00:04.0/nvme/nvme0/nvme0n1/ro`]: '0',
  [`${PCI}/0000:00:04.0/nvme/nvme0/nvme0n1/queue/logical_block_size`]: '4096',
  [`${PCI}/0000:00:04.0/nvme/nvme0/nvme0n1/nvme0n1p1/partition`]: '1',
  [`${PCI}/0000:00:04.0/nvme/nvme0/nvme0n1/nvme0n1p1/dev`]: '259:1',
  [`${PCI}/0000:00:04.0/nvme/nvme0/nvme0n1/nvme0n1p1/size`]: '4',
  'sys/class/dmi/id/sys_vendor': 'Acme',
  'sys/class/dmi/id/chassis_type': '23',
  'usr/share/misc/pci.ids':
    '# list\n1af4  Red Hat, Inc.\n\t1042  Virtio block\n8086  Intel Corporation\n\t100e  Gigabit card\n\t\t0000 0000  sub\nffff  None\n',
};

const LINKS: Readonly<Record<string, string>> = {
  'sys/class/net/eth0': `${PCI}/0000:00:03.0/net/eth0`,
  [`${PCI}/0000:00:03.0/net/eth0/device`]: `${PCI}/0000:00:03.0`,
  'sys/bus/pci/devices/0000:00:03.0': `${PCI}/0000:00:03.0`,
  'sys/bus/pci/devices/0000:00:04.0': `${PCI}/0000:00:04.0`,
  'sys/class/block/nvme0n1': `${PCI}/0000:00:04.0/nvme/nvme0/nvme0n1`,
  [`${PCI}/0000:00:04.0/nvme/nvme0/nvme0n1/device`]: `${PCI}/0000:00:04.0/nvme/nvme0`,
};

function readTree(
  files: Readonly<Record<string, string>>,
  links: Readonly<Record<string, string>>,
): ResourcesWire {
  const root = mkdtempSync(join(tmpdir(), 'slipway-resources-'));
  try {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
    }
    for (const [path, target] of Object.entries(links)) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      symlinkSync(join(root, target), join(root, path));
    }
    return readResources(new Reader(root));
  } finally {
    rmSync(root, { recursive: true });
  }
}

test('threads are sorted into cores and sockets, offline ones left out', () => {
  const { cpu } = readTree(FILES, LINKS);
  assert.equal(cpu.total, 2);
  assert.deepEqual(cpu.sockets, [
    {
      name: 'Acme CPU',
      vendor: 'Acme',
      socket: 0,
      cache: [{ level: 1, type: 'Data', size: 32768 }],
      cores: [
        {
          core: 0,
          die: 0,
          threads: [
            { id: 0, numa_node: 0, thread: 0, online: true, isolated: false },
            { id: 1, numa_node: 0, thread: 1, online: true, isolated: true },
          ],
          frequency: 2400,
        },
      ],
      frequency_minimum: 800,
      frequency_turbo: 3000,
      frequency: 2400,
    },
  ]);
});

test('memory is counted in bytes, huge pages too', () => {
  const { memory } = readTree(FILES, LINKS);
  assert.deepEqual(memory, {
    nodes: [
      { numa_node: 0, hugepages_used: 0, hugepages_total: 8388608, used: 1500 * 1024, total: 2000 * 1024 },
    ],
    hugepages_used: 2097152,
    hugepages_total: 8388608,
    hugepages_size: 2097152,
    used: 500 * 1024,
    total: 2000 * 1024,
  });
});

test('cards and disks are told with their place and, where the host knows them, their names', () => {
  const all = readTree(FILES, LINKS);
  assert.deepEqual(all.network.cards, [
    {
      pci_address: '0000:00:03.0',
      vendor: 'Intel Corporation',
      vendor_id: '8086',
      product: 'Gigabit card',
      product_id: '100e',
      ports: [
        {
          id: 'eth0',
          address: '02:00:00:00:00:01',
          port: 0,
          protocol: 'ethernet',
          auto_negotiation: false,
          link_detected: true,
          link_speed: 10000,
          link_duplex: 'full',
        },
      ],
      numa_node: 0,
    },
  ]);
  const [disk] = all.storage.disks;
  assert.equal(disk?.id, 'nvme0n1');
  assert.equal(disk.model, 'Acme Disk');
  assert.equal(disk.serial, 'S1');
  assert.equal(disk.size, 4096);
  assert.equal(disk.pci_address, '0000:00:04.0');
  assert.deepEqual(disk.partitions, [
    { id: 'nvme0n1p1', device: '259:1', read_only: false, size: 2048, partition: 1 },
  ]);
  assert.equal(all.pci.total, 2);
  assert.equal(all.system.type, 'virtual-machine');
  assert.equal(all.system.chassis?.type, 'rack mount chassis');
});

test('a host that tells nothing gives an empty answer of the right shape', () => {
  const all = readTree({ 'sys/nothing': '' }, {});
  assert.deepEqual(resources.parse(all), all);
  assert.equal(all.cpu.total, 0);
  assert.equal(all.system.firmware, null);
});

test('this host gives an answer of the right shape', () => {
  const all = readResources();
  assert.deepEqual(resources.parse(all), all);
  assert.ok(all.cpu.total > 0);
  assert.ok(all.memory.total > all.memory.used);
});
