/** States, failures and figures of the daemon in Nova's words. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { guestError, failingAs, spawnError } from '../../../../driver/lxd/guest-faults.ts';
import { diskFigures } from '../../../../driver/lxd/guest-disks.ts';
import { capacityOf } from '../../../../driver/lxd/guest-figures.ts';
import { powerOf } from '../../../../driver/lxd/guest-power.ts';
import { POWER } from '../../../../driver/lxd/guest-types.ts';
import { readPortRange } from '../../../../driver/lxd/console-bridge.ts';
import { isNovaError, NovaError, novaError } from '../../../../driver/rpc/nova-error.ts';
import { Fault, isFault } from '../../../../process/fault.ts';

test('states of containers are power states', () => {
  for (const [status, power] of [
    ['Running', POWER.running],
    ['Ready', POWER.running],
    ['Stopping', POWER.running],
    ['Frozen', POWER.paused],
    ['Stopped', POWER.shutdown],
    ['Starting', POWER.noState],
    ['Error', POWER.noState],
    ['Aborting', POWER.crashed],
    ['Something new', POWER.noState],
  ] as const) {
    assert.equal(powerOf({ status, config: {} }), power, status);
  }
  const noted = { 'user.nova.suspended': 'true' };
  assert.equal(powerOf({ status: 'Frozen', config: noted }), POWER.suspended);
  assert.equal(powerOf({ status: 'Running', config: noted }), POWER.running);
});

test('a build that no host could do is ended, another one goes on elsewhere', () => {
  const classOf = (err: unknown): string => {
    const raised = spawnError('u1', err);
    return raised instanceof NovaError ? raised.className : 'no error of Nova';
  };
  for (const [err, expected] of [
    [new Fault('bad_request', 'build with flavor x: extra spec'), 'BuildAbortException'],
    [new Fault('internal', 'Creating instance: the contents do not fit into it'), 'BuildAbortException'],
    [new Fault('conflict', 'plug port p: Neutron did not bind it'), 'VirtualInterfaceCreateException'],
    [new Fault('conflict', 'Instance "x" already exists'), 'InstanceDeployFailure'],
    [new Fault('storage_full', 'the pool'), 'ComputeResourcesUnavailable'],
    [new Fault('internal', 'write: No space left on device'), 'ComputeResourcesUnavailable'],
    [new Fault('unavailable', 'no daemon'), 'HypervisorUnavailable'],
    [new Fault('internal', 'Creating instance: what nobody foresaw'), 'InstanceDeployFailure'],
    [novaError('ImageUnacceptable', { image_id: 'i', reason: 'r' }), 'ImageUnacceptable'],
    [new Error('aborted'), 'no error of Nova'],
  ] as const) {
    assert.equal(classOf(err), expected, err.message);
  }
});

test('a failure says of whom it is, and why', async () => {
  const fails = failingAs('InterfaceAttachFailed', 'u1', () =>
    Promise.reject(new Fault('bad_request', 'add nic', { cause: new Error('no bridge') })),
  );
  await assert.rejects(fails, (err) => {
    assert.ok(isNovaError(err, 'InterfaceAttachFailed'));
    assert.match(err.message, /u1.*: add nic: no bridge$/);
    return err.kwargs['instance_uuid'] === 'u1';
  });
  const gone = guestError('NovaException', 'u1', new Fault('not_found', 'GET: Instance not found'));
  assert.ok(isNovaError(gone, 'InstanceNotFound'));
  const reason = new Error('the service stops');
  assert.equal(guestError('NovaException', 'u1', reason), reason);
});

test('what the host has is read from its resources', () => {
  const thread = { id: 0, numa_node: 0, thread: 0, online: true, isolated: false };
  const cores = [0, 1].map((core) => ({ core, die: 0, threads: [thread, thread] }));
  const facts = {
    cpu: { architecture: 'x86_64', total: 4, sockets: [{ name: 'CPU 9', vendor: 'V', socket: 0, cores }] },
    memory: { hugepages_total: 0, hugepages_used: 0, hugepages_size: 0, used: 0, total: 8 * 2 ** 30 },
    gpu: { cards: [], total: 0 },
    network: { cards: [], total: 0 },
    storage: { disks: [], total: 0 },
    usb: { devices: [], total: 0 },
    pci: { devices: [], total: 0 },
    system: {
      uuid: '',
      vendor: '',
      product: '',
      family: '',
      version: '',
      sku: '',
      serial: '',
      type: '',
      firmware: null,
      chassis: null,
      motherboard: null,
    },
  };
  const found = capacityOf(facts, { used: 2 ** 30 + 1, total: 100 * 2 ** 30 }, '5.0.2');
  assert.deepEqual(found, {
    cpus: 4,
    memoryMb: 8192,
    diskGb: 100,
    diskUsedGb: 2,
    cpu: { arch: 'x86_64', model: 'CPU 9', vendor: 'V', sockets: 1, cores: 2, threads: 2 },
    lxcVersion: '5.0.2',
  });
});

test('what a guest reads and writes is found among what all guests do', () => {
  const labels = (device: string, name: string) =>
    `device="${device}",name="${name}",project="default",type="c"`;
  const text = [
    '# TYPE lxd_disk_read_bytes_total counter',
    `lxd_disk_read_bytes_total{${labels('sda', 'instance-1')}} 4096`,
    `lxd_disk_reads_completed_total{${labels('sda', 'instance-1')}} 1`,
    `lxd_disk_written_bytes_total{${labels('sda', 'instance-1')}} 1.5e+06`,
    `lxd_disk_writes_completed_total{${labels('sda', 'instance-1')}} 2`,
    `lxd_disk_read_bytes_total{${labels('loop3', 'instance-1')}} 512`,
    `lxd_disk_read_bytes_total{${labels('sda', 'instance-12')}} 7`,
    `lxd_filesystem_size_bytes{device="overlay",name="instance-1"} 9`,
    '# EOF',
  ].join('\n');
  assert.deepEqual(diskFigures(text, 'instance-1'), [
    { device: 'sda', readBytes: 4096, readRequests: 1, writeBytes: 1_500_000, writeRequests: 2 },
    { device: 'loop3', readBytes: 512, readRequests: 0, writeBytes: 0, writeRequests: 0 },
  ]);
  assert.deepEqual(diskFigures(text, 'instance-2'), []);
});

test('a range of ports is two numbers', () => {
  assert.deepEqual(readPortRange(' 10000:20000 '), { from: 10_000, to: 20_000 });
  for (const text of ['', '5', '20:10', '0:9', '1:70000', 'a:b']) {
    assert.throws(
      () => readPortRange(text),
      (err) => isFault(err, 'bad_request'),
      text,
    );
  }
});
