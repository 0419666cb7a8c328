/** Profiles, networks, pools, images, aliases, projects, settings and the rest of the server, as LXD 5.0 answers. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { check, type Line } from '../support/conformance.ts';
import { send } from '../support/http-client.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

const BRIDGE = 'cfobj0';
const STALE = { 'If-Match': 'stale' };

const ROOT: readonly Line[] = [
  { ask: 'GET /', code: 200, is: ['/1.0'] },
  { ask: 'GET /1.0/nothing', code: 404, error: 'not found' },
  { ask: 'PATCH /1.0/profiles', body: {}, code: 501, error: 'not implemented' },
  { ask: 'OPTIONS /1.0/instances', code: 200, text: '' },
  {
    ask: 'GET /1.0',
    code: 200,
    etag: true,
    holds: {
      ...{ api_status: 'stable', api_version: '1.0', auth: 'trusted', public: false, auth_methods: ['tls'] },
      config: {},
      environment: {
        ...{ addresses: [], driver: 'lxc', project: 'default', server: 'lxd', server_clustered: false },
        ...{ server_event_mode: 'full-mesh', storage: 'overlay', kernel: 'Linux' },
        certificate: /^-----BEGIN CERTIFICATE-----\n/,
        certificate_fingerprint: /^[0-9a-f]{64}$/,
      },
    },
  },
  { ask: 'PUT /1.0', body: { config: { 'user.a': 'x', 'core.shutdown_timeout': 7 } }, code: 200, is: {} },
  { ask: 'GET /1.0', code: 200, holds: { config: { 'user.a': 'x', 'core.shutdown_timeout': '7' } } },
  { ask: 'PATCH /1.0', body: { config: { 'core.trust_password': 'p', 'user.a': '' } }, code: 200, is: {} },
  { ask: 'GET /1.0', code: 200, holds: { config: { 'core.trust_password': true, 'user.a': undefined } } },
  { ask: 'PUT /1.0', body: { config: { bogus: '1' } }, code: 400, error: /"bogus"/ },
  { ask: 'PUT /1.0', body: { config: {} }, headers: STALE, code: 412 },
  { ask: 'PATCH /1.0', body: { config: {} }, headers: STALE, code: 412 },
  { ask: 'PUT /1.0', body: { config: null }, code: 200, is: {} },
  { ask: 'GET /1.0/cluster', code: 200, etag: true, holds: { server_name: '', enabled: false } },
  { ask: 'PUT /1.0/cluster', body: { enabled: true, server_name: 'a' }, code: 400 },
  { ask: 'GET /1.0/warnings', code: 200, is: [] },
  { ask: 'GET /1.0/warnings?recursion=1', code: 200, is: [] },
  { ask: 'GET /1.0/warnings/nothing', code: 404 },
  { ask: 'GET /1.0/operations', code: 200, is: {} },
  { ask: 'GET /1.0/operations/nothing', code: 404 },
  { ask: 'GET /1.0/resources', code: 200, holds: { gpu: {}, usb: {}, pci: {}, system: {}, storage: {} } },
  {
    ask: 'GET /1.0/metrics',
    code: 200,
    answers: { 'content-type': /^text\/plain/ },
    text: /# EOF\n$/,
  },
  { ask: 'GET /1.0/events', code: 400 },
  { ask: 'GET /1.0/certificates', code: 200, is: [] },
  { ask: 'GET /1.0/certificates/abcdef', code: 404, error: 'Certificate not found' },
  { ask: 'POST /1.0/certificates', body: { type: 'client' }, code: 400 },
  { ask: 'POST /1.0/certificates', body: { type: 'client', token: true, name: 'n' }, code: 400 },
];

const P = '/1.0/profiles';
const PROFILES: readonly Line[] = [
  { ask: `GET ${P}`, code: 200, is: [`${P}/default`] },
  {
    ask: `POST ${P}`,
    body: { config: null, description: '', devices: null, name: 'p1' },
    code: 201,
    location: `${P}/p1`,
  },
  {
    ask: `GET ${P}/p1`,
    code: 200,
    etag: true,
    is: { config: {}, description: '', devices: {}, name: 'p1', used_by: [] },
  },
  { ask: `GET ${P}?recursion=1`, code: 200, holds: [{ name: 'default' }, { name: 'p1' }] },
  { ask: `POST ${P}`, body: { name: 'p1' }, code: 409, error: /already exists$/ },
  { ask: `POST ${P}`, body: { name: 'a/b' }, code: 400 },
  { ask: `POST ${P}`, body: {}, code: 400 },
  { ask: `POST ${P}`, body: { name: 'p2', config: { 'limits.cpu': 1 } }, code: 400 },
  { ask: `POST ${P}`, body: { name: 'p2', config: { 'volatile.uuid': 'x' } }, code: 400 },
  { ask: `PATCH ${P}/p1`, body: { config: { 'user.a': '1' }, description: 'd' }, code: 200, is: {} },
  { ask: `PATCH ${P}/p1`, body: { config: { 'user.b': '2' }, devices: { e: { type: 'none' } } }, code: 200 },
  {
    ask: `GET ${P}/p1`,
    code: 200,
    holds: { config: { 'user.a': '1', 'user.b': '2' }, description: 'd', devices: { e: {} } },
  },
  { ask: `PUT ${P}/p1`, body: {}, headers: STALE, code: 412 },
  { ask: `PATCH ${P}/p1`, body: {}, headers: STALE, code: 412 },
  { ask: `PUT ${P}/p1`, body: { config: null, devices: null, description: null }, code: 200, is: {} },
  { ask: `GET ${P}/p1`, code: 200, holds: { config: {}, devices: {}, description: '' } },
  { ask: `POST ${P}/p1`, body: { name: 'p 2' }, code: 201, location: `${P}/p%202` },
  { ask: `GET ${P}/p%202`, code: 200, holds: { name: 'p 2' } },
  { ask: `DELETE ${P}/p%202`, code: 200, is: {} },
  { ask: `DELETE ${P}/p%202`, code: 404, error: 'Profile not found' },
  { ask: `DELETE ${P}/default`, code: 403 },
  { ask: `POST ${P}/default`, body: { name: 'x' }, code: 403 },
  { ask: `GET ${P}?project=nobody`, code: 404, error: 'Project not found' },
];

const N = '/1.0/networks';
const NETWORKS: readonly Line[] = [
  {
    ask: `POST ${N}`,
    body: {
      config: { 'ipv4.address': 'none', 'ipv6.address': 'none' },
      description: '',
      name: 'cfobj1',
      type: '',
    },
    code: 201,
    location: `${N}/cfobj1`,
  },
  { ask: `POST ${N}`, body: { name: 'cfobj1' }, code: 409, error: /already exists$/ },
  { ask: `POST ${N}`, body: { name: 'a-name-that-is-too-long' }, code: 400 },
  { ask: `POST ${N}`, body: { name: 'cfobj2', config: { bogus: '1' } }, code: 400 },
  { ask: `POST ${N}`, body: { name: 'cfobj2', config: { 'raw.dnsmasq': 'no-such-option' } }, code: 400 },
  { ask: `POST ${N}`, body: { name: 'cfobj2', config: { 'bridge.external_interfaces': 'lo' } }, code: 400 },
  { ask: `GET ${N}/cfobj2`, code: 404 },
  { ask: `PATCH ${N}/${BRIDGE}`, body: { config: { 'raw.dnsmasq': 'no-such-option' } }, code: 400 },
  {
    ask: `GET ${N}/${BRIDGE}`,
    code: 200,
    holds: { status: 'Created', config: { 'raw.dnsmasq': undefined } },
  },
  {
    ask: `GET ${N}/cfobj1`,
    code: 200,
    etag: true,
    holds: { type: 'bridge', used_by: [], managed: true, status: 'Created', locations: ['none'] },
  },
  {
    ask: `GET ${N}/lo`,
    code: 200,
    is: {
      config: {},
      description: '',
      name: 'lo',
      type: 'loopback',
      used_by: null,
      managed: false,
      status: '',
      locations: null,
    },
  },
  { ask: `GET ${N}?project=nobody`, code: 404, error: 'Project not found' },
  { ask: `GET ${N}/lo/state?target=other`, code: 404, error: 'No cluster member called "other"' },
  { ask: `GET ${N}/lo/state?target=none`, code: 200, holds: { type: 'loopback' } },
  {
    ask: `POST ${N}?target=none`,
    body: { name: 'cfobj2', type: 'bridge' },
    code: 400,
    error: 'Target only allowed when clustered',
  },
  { ask: `GET ${N}?recursion=1`, code: 200, holds: (list: unknown) => Array.isArray(list) },
  { ask: `PATCH ${N}/cfobj1`, body: { config: { 'user.a': '1' } }, code: 200, is: {} },
  { ask: `GET ${N}/cfobj1`, code: 200, holds: { config: { 'user.a': '1', 'ipv4.address': 'none' } } },
  {
    ask: `PUT ${N}/cfobj1`,
    body: { config: { 'ipv4.address': 'none' }, description: 'd' },
    code: 200,
    is: {},
  },
  { ask: `GET ${N}/cfobj1`, code: 200, holds: { config: { 'user.a': undefined }, description: 'd' } },
  { ask: `PUT ${N}/cfobj1`, body: {}, headers: STALE, code: 412 },
  { ask: `PATCH ${N}/cfobj1`, body: {}, headers: STALE, code: 412 },
  { ask: `GET ${N}/cfobj1/leases`, code: 200, is: [] },
  {
    ask: `GET ${N}/${BRIDGE}/state`,
    code: 200,
    holds: {
      ...{ type: 'broadcast', mtu: 1500, bond: null, vlan: null, ovn: null, counters: {} },
      bridge: { stp: false, forward_delay: 1500, vlan_filtering: false, upper_devices: [], id: /^8000\./ },
    },
  },
  ...[`${N}/cfobj1/forwards`, `${N}/cfobj1/peers/a`, '/1.0/network-acls', '/1.0/network-zones/a'].flatMap(
    (path) => [
      { ask: `GET ${path}`, code: 501, error: /^network \w+: not implemented by this server$/ },
      { ask: `POST ${path}`, body: {}, code: 501 },
    ],
  ),
  { ask: `POST ${N}/cfobj1`, body: { name: 'cfobj3' }, code: 201, location: `${N}/cfobj3` },
  { ask: `DELETE ${N}/cfobj3`, code: 200, is: {} },
  { ask: `DELETE ${N}/cfobj3`, code: 404, error: 'Network not found' },
  { ask: `DELETE ${N}/${BRIDGE}`, code: 400, error: 'The network is currently in use' },
];

const S = '/1.0/storage-pools';
const POOLS: readonly Line[] = [
  { ask: `GET ${S}`, code: 200, is: [`${S}/default`] },
  {
    ask: `POST ${S}`,
    body: { name: 'p2', driver: 'dir', config: null, description: '' },
    code: 201,
    location: `${S}/p2`,
  },
  { ask: `POST ${S}`, body: { name: 'p2', driver: 'dir' }, code: 409, error: /already exists$/ },
  { ask: `POST ${S}`, body: { name: 'p3' }, code: 400, error: 'No driver provided' },
  { ask: `POST ${S}`, body: { driver: 'dir' }, code: 400, error: 'No name provided' },
  {
    ask: `GET ${S}/p2`,
    code: 200,
    etag: true,
    holds: { config: { source: /p2$/ }, driver: 'dir', used_by: [], status: 'Created', locations: ['none'] },
  },
  { ask: `PATCH ${S}/p2`, body: { config: { 'user.a': '1' }, description: 'd' }, code: 200, is: {} },
  { ask: `GET ${S}/p2`, code: 200, holds: { config: { 'user.a': '1', source: /p2$/ }, description: 'd' } },
  { ask: `PUT ${S}/p2`, body: { config: {}, description: 'e' }, headers: STALE, code: 412 },
  { ask: `PATCH ${S}/p2`, body: {}, headers: STALE, code: 412 },
  { ask: `GET ${S}/p2/resources`, code: 200, holds: { space: {}, inodes: {} } },
  { ask: `GET ${S}/p2/volumes?filter=&recursion=1`, code: 200, is: [] },
  { ask: `GET ${S}/p2/volumes/custom`, code: 200, is: [] },
  { ask: `GET ${S}/p2/volumes/bogus`, code: 400 },
  { ask: `DELETE ${S}/p2`, code: 200, is: {} },
  { ask: `DELETE ${S}/default`, code: 400, error: 'The storage pool is currently in use' },
  { ask: `GET ${S}/nobody`, code: 404, error: 'Storage pool not found' },
];

const J = '/1.0/projects';
const PROJECTS: readonly Line[] = [
  { ask: `GET ${J}`, code: 200, is: [`${J}/default`] },
  { ask: `GET ${J}/default`, code: 200, etag: true, holds: { config: { 'features.images': 'true' } } },
  { ask: `POST ${J}`, body: { name: 'cfp', config: null }, code: 201, location: `${J}/cfp` },
  { ask: `POST ${J}`, body: { name: 'a b' }, code: 400 },
  { ask: `GET ${J}/cfp`, code: 200, holds: { used_by: ['/1.0/profiles/default?project=cfp'] } },
  { ask: `GET ${P}?project=cfp`, code: 200, is: [`${P}/default?project=cfp`] },
  { ask: `GET ${P}/default?project=cfp`, code: 200, holds: { devices: {} } },
  { ask: `GET ${J}/cfp/state`, code: 200, holds: { resources: { instances: { Limit: -1, Usage: 0 } } } },
  { ask: `PUT ${J}/cfp`, body: {}, headers: STALE, code: 412 },
  { ask: `PATCH ${J}/cfp`, body: { description: 'd' }, code: 200, is: {} },
  { ask: `POST ${J}/cfp`, body: { name: 'cfq' }, code: 202, ends: 'Success' },
  { ask: `DELETE ${J}/cfq`, code: 200, is: {} },
  { ask: `DELETE ${J}/default`, code: 403 },
  { ask: `GET ${J}/nobody`, code: 404, error: 'Project not found' },
];

/** Lines about the image with this fingerprint, whose alias is `tiny`. */
function images(fp: string): Line[] {
  const one = `/1.0/images/${fp}`;
  const aliases = '/1.0/images/aliases';
  const slashed = `${aliases}/a%2Fb%20c`;
  return [
    { ask: 'GET /1.0/images', code: 200, is: [one] },
    { ask: 'GET /1.0/images?filter=&recursion=1', code: 200, holds: [{ fingerprint: fp }] },
    { ask: 'GET /1.0/images?filter=properties.os+eq+BUSYBOX', code: 200, is: [one] },
    {
      ask: `GET ${one}`,
      code: 200,
      etag: true,
      holds: {
        ...{ auto_update: false, public: false, cached: false, type: 'container', profiles: ['default'] },
        ...{ aliases: [{ name: 'tiny', description: '' }], architecture: 'x86_64', update_source: undefined },
        ...{ expires_at: '1970-01-01T00:00:00Z', last_used_at: '0001-01-01T00:00:00Z' },
      },
    },
    { ask: `GET ${one.slice(0, 30)}`, code: 200, holds: { fingerprint: fp } },
    { ask: 'GET /1.0/images/tiny', code: 404, error: 'Image not found' },
    { ask: `PATCH ${one}`, body: { properties: { x: 'y' } }, code: 200, is: {} },
    { ask: `GET ${one}`, code: 200, holds: { properties: { x: 'y', os: 'BusyBox' } } },
    { ask: `PUT ${one}`, body: {}, headers: STALE, code: 412 },
    {
      ask: `PUT ${one}`,
      body: { properties: { os: 'B' }, public: false, auto_update: false, expires_at: null, profiles: null },
      code: 200,
    },
    {
      ask: `GET ${one}`,
      code: 200,
      holds: { properties: { x: undefined, os: 'B' }, expires_at: '1970-01-01T00:00:00Z' },
    },
    { ask: `GET ${aliases}`, code: 200, is: [`${aliases}/tiny`] },
    {
      ask: `GET ${aliases}?recursion=1`,
      code: 200,
      is: [{ description: '', target: fp, name: 'tiny', type: 'container' }],
    },
    { ask: `POST ${aliases}`, body: { description: '', target: fp, name: 'a/b c', type: '' }, code: 201 },
    { ask: `GET ${slashed}`, code: 200, etag: true, holds: { name: 'a/b c', type: 'container' } },
    { ask: `PUT ${slashed}`, body: { target: fp }, headers: STALE, code: 412 },
    { ask: `PATCH ${slashed}`, body: { description: 'd' }, code: 200, is: {} },
    { ask: `GET ${slashed}`, code: 200, holds: { description: 'd', target: fp } },
    { ask: `POST ${slashed}`, body: { name: 'ab' }, code: 201, location: `${aliases}/ab` },
    { ask: `POST ${aliases}`, body: { name: 'ab', target: fp }, code: 409, error: /already exists$/ },
    { ask: `POST ${aliases}`, body: { name: 'x', target: 'abcd' }, code: 404 },
    { ask: `DELETE ${aliases}/ab`, code: 200, is: {} },
    { ask: `GET ${aliases}/ab`, code: 404, error: 'Image alias not found' },
    {
      ask: `POST ${one}/secret`,
      code: 202,
      holds: {
        class: 'token',
        description: 'Image download token',
        may_cancel: true,
        metadata: { secret: /^[0-9a-f]{64}$/ },
      },
    },
    {
      ask: `GET ${one}/export`,
      code: 200,
      answers: { 'content-type': 'application/octet-stream', 'content-disposition': /^inline;filename=/ },
      text: /./,
    },
    { ask: 'POST /1.0/images', body: {}, code: 400 },
    { ask: 'DELETE /1.0/images/abc', code: 404 },
    { ask: `DELETE ${one}`, code: 202, holds: { description: 'Deleting image' }, ends: 'Success' },
    { ask: `GET ${one}`, code: 404, error: 'Image not found' },
  ];
}

