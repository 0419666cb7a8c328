/** What clients of LXD 5.0 send for instances and match on in the answers, line by line. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { check, type Line } from '../support/conformance.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

const I = '/1.0/instances';
const TINY = { type: 'image', alias: 'tiny' };
const NONE = { type: 'none' };

/** The whole request of `lxc`, with every field a null that its types allow. */
const NULLS = { config: null, devices: null, profiles: null, stateful: false, description: null };

const CREATING: readonly Line[] = [
  {
    // The lxd_container module of Ansible.
    ask: `POST ${I}?target=`,
    body: {
      ...{ name: 'cfa', architecture: 'x86_64', config: {}, devices: {}, ephemeral: false },
      ...{ source: TINY, profiles: ['default'], type: 'container', unknown_key: 1 },
    },
    code: 202,
    holds: {
      class: 'task',
      description: 'Creating instance',
      resources: { instances: [`${I}/cfa`], containers: ['/1.0/containers/cfa'] },
    },
    ends: 'Success',
  },
  {
    ask: `POST ${I}`,
    body: { name: 'cfb', source: TINY, ...NULLS, instance_type: null, ephemeral: null, architecture: null },
    code: 202,
    ends: 'Success',
  },
  { ask: `POST ${I}`, body: { name: 'cfc', source: NONE, profiles: [] }, code: 202, ends: 'Success' },
  {
    ask: `POST /1.0/containers`,
    body: { name: 'cfd', source: { type: 'copy', source: 'cfa' }, profiles: null },
    code: 202,
    ends: 'Success',
  },
  { ask: `POST ${I}`, body: { name: 'cfa', source: NONE }, code: 409, error: /already exists/ },
  { ask: `POST ${I}`, body: { name: 'c_f', source: NONE }, code: 400, error: /^Invalid instance name/ },
  { ask: `POST ${I}`, body: { name: '1cf', source: NONE }, code: 400, error: /^Invalid instance name/ },
  { ask: `POST ${I}`, body: { name: 'cfx', source: { type: 'image', alias: 'no' } }, code: 404 },
  { ask: `POST ${I}`, body: { name: 'cfx', source: { type: 'image', fingerprint: 'abc' } }, code: 404 },
  { ask: `POST ${I}`, body: { name: 'cfx', source: { type: 'image' } }, code: 400 },
  { ask: `POST ${I}`, body: { name: 'cfx', source: { type: 'bogus' } }, code: 400 },
  { ask: `POST ${I}`, body: { name: 'cfx', source: { type: 'copy', source: 'no' } }, code: 404 },
  {
    ask: `POST ${I}`,
    body: { name: 'cfx', source: NONE, profiles: ['no'] },
    code: 400,
    error: /"no" doesn't exist/,
  },
  {
    ask: `POST ${I}`,
    body: { name: 'cfx', source: NONE, config: { no: '1' } },
    code: 400,
    error: /^Unknown configuration key/,
  },
  { ask: `POST ${I}`, body: { name: 'cfx', source: NONE, config: { 'limits.processes': 5 } }, code: 400 },
  { ask: `POST ${I}?target=other`, body: { name: 'cfx', source: NONE }, code: 400 },
  { ask: `POST ${I}?project=no`, body: { name: 'cfx', source: NONE }, code: 404, error: 'Project not found' },
  { ask: `POST ${I}`, body: { name: 'cfx', source: NONE, type: 'virtual-machine' }, code: 400 },
  { ask: 'POST /1.0/virtual-machines', body: { name: 'cfx', source: NONE }, code: 400 },
  { ask: `POST ${I}`, body: '{"name":"cfx"} trailing', code: 400 },
  { ask: `POST ${I}`, body: '', code: 400 },
  { ask: `POST ${I}`, body: [], code: 400 },
  { ask: `POST ${I}`, body: null, code: 400 },
];

