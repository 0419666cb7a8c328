import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { HostFiles, parseEntry, renderEntry } from '../../../../api/network/host-files.ts';
import type { HostEntry } from '../../../../api/network/host-files.ts';
import { parseLeases, releaseMessage } from '../../../../api/network/leases.ts';
import { renderLeases } from '../../../../api/network/network-leases.ts';
import { nicReservations, usesNetwork } from '../../../../api/network/reservations.ts';

const LEASES = [
  '1795233109 00:16:3E:00:00:01 10.0.0.20 web1 01:00:16:3e:00:00:01',
  '1795233110 00:16:3e:00:00:02 10.0.0.21 * *',
  'duid 00:01:00:01:32:93:c3:d6:e2:09:3c:7a:85:e6',
  '1795233111 7921 fd42::20 web1 00:01:00:01:20:00:00:00:00:16:3e:00:00:01',
  '1795233112 7922 fd42::21 web2 00:02:00:00:ab:11:01:02',
  '17952331',
].join('\n');

const NETWORK = {
  name: 'br0',
  type: 'bridge',
  config: { 'ipv4.address': '10.0.0.1/24', 'ipv6.address': 'fd42::1/64' },
};

test('a lease file is read line by line; a line cut short is left out', () => {
  assert.deepEqual(parseLeases(LEASES), [
    { hwaddr: '00:16:3e:00:00:01', address: '10.0.0.20', hostname: 'web1', clientId: '01:00:16:3e:00:00:01' },
    { hwaddr: '00:16:3e:00:00:02', address: '10.0.0.21', hostname: '', clientId: '*' },
    {
      hwaddr: '00:16:3e:00:00:01',
      address: 'fd42::20',
      hostname: 'web1',
      clientId: '00:01:00:01:20:00:00:00:00:16:3e:00:00:01',
    },
    { hwaddr: '', address: 'fd42::21', hostname: 'web2', clientId: '00:02:00:00:ab:11:01:02' },
  ]);
  assert.deepEqual(parseLeases(''), []);
});

test('a project sees its own leases, default also those of nobody', () => {
  const nic = (project: string, instance: string, hwaddr: string, ipv4: string | null) => ({
    project,
    instance,
    device: 'eth0',
    hwaddr,
    ipv4,
    ipv6: null,
  });
  const nics = [
    nic('p', 'web1', '00:16:3e:00:00:01', null),
    nic('default', 'fixed', '00:16:3e:00:00:09', '10.0.0.9'),
  ];
  const of = (project: string): string[] =>
    renderLeases(NETWORK, project, nics, parseLeases(LEASES)).map((one) => `${one.type} ${one.address}`);
  assert.deepEqual(of('default'), [
    'gateway 10.0.0.1',
    'gateway fd42::1',
    'static 10.0.0.9',
    'dynamic 10.0.0.21',
    'dynamic fd42::21',
    'dynamic fd42::216:3eff:fe00:9',
  ]);
  assert.deepEqual(of('p'), [
    'gateway 10.0.0.1',
    'gateway fd42::1',
    'dynamic 10.0.0.20',
    'dynamic fd42::20',
    'dynamic fd42::216:3eff:fe00:1',
  ]);
  assert.deepEqual(of('q'), ['gateway 10.0.0.1', 'gateway fd42::1']);
});

test('a release names the lease by address, MAC, client and server', () => {
  const [lease] = parseLeases(LEASES);
  assert.ok(lease);
  const message = releaseMessage(lease, '10.0.0.1');
  assert.deepEqual([...message.subarray(0, 4)], [1, 1, 6, 0]);
  assert.deepEqual([...message.subarray(12, 16)], [10, 0, 0, 20]);
  assert.deepEqual([...message.subarray(28, 34)], [0, 0x16, 0x3e, 0, 0, 1]);
  assert.deepEqual(
    [...message.subarray(236)],
    [...[0x63, 0x82, 0x53, 0x63, 53, 1, 7, 54, 4, 10, 0, 0, 1], ...[61, 7, 1, 0, 0x16, 0x3e, 0, 0, 1, 255]],
  );
});

const ENTRY: HostEntry = {
  hwaddr: '00:16:3e:00:00:01',
  ipv4: null,
  ipv6: null,
  name: 'web1',
  isIgnored: false,
};

test('an entry survives writing and reading', () => {
  const cases: [HostEntry, string][] = [
    [ENTRY, '00:16:3e:00:00:01,web1\n'],
    [{ ...ENTRY, ipv4: '10.0.0.9', ipv6: 'fd42::9' }, '00:16:3e:00:00:01,10.0.0.9,[fd42::9],web1\n'],
    [{ ...ENTRY, name: null, ipv4: '10.0.0.9' }, '00:16:3e:00:00:01,10.0.0.9\n'],
    [{ ...ENTRY, name: null, isIgnored: true }, '00:16:3e:00:00:01,ignore\n'],
  ];
  for (const [entry, text] of cases) {
    assert.equal(renderEntry(entry), text);
    assert.deepEqual(parseEntry(text), entry);
  }
});

test('host files tell what dnsmasq has to learn', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-hosts-'));
  try {
    const files = new HostFiles(join(folder, 'hosts'));
    await files.load();
    assert.equal(await files.write('web1.eth0', ENTRY), 'new');
    assert.equal(await files.write('web1.eth0', ENTRY), 'known');
    assert.equal(await files.write('web1.eth0', { ...ENTRY, ipv4: '10.0.0.9' }), 'changed');
    // An address that moves to another nic takes its old entry along.
    assert.equal(await files.write('web2.eth0', { ...ENTRY, name: 'web2', ipv4: '10.0.0.9' }), 'changed');
    assert.deepEqual(readdirSync(join(folder, 'hosts')), ['web2.eth0']);
    await files.write('web.eth0', { ...ENTRY, name: 'web' });
    assert.deepEqual(files.ofInstance('web'), ['web.eth0']);
    const again = new HostFiles(join(folder, 'hosts'));
    await again.load();
    assert.equal(again.get('web2.eth0')?.ipv4, '10.0.0.9');
    assert.equal(
      readFileSync(join(folder, 'hosts', 'web2.eth0'), 'utf8'),
      '00:16:3e:00:00:01,10.0.0.9,web2\n',
    );
    assert.equal(await again.remove('web2.eth0'), true);
    assert.equal(await again.remove('web2.eth0'), false);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('nics are found by network, users also by parent', () => {
  const devices = {
    eth0: { type: 'nic', network: 'br0', 'ipv4.address': '10.0.0.9', hwaddr: '00:16:3E:00:00:0A' },
    eth1: { type: 'nic', network: 'br0', 'ipv4.address': 'none' },
    eth2: { type: 'nic', nictype: 'bridged', parent: 'br0' },
    root: { type: 'disk', path: '/', network: 'br0' },
  };
  const owner = {
    project: 'default',
    name: 'c1',
    config: { 'volatile.eth1.hwaddr': '00:16:3e:00:00:0b' },
    devices,
  };
  assert.deepEqual(nicReservations('br0', [owner]), [
    {
      project: 'default',
      instance: 'c1',
      device: 'eth0',
      hwaddr: '00:16:3e:00:00:0a',
      ipv4: '10.0.0.9',
      ipv6: null,
    },
    {
      project: 'default',
      instance: 'c1',
      device: 'eth1',
      hwaddr: '00:16:3e:00:00:0b',
      ipv4: null,
      ipv6: null,
    },
  ]);
  assert.ok(usesNetwork('br0', { eth2: devices.eth2 }));
  assert.ok(!usesNetwork('br0', { root: devices.root }));
});