describe('the objects of the server over REST, as LXD 5.0 answers', () => {
  let daemon: SlipwayDaemon;
  let folder: string;
  let fingerprint = '';

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'slipway-images-'));
    daemon = await SlipwayDaemon.start();
    await daemon.furnish(BRIDGE);
    fingerprint = await daemon.importImage(await buildTinyImage(folder), 'tiny');
    // What made the image is listed for five more seconds.
    const started = Date.now();
    while (Object.keys(await daemon.done('GET', '/1.0/operations')).length > 0) {
      assert.ok(Date.now() - started < 20_000, 'operations that have ended are still listed');
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  });

  after(async () => {
    await daemon.destroy();
    await rm(folder, { recursive: true, force: true });
  });

  const tables = { server: ROOT, profiles: PROFILES, networks: NETWORKS, pools: POOLS, projects: PROJECTS };
  for (const [title, lines] of Object.entries(tables)) {
    test(title, async () => {
      for (const line of lines) await check({ socketPath: daemon.socket }, line);
    });
  }

  test('of two changes with one ETag only the first is made', async () => {
    const target = { socketPath: daemon.socket };
    for (const [one, body] of [
      [`${N}/${BRIDGE}`, { config: { 'user.x': '1' } }],
      [`${S}/default`, { config: { 'user.x': '1' } }],
      ['/1.0', { config: { 'user.x': '1' } }],
      [`${P}/default`, { config: { 'user.x': '1' } }],
    ] as const) {
      const tag = (await send(target, { path: one })).headers.etag ?? '';
      const change = { method: 'PATCH', path: one, body: JSON.stringify(body), headers: { 'If-Match': tag } };
      const replies = await Promise.all([send(target, change), send(target, change)]);
      assert.deepEqual(replies.map(({ status }) => status).sort(), [200, 412], one);
    }
  });

  test('images and aliases', async () => {
    for (const line of images(fingerprint)) await check({ socketPath: daemon.socket }, line);
  });
});
