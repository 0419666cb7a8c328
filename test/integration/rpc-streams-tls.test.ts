/** The rarer ways to a broker: fanout over a stream, TLS with certificates. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { adminContext } from '../../driver/nova/context.ts';
import { PrivateRabbit, rabbitLacks } from '../support/private-rabbitmq.ts';
import { computeEndpoint, listeningLog, messaging, until } from '../support/messaging.ts';

const skip = rabbitLacks() ?? false;
const context = adminContext();

let folder: string;
let rabbit: PrivateRabbit;

if (skip === false) {
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'slipway-mq-tls-'));
    makeCertificates();
    rabbit = await PrivateRabbit.start(folder);
  });
  after(async () => {
    await rabbit.remove();
    rmSync(folder, { recursive: true, force: true });
  });
}

function openssl(...args: readonly string[]): void {
  const done = spawnSync('openssl', args, { cwd: folder, encoding: 'utf8' });
  assert.equal(done.status, 0, done.stderr);
}

/** An authority and a certificate for "broker.example", used by both sides. */
function makeCertificates(): void {
  const key = ['-newkey', 'rsa:2048', '-nodes', '-batch'];
  openssl(
    'req',
    '-x509',
    ...key,
    '-keyout',
    'ca.key',
    '-out',
    'ca.pem',
    '-days',
    '2',
    '-subj',
    '/CN=authority',
  );
  openssl('req', ...key, '-keyout', 'key.pem', '-out', 'request.pem', '-subj', '/CN=broker.example');
  writeFileSync(join(folder, 'names'), 'subjectAltName=DNS:broker.example\n');
  const by = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', 'names'];
  openssl('x509', '-req', '-in', 'request.pem', ...by, '-days', '2', '-out', 'cert.pem');
}

function tlsOptions(extra = ''): string {
  const file = (name: string) => join(folder, name);
  return `[oslo_messaging_rabbit]\nssl = true\nssl_ca_file = ${file('ca.pem')}\nssl_cert_file = ${file('cert.pem')}
ssl_key_file = ${file('key.pem')}\n${extra}`;
}

test('a fanout comes over a stream once, also after the connection was cut', { skip }, async () => {
  const extra =
    '[oslo_messaging_rabbit]\nrabbit_stream_fanout = true\nrabbit_transient_quorum_queue = true\n' +
    'rabbit_qos_prefetch_count = 20\n';
  const numbers: unknown[] = [];
  const endpoint = computeEndpoint({
    note: (request) => Promise.resolve(numbers.push(request.args['number'])),
  });
  const heard = listeningLog();
  const service = messaging(rabbit.url, 'streams', extra, heard.log);
  const server = service.server('compute', [endpoint]);
  await server.start();
  const fanout = (number: number) =>
    service.client.fanout('compute', { method: 'note', version: '6.0', args: { number }, context });
  for (let number = 0; number < 40; number += 1) await fanout(number);
  await until('they came', () => numbers.length === 40);
  await rabbit.controlBeside('close_all_connections', 'a test');
  await until('the cut was seen', () => heard.lines.some((line) => line.includes('has ended')));
  await fanout(40);
  await until('the last one came', () => numbers.includes(40));
  assert.deepEqual(
    numbers,
    Array.from({ length: 41 }, (_, number) => number),
  );
  assert.match(rabbit.control('list_queues', 'name', 'type'), /^compute_fanout\tstream$/m);
  await server.stop(1000);
  await service.close();
});

test('calls go over TLS with a certificate on both sides', { skip }, async () => {
  const url = `rabbit://guest:guest@127.0.0.1:${String(rabbit.tlsPort)}/`;
  const service = messaging(url, 'secret', tlsOptions('ssl_version = TLSv1_2\n'));
  const server = service.server('compute', [computeEndpoint({ hello: () => Promise.resolve('hello') })]);
  await server.start();
  const request = { method: 'hello', version: '6.0', args: {}, context };
  assert.equal(await service.client.call({ topic: 'compute', server: 'secret' }, request), 'hello');
  await server.stop(1000);
  await service.close();
});

test('a broker with a certificate for another name is refused when names are checked', { skip }, async () => {
  const url = `rabbit://guest:guest@localhost:${String(rabbit.tlsPort)}/`;
  const heard = listeningLog();
  const extra = tlsOptions('ssl_enforce_hostname_verification = true\n');
  const service = messaging(url, 'wrong', extra, heard.log);
  await until('it was refused', () => heard.lines.some((line) => line.includes('altnames')));
  assert.equal(service.isConnected, false);
  await service.close();
});