const URLS = [`${I}/cfa`, `${I}/cfb`, `${I}/cfc`, `${I}/cfd`];
const LISTS: readonly Line[] = [
  { ask: `GET ${I}`, code: 200, is: URLS, etag: false },
  { ask: `GET ${I}?recursion=0&filter=`, code: 200, is: URLS },
  { ask: `GET ${I}?all-projects=true`, code: 200, is: URLS },
  { ask: `GET ${I}?instance-type=container`, code: 200, is: URLS },
  { ask: `GET ${I}?instance-type=virtual-machine`, code: 200, is: [] },
  { ask: `GET ${I}?project=nobody`, code: 200, is: [] },
  { ask: `GET ${I}?all-projects=true&project=default`, code: 400 },
  { ask: 'GET /1.0/containers', code: 200, is: URLS.map((url) => url.replace('instances', 'containers')) },
  { ask: 'GET /1.0/virtual-machines', code: 200, is: [] },
  { ask: 'GET /1.0/virtual-machines/cfa', code: 404, error: 'Instance not found' },
  { ask: `GET ${I}?recursion=1`, code: 200, holds: [{ name: 'cfa' }, {}, {}, {}] },
  {
    ask: `GET ${I}?recursion=2`,
    code: 200,
    holds: [{ name: 'cfa', state: { status: 'Stopped' }, snapshots: null, backups: null }, {}, {}, {}],
  },
  { ask: `GET ${I}?filter=name+eq+cfa`, code: 200, is: [`${I}/cfa`] },
  { ask: `GET ${I}?filter=name+eq+CF.*+and+not+name+eq+cfa`, code: 200, is: URLS.slice(1) },
  { ask: `GET ${I}?filter=name+eq+cfa+or+name+eq+%22cfb%22`, code: 200, is: URLS.slice(0, 2) },
  { ask: `GET ${I}?filter=config.image.os+eq+busybox`, code: 200, holds: [/./, /./, /./] },
  { ask: `GET ${I}?filter=expanded_devices.root.pool+ne+default`, code: 200, is: [] },
  { ask: `GET ${I}?filter=status+eq+stopped`, code: 200, is: URLS },
  { ask: `GET ${I}?filter=name+eq+(`, code: 200, is: [] },
  { ask: `GET ${I}?filter=name`, code: 400 },
  { ask: `GET ${I}?filter=name+eq+a+xor+name+eq+b`, code: 400 },
];

const ONE: readonly Line[] = [
  {
    ask: `GET ${I}/cfa`,
    code: 200,
    etag: true,
    holds: {
      ...{ name: 'cfa', architecture: 'x86_64', devices: {}, ephemeral: false, profiles: ['default'] },
      ...{ stateful: false, description: '', status: 'Stopped', status_code: 102, location: 'none' },
      ...{ type: 'container', project: 'default', last_used_at: '1970-01-01T00:00:00Z' },
      created_at: /^20\d\d-.*Z$/,
      config: {
        'volatile.apply_template': 'create',
        'volatile.last_state.idmap': '[]',
        'volatile.base_image': /^[0-9a-f]{64}$/,
        'volatile.eth0.hwaddr': /^00:16:3e:/,
        'volatile.uuid': /-/,
      },
      expanded_devices: { root: { type: 'disk', path: '/', pool: 'default' } },
    },
  },
  { ask: `GET ${I}/cf%61`, code: 200, holds: { name: 'cfa' } },
  { ask: `GET ${I}/cfa?recursion=1`, code: 200, etag: true, holds: { state: { pid: 0 }, snapshots: null } },
  { ask: 'GET /1.0/containers/cfa', code: 200, holds: { name: 'cfa' } },
  {
    ask: `GET ${I}/cfa/state`,
    code: 200,
    is: {
      ...{ status: 'Stopped', status_code: 102, disk: {}, network: null, pid: 0, processes: 0 },
      memory: { usage: 0, usage_peak: 0, swap_usage: 0, swap_usage_peak: 0 },
      cpu: { usage: 0 },
    },
  },
  { ask: `GET ${I}/nobody`, code: 404, error: 'Instance not found' },
  { ask: `GET ${I}/cfa?project=nobody`, code: 404, error: 'Project not found' },
  { ask: `GET ${I}/`, code: 404 },
  { ask: `GET ${I}/cfa/snapshots`, code: 200, is: [] },
  { ask: `GET ${I}/cfa/backups`, code: 200, is: [] },
  { ask: `DELETE ${I}`, code: 501 },
];

