/** Consoles, diagnostics and passwords, beside what a real nova-compute was asked and answered. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { POWER, type Diagnostics } from '../../driver/compute/host.ts';
import { novaError } from '../../driver/rpc/nova-error.ts';
import type { Json } from '../../driver/rpc/json.ts';
import { LifeBench, UUID, type RecordedCall } from '../support/life-bench.ts';

interface RecordedAsking {
  readonly method: string;
  readonly args: Json;
  readonly calls?: readonly RecordedCall[];
  readonly result: unknown;
}

const FILE = join(import.meta.dirname, '..', 'fixtures', 'compute-consoles.json');
// The file is made of these.
const RECORDED = JSON.parse(readFileSync(FILE, 'utf8')) as Readonly<Record<string, RecordedAsking>>;

let bench: LifeBench;
let instance: Json;

beforeEach(async () => {
  await begin('[serial_console]\nenabled = true\n');
});

afterEach(async () => {
  await bench.stop();
});

async function begin(config: string): Promise<void> {
  bench = await LifeBench.make(config);
  instance = bench.object(bench.add({ power_state: 1, config_drive: 'True' }));
  bench.guests.add(UUID);
}

function recordedOf(name: string): RecordedAsking {
  const found = RECORDED[name];
  if (found === undefined) throw new Error(`${name} was not recorded`);
  return found;
}

const wire = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
const keys = (value: unknown): string[] => Object.keys(value ?? {}).sort();

test('the console log is its last lines, as ASCII', async () => {
  const { method, args, result } = recordedOf('get-console-output');
  bench.guests.consoleText = String(result);
  assert.equal(await bench.ask(method, { instance, ...args }), result);
  const tailed = async (text: string, length: unknown) => {
    bench.guests.consoleText = text;
    return bench.ask(method, { instance, tail_length: length });
  };
  for (const [text, length, expected] of [
    ['a\nb\nc', 2, 'b\nc'],
    ['a\nb\nc\n', 2, 'c\n'],
    ['\na', 2, '\na'],
    ['\na', 9, '\na'],
    ['a\nb', '1', 'b'],
    ['a\nb', null, 'a\nb'],
    ['a\nb', -1, 'a\nb'],
    ['a\nb', 0, ''],
    ['a\nb', 'x', ''],
    ['', 5, ''],
    ['caf\u00e9', 1, 'caf\ufffd\ufffd'],
  ] as const) {
    assert.equal(await tailed(text, length), expected, `${text} ${String(length)}`);
  }
  assert.deepEqual(bench.calls(), []);
});

test('a serial console is authorized and answered as Nova does', async () => {
  const { method, args, calls, result } = recordedOf('get-serial-console');
  const token = '84af4547-29f0-42b5-bbc6-54b15e964b65';
  bench.nova.answers.set('ConsoleAuthToken.authorize', () => [{ id: 4, token, obj_what_changed: [] }, token]);
  const answer = await bench.ask(method, { instance, ...args });
  const place = { host: '127.0.0.1', port: 10_000, internal_access_path: null };
  assert.deepEqual(answer, { ...Object(result), ...place });
  const [theirs] = calls ?? [];
  assert.deepEqual(bench.calls(), [{ ...theirs, changes: { ...theirs?.changes, ...place } }]);
});

test('the port of a console is confirmed while it is the guest’s', async () => {
  const valid = (port: string, type = 'serial') =>
    bench.ask('validate_console_port', { instance, port, console_type: type });
  assert.equal(await valid('10000'), true);
  assert.equal(await valid('10001'), false);
  assert.equal(await valid('10000', 'novnc'), false);
});

test('consoles that a container has not, or that are off, are unavailable', async () => {
  const { method, args } = recordedOf('get-vnc-console');
  for (const one of [method, 'get_spice_console', 'get_rdp_console', 'get_mks_console']) {
    assert.equal((await bench.refused(one, { instance, ...args })).className, 'ConsoleTypeUnavailable', one);
  }
  await bench.stop();
  await begin('');
  const refused = await bench.refused('get_serial_console', { instance, console_type: 'serial' });
  assert.equal(refused.className, 'ConsoleTypeUnavailable');
  assert.equal(refused.kwargs['console_type'], 'serial');
});

test('a guest that is being built, or is off, has no console yet', async () => {
  bench.guests.fail('serialConsole', novaError('InstanceNotRunning', { instance_id: UUID }));
  const off = await bench.refused('get_serial_console', { instance, console_type: 'serial' });
  assert.equal(off.className, 'InstanceNotReady');
  bench.guests.guests.clear();
  const gone = await bench.refused('get_console_output', { instance, tail_length: 1 });
  assert.equal(gone.className, 'InstanceNotFound');
  const young = bench.object({ ...bench.row(), vm_state: 'building' });
  const building = await bench.refused('get_console_output', { instance: young, tail_length: 1 });
  assert.equal(building.className, 'InstanceNotReady');
});

const COUNTERS = { octets: 1, packets: 2, drop: 3, errors: 4 };
const FIGURES: Diagnostics = {
  uptimeS: 60,
  cpus: [{ id: 0, timeNs: 7 }],
  nics: [{ mac: 'fa:16:3e:8c:52:49', device: 'tap1', rx: COUNTERS, tx: { ...COUNTERS, octets: 9 } }],
  disks: [{ device: 'root', readBytes: 1, readRequests: 2, writeBytes: 3, writeRequests: 4 }],
  memory: { maximumMiB: 64, usedMiB: 5 },
};

test('diagnostics have every field of Nova’s, and values its API can read', async () => {
  bench.guests.diagnostics = () => Promise.resolve(FIGURES);
  const { method, args, result } = recordedOf('diagnostics');
  const answer = wire(await bench.ask(method, { instance, ...args }));
  const [mine, theirs] = [dataOf(answer), dataOf(result)];
  assert.deepEqual(keys(mine), keys(theirs));
  for (const list of ['cpu_details', 'nic_details', 'disk_details']) {
    assert.deepEqual(keys(dataOf(first(mine[list]))), keys(dataOf(first(theirs[list]))), list);
  }
  const { state, driver, hypervisor, config_drive: drive, uptime, num_nics: nics } = mine;
  assert.deepEqual(
    { state, driver, hypervisor, drive, uptime, nics },
    { state: 'running', driver: 'libvirt', hypervisor: 'lxc', drive: true, uptime: 60, nics: 1 },
  );
  assert.deepEqual(dataOf(mine['memory_details']), { maximum: 64, used: 5 });
  assert.deepEqual(await bench.ask('get_diagnostics', { instance }), {
    memory: 65_536,
    'memory-rss': 5120,
    cpu0_time: 7,
    tap1_rx: 1,
    tap1_rx_packets: 2,
    tap1_rx_drop: 3,
    tap1_rx_errors: 4,
    tap1_tx: 9,
    tap1_tx_packets: 2,
    tap1_tx_drop: 3,
    tap1_tx_errors: 4,
    root_read: 1,
    root_read_req: 2,
    root_write: 3,
    root_write_req: 4,
  });
});

function dataOf(object: unknown): Json {
  assert.ok(typeof object === 'object' && object !== null);
  const data: unknown = Reflect.get(object, 'nova_object.data');
  assert.ok(typeof data === 'object' && data !== null);
  return { ...data };
}

function first(list: unknown): unknown {
  assert.ok(Array.isArray(list));
  return list[0];
}

test('a guest that does not run has no diagnostics', async () => {
  bench.guests.guests.clear();
  bench.guests.add(UUID, { power: POWER.paused });
  const paused = bench.object({ ...bench.row(), power_state: 3 });
  const refused = await bench.refused('get_instance_diagnostics', { instance: paused });
  assert.equal(refused.className, 'InstanceInvalidState');
  assert.equal(refused.kwargs['state'], 'paused');
});

test('a password is set with the calls Nova makes, and ends the task', async () => {
  const { method, args, calls, result } = recordedOf('change-password');
  bench.row()['task_state'] = 'updating_password';
  assert.equal(await bench.ask(method, { instance: bench.object(bench.row()), ...args }), result);
  assert.deepEqual(bench.guests.passwords, ['secret']);
  // One expected state, or a list of one, are the same to conductor; hosts differ.
  const told = (list: readonly RecordedCall[]) =>
    list.map(({ kwargs, ...one }) => {
      const expected = [kwargs['expected_task_state']].flat();
      return { ...one, kwargs: { ...kwargs, host: null, expected_task_state: expected } };
    });
  assert.deepEqual(told(bench.calls()), told(calls ?? []));
});

test('a password that was not set is no secret told, and leaves the server as it was', async () => {
  const ask = (fails: unknown) => {
    bench.row()['task_state'] = 'updating_password';
    if (fails !== null) bench.guests.fail('setPassword', fails);
    return bench.refused('set_admin_password', { instance: bench.object(bench.row()), new_pass: 'hush' });
  };
  const failed = await ask(new Error('chpasswd said hush'));
  assert.equal(failed.className, 'InstancePasswordSetFailed');
  assert.doesNotMatch(JSON.stringify([failed.message, failed.kwargs, bench.faults]), /hush/);
  assert.deepEqual([bench.row()['task_state'], bench.row()['vm_state']], [null, 'active']);
  bench.guests.guests.clear();
  bench.guests.add(UUID, { power: POWER.shutdown });
  const off = await ask(null);
  assert.match(off.message, /is not running/);
  assert.equal(bench.row()['task_state'], null);
});
