/** What callers over HTTPS get, as LXD 5.0 answers: without trust, with a password, restricted, for metrics. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { createServer } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { makeServerCertificate, type ServerCertificate } from '../../api/http/server-certificate.ts';
import { check, type Line } from '../support/conformance.ts';
import type { Target } from '../support/http-client.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

const DENIED = { code: 403, error: 'not authorized' } as const;
const C = '/1.0/certificates';

const UNTRUSTED: readonly Line[] = [
  { ask: 'GET /', code: 200, is: ['/1.0'] },
  {
    ask: 'GET /1.0',
    code: 200,
    holds: {
      auth: 'untrusted',
      public: false,
      auth_methods: ['tls'],
      config: undefined,
      environment: undefined,
    },
  },
  { ask: 'GET /1.0', headers: { 'X-LXD-authenticated': 'true' }, ...DENIED },
  { ask: 'GET /1.0/images', code: 200, is: [] },
  { ask: 'GET /1.0/images/aliases/nothing', code: 404, error: 'Image alias not found' },
  ...['instances', 'profiles', 'networks', 'storage-pools', 'projects', 'operations', 'certificates'].map(
    (what) => ({ ask: `GET /1.0/${what}`, ...DENIED }),
  ),
  ...['resources', 'metrics', 'warnings', 'cluster', 'images/aliases'].map((what) => ({
    ask: `GET /1.0/${what}`,
    ...DENIED,
  })),
  { ask: `POST ${C}`, body: { type: 'client', password: 'wrong' }, ...DENIED },
];

const RESTRICTED: readonly Line[] = [
  { ask: 'GET /1.0', code: 200, holds: { auth: 'trusted', config: null, environment: { server: 'lxd' } } },
  { ask: 'GET /1.0/projects', code: 200, is: ['/1.0/projects/default'] },
  { ask: 'GET /1.0/instances', code: 200, is: [] },
  { ask: 'GET /1.0/instances?project=cfother', ...DENIED },
  { ask: 'GET /1.0/projects/cfother', ...DENIED },
  { ask: 'PUT /1.0', body: { config: {} }, ...DENIED },
  { ask: 'POST /1.0/storage-pools', body: { name: 'x', driver: 'dir' }, ...DENIED },
  { ask: 'POST /1.0/projects', body: { name: 'x' }, ...DENIED },
  { ask: `POST ${C}`, body: { type: 'client', token: true, name: 'x' }, ...DENIED },
  { ask: 'GET /1.0/warnings', ...DENIED },
  { ask: 'POST /1.0/profiles', body: { name: 'cfp' }, code: 201 },
];

const METRICS: readonly Line[] = [
  { ask: 'GET /1.0/metrics', code: 200, text: /# EOF\n$/ },
  { ask: 'GET /1.0', code: 200, holds: { auth: 'untrusted' } },
  { ask: 'GET /1.0/instances', ...DENIED },
];

const inner = (made: ServerCertificate): X509Certificate => new X509Certificate(made.certificate);
/** As pylxd sends it: the PEM text without its first and last line, the line breaks kept. */
const stripped = (made: ServerCertificate): string => made.certificate.replace(/-----[^-]+-----\n/g, '');
const fingerprint = (made: ServerCertificate): string =>
  inner(made).fingerprint256.replaceAll(':', '').toLowerCase();

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

describe('trust over HTTPS, as LXD 5.0 has it', () => {
  let daemon: SlipwayDaemon;
  let local: Target;
  let port = 0;
  const made: ServerCertificate[] = [];
  const as = (index: number): Target => ({
    port,
    cert: made[index]?.certificate ?? '',
    key: made[index]?.key ?? '',
  });
  const one = (index: number): ServerCertificate => {
    const found = made[index];
    assert.ok(found !== undefined);
    return found;
  };

  before(async () => {
    daemon = await SlipwayDaemon.start();
    local = { socketPath: daemon.socket };
    port = await freePort();
    for (const _ of [0, 1, 2]) made.push(await makeServerCertificate('client'));
    await daemon.done('POST', '/1.0/projects', { name: 'cfother' });
    const config = { 'core.https_address': `127.0.0.1:${String(port)}`, 'core.trust_password': 'secret' };
    await daemon.done('PATCH', '/1.0', { config });
  });

  after(async () => {
    await daemon.destroy();
  });

  test('without a certificate', async () => {
    for (const line of UNTRUSTED) await check({ port }, line);
  });

  test('a certificate is added, found by a prefix, changed and refused a second time', async () => {
    const body = {
      type: 'client',
      certificate: stripped(one(0)),
      name: 'a',
      restricted: true,
      projects: ['default'],
    };
    const url = `${C}/${fingerprint(one(0))}`;
    const put = { name: 'b', type: 'client', restricted: true, projects: ['default'] };
    const lines: readonly Line[] = [
      { ask: `POST ${C}`, body, code: 201, location: url },
      { ask: `POST ${C}`, body, code: 409, error: 'Certificate already in trust store' },
      { ask: `GET ${C}`, code: 200, is: [url] },
      {
        ask: `GET ${url.slice(0, -40)}`,
        code: 200,
        etag: true,
        holds: { name: 'a', certificate: /^-----BEGIN/ },
      },
      { ask: `PUT ${url}`, body: put, headers: { 'If-Match': 'stale' }, code: 412 },
      { ask: `PUT ${url}`, body: put, code: 200, is: {} },
      { ask: `PATCH ${url}`, body: { name: 'c' }, code: 200, is: {} },
      {
        ask: `GET ${C}?recursion=1`,
        code: 200,
        holds: [{ name: 'c', restricted: true, projects: ['default'] }],
      },
      { ask: `POST ${C}`, body: { type: 'bogus', certificate: 'QUJD' }, code: 400 },
      { ask: `POST ${C}`, body: { type: 'client', certificate: 'QUJD' }, code: 400 },
      {
        ask: `POST ${C}`,
        body: { type: 'client', token: true, name: 't' },
        code: 202,
        holds: {
          class: 'token',
          metadata: { secret: /^[0-9a-f]{64}$/, addresses: [`127.0.0.1:${String(port)}`] },
        },
      },
    ];
    for (const line of lines) await check(local, line);
  });

  test('a restricted certificate', async () => {
    for (const line of RESTRICTED) await check(as(0), line);
  });

  test('a password adds the certificate of the connection', async () => {
    const body = { type: 'client', password: 'secret' };
    await check(as(1), { ask: `POST ${C}`, body, code: 201, location: `${C}/${fingerprint(one(1))}` });
    await check(as(1), { ask: `POST ${C}`, body, code: 400 });
    await check(as(1), {
      ask: 'GET /1.0',
      code: 200,
      holds: { auth: 'trusted', config: { 'core.trust_password': true } },
    });
    await check(as(1), { ask: `DELETE ${C}/${fingerprint(one(1))}`, code: 200, is: {} });
    await check(as(1), { ask: 'GET /1.0', code: 200, holds: { auth: 'untrusted' } });
  });

  test('a certificate for metrics', async () => {
    const body = { type: 'metrics', certificate: inner(one(2)).raw.toString('base64'), name: 'm' };
    await check(local, { ask: `POST ${C}`, body, code: 201 });
    for (const line of METRICS) await check(as(2), line);
  });
});