const PATCHING: readonly Line[] = [
  { ask: `PATCH ${I}/cfa`, body: { config: { 'user.a': '1' } }, code: 200, is: {} },
  {
    ask: `PATCH ${I}/cfa`,
    body: { devices: { d: { type: 'none' } }, config: null, profiles: null },
    code: 200,
  },
  {
    ask: `GET ${I}/cfa`,
    code: 200,
    holds: { config: { 'user.a': '1' }, devices: { d: { type: 'none' } }, profiles: ['default'] },
  },
  { ask: `PATCH ${I}/cfa`, body: { config: { 'user.a': '' } }, code: 200 },
  { ask: `GET ${I}/cfa`, code: 200, holds: { config: { 'user.a': undefined, 'volatile.uuid': /-/ } } },
  { ask: `PATCH ${I}/cfa`, body: { config: { 'user.a': 2 } }, code: 400 },
  { ask: `PATCH ${I}/cfa`, body: { restore: 's0' }, code: 400 },
  {
    ask: `PATCH ${I}/cfa`,
    body: {},
    headers: { 'If-Match': 'stale' },
    code: 412,
    error: /^ETag doesn't match/,
  },
  { ask: `PATCH ${I}/cfa`, body: {}, headers: { 'If-Match': '*' }, code: 412 },
  { ask: `PATCH ${I}/cfa`, body: { description: 'kept', ephemeral: true }, code: 200 },
  { ask: `GET ${I}/cfa`, code: 200, holds: { description: 'kept', ephemeral: true } },
  { ask: `PATCH ${I}/nobody`, body: {}, code: 404 },
  { ask: `PUT ${I}/cfa`, body: {}, headers: { 'If-Match': 'invalid-etag' }, code: 412 },
  { ask: `PUT ${I}/cfa`, body: { profiles: ['no'] }, code: 400, error: /"no" doesn't exist/ },
  { ask: `PUT ${I}/cfa`, body: { profiles: ['default'], config: { 'limits.memory': 'x' } }, code: 400 },
  {
    ask: `PUT ${I}/cfa`,
    body: { profiles: ['default'], config: { 'user.z': '1' }, devices: null },
    code: 202,
    holds: { description: 'Updating instance' },
    ends: 'Success',
  },
  {
    ask: `GET ${I}/cfa`,
    code: 200,
    holds: {
      config: { 'user.z': '1', 'image.os': undefined },
      devices: {},
      description: '',
      ephemeral: false,
    },
  },
  {
    ask: `POST ${I}/cfc`,
    body: {
      ...{ name: 'cfe', migration: false, live: false, instance_only: false, container_only: false },
      ...{ target: null, pool: '', project: '', allow_inconsistent: false },
    },
    code: 202,
    holds: { description: 'Renaming instance', resources: { instances: [`${I}/cfc`] } },
    ends: 'Success',
  },
  { ask: `POST ${I}/cfe`, body: { name: 'cfa' }, code: 409, error: 'Name "cfa" already in use' },
  { ask: `GET ${I}/cfc`, code: 404 },
];

const state = (action: string, more: object = {}): Pick<Line, 'ask' | 'body' | 'code'> => ({
  ask: `PUT ${I}/cfb/state`,
  body: { action, timeout: -1, force: false, stateful: false, ...more },
  code: 202,
});
const disk = (source: string, path: string, required = 'true'): Record<string, string> => ({
  type: 'disk',
  source,
  path,
  required,
});
const MACVLAN = { type: 'nic', nictype: 'macvlan', parent: 'cfinst0', name: 'm1' };
const STATES: readonly Line[] = [
  {
    ...state('stop'),
    holds: { description: 'Stopping instance' },
    ends: { err: 'The instance is already stopped' },
  },
  { ...state('start'), holds: { description: 'Starting instance' }, ends: 'Success' },
  { ...state('start'), ends: { err: 'The instance is already running' } },
  {
    ask: `GET ${I}/cfb`,
    code: 200,
    holds: {
      status: 'Running',
      status_code: 103,
      config: { 'volatile.last_state.power': 'RUNNING', 'volatile.eth0.host_name': /^veth/ },
    },
  },
  {
    ask: `GET ${I}/cfb/state`,
    code: 200,
    holds: {
      network: {
        lo: { type: 'loopback', mtu: 65536, hwaddr: '', host_name: '' },
        eth0: { type: 'broadcast', host_name: /^veth/ },
      },
      pid: (pid: unknown) => Number(pid) > 0,
    },
  },
  { ask: `DELETE ${I}/cfb`, code: 400, error: 'Instance is running' },
  {
    ask: `POST ${I}/cfb`,
    body: { name: 'cfz' },
    code: 400,
    error: /^Renaming of running instance not allowed/,
  },
  { ...state('freeze', { timeout: null }), holds: { description: 'Freezing instance' }, ends: 'Success' },
  { ask: `GET ${I}/cfb/state`, code: 200, holds: { status: 'Frozen', status_code: 110 } },
  { ask: `POST ${I}/cfb/exec`, body: { command: ['true'] }, code: 400, error: 'Instance is frozen' },
  { ask: `POST ${I}/cfb/console`, body: {}, code: 400, error: 'Instance is frozen' },
  { ...state('unfreeze'), holds: { description: 'Unfreezing instance' }, ends: 'Success' },
  { ...state('restart', { force: true }), holds: { description: 'Restarting instance' }, ends: 'Success' },
  { ...state('bogus'), code: 400 },
  { ...state('stop', { force: true }), ends: 'Success' },
  {
    ask: `GET ${I}/cfb`,
    code: 200,
    holds: { status: 'Stopped', config: { 'volatile.last_state.power': 'STOPPED' } },
  },
  { ask: `PUT ${I}`, body: { state: { action: 'stop', force: true } }, code: 202, ends: 'Success' },
  { ask: `PUT ${I}`, body: { state: null }, code: 400 },
  { ask: `POST ${I}`, body: { name: 'cff', source: TINY, start: true }, code: 202, ends: 'Success' },
  { ask: `GET ${I}/cff`, code: 200, holds: { status: 'Running' } },
  {
    ask: `PATCH ${I}/cff`,
    body: { devices: { d1: disk('/nothing', '/mnt/n', 'false'), d2: disk('/etc/hostname', 'root//h/') } },
    code: 200,
  },
  {
    ask: `PATCH ${I}/cff`,
    body: { devices: { d3: disk('/etc/hostname', '/etc') } },
    code: 400,
    error: /^add disk "d3" to the running container: /,
  },
  { ask: `PATCH ${I}/cff`, body: { devices: { n1: MACVLAN, n2: { ...MACVLAN, name: 'm2' } } }, code: 200 },
  {
    ask: `POST ${I}/cff/exec`,
    body: { command: ['sh', '-c', 'ip link del m1 && ip link set m2 down name other'] },
    code: 202,
    ends: 'Success',
  },
  { ask: `PATCH ${I}/cff`, body: { devices: { n2: { ...MACVLAN, name: 'm3' } } }, code: 200 },
  { ask: `GET ${I}/cff/state`, code: 200, holds: { network: { other: undefined, m3: {} } } },
  {
    ask: `PUT ${I}/cff`,
    body: { profiles: ['default'], devices: {}, config: {} },
    code: 202,
    ends: 'Success',
  },
  {
    ask: 'PUT /1.0/containers',
    body: { state: { action: 'stop', force: true } },
    code: 202,
    ends: 'Success',
  },
  { ask: `DELETE ${I}/cfb`, code: 202, holds: { description: 'Deleting instance' }, ends: 'Success' },
  { ask: `DELETE ${I}/cfb`, code: 404, error: 'Instance not found' },
];

describe('instances over REST, as LXD 5.0 answers', () => {
  let daemon: SlipwayDaemon;
  let folder: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'slipway-images-'));
    daemon = await SlipwayDaemon.start();
    await daemon.furnish('cfinst0');
    await daemon.importImage(await buildTinyImage(folder), 'tiny');
  });

  after(async () => {
    await daemon.destroy();
    await rm(folder, { recursive: true, force: true });
  });

  const tables = {
    creating: CREATING,
    lists: LISTS,
    'one instance': ONE,
    'changes of one': PATCHING,
    states: STATES,
  };
  for (const [title, lines] of Object.entries(tables)) {
    test(title, async () => {
      for (const line of lines) await check({ socketPath: daemon.socket }, line);
    });
  }

  test('an ETag that was read is good for one change', async () => {
    const target = { socketPath: daemon.socket };
    const read = await check(target, { ask: `GET ${I}/cfa`, code: 200, etag: true });
    const tag = read.headers.etag ?? '';
    assert.notEqual(tag, '');
    const change: Line = { ask: `PATCH ${I}/cfa`, body: { config: { 'user.n': '1' } }, code: 200 };
    await check(target, { ...change, headers: { 'If-Match': tag } });
    await check(target, { ...change, headers: { 'If-Match': tag }, code: 412 });
  });

  test('a profile that changes, changes the ETag of its instances', async () => {
    const target = { socketPath: daemon.socket };
    const before = await check(target, { ask: `GET ${I}/cfa`, code: 200 });
    await check(target, {
      ask: 'PATCH /1.0/profiles/default',
      body: { config: { 'user.p': '1' } },
      code: 200,
    });
    const later = await check(target, { ask: `GET ${I}/cfa`, code: 200 });
    assert.notEqual(before.headers.etag, later.headers.etag);
  });
});
