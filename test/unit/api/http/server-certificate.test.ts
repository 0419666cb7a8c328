import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate, createPrivateKey } from 'node:crypto';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { der } from '../../../../api/http/der.ts';
import { loadServerCertificate, makeServerCertificate } from '../../../../api/http/server-certificate.ts';
import { isFault } from '../../../../process/fault.ts';

const made: string[] = [];

after(async () => {
  for (const dir of made) await rm(dir, { recursive: true });
});

async function scratch() {
  const dir = await mkdtemp(join(tmpdir(), 'http-cert-'));
  made.push(dir);
  return { certificatePath: join(dir, 'server.crt'), keyPath: join(dir, 'server.key'), hostName: 'node7' };
}

test('a made certificate is self-signed for ten years and names host and loopback', async () => {
  const made = await makeServerCertificate('node7', new Date('2026-01-02T03:04:05Z'));
  const parsed = new X509Certificate(made.certificate);
  assert.ok(parsed.verify(parsed.publicKey));
  assert.ok(parsed.checkPrivateKey(createPrivateKey(made.key)));
  assert.equal(parsed.checkHost('node7'), 'node7');
  assert.equal(parsed.checkIP('127.0.0.1'), '127.0.0.1');
  assert.equal(parsed.checkIP('::1'), '::1');
  assert.equal(parsed.validTo, 'Jan  2 03:04:05 2036 GMT');
  assert.equal(parsed.fingerprint256.replaceAll(':', '').toLowerCase(), made.fingerprint);
  assert.equal(parsed.ca, false);
});

test('openssl reads the same certificate without complaint', async () => {
  const files = await scratch();
  await writeFile(files.certificatePath, (await makeServerCertificate('node7')).certificate);
  const text = execFileSync('openssl', ['x509', '-in', files.certificatePath, '-noout', '-text']).toString();
  assert.match(text, /Signature Algorithm: ecdsa-with-SHA384/);
  assert.match(text, /ASN1 OID: secp384r1/);
  assert.match(text, /DNS:node7, IP Address:127\.0\.0\.1, IP Address:0:0:0:0:0:0:0:1/);
  assert.match(text, /TLS Web Server Authentication/);
});

test('dates after 2049 are written with four digits', async () => {
  const made = await makeServerCertificate('node7', new Date('2045-06-01T00:00:00Z'));
  assert.match(new X509Certificate(made.certificate).validTo, /2055 GMT$/);
});

test('a host name that is no DNS name does not spoil the certificate', async () => {
  for (const name of ['192.0.2.1', '', 'ü', 'x'.repeat(70)]) {
    assert.ok(new X509Certificate((await makeServerCertificate(name)).certificate).subjectAltName);
  }
});

test('the pair is made once, the key readable by its owner alone', async () => {
  const files = await scratch();
  const first = await loadServerCertificate(files);
  assert.equal((await stat(files.keyPath)).mode & 0o777, 0o600);
  assert.deepEqual(await loadServerCertificate(files), first);
});

test('a certificate without its key is a clear error', async () => {
  const files = await scratch();
  await writeFile(files.certificatePath, 'x');
  await assert.rejects(loadServerCertificate(files), (err) => isFault(err, 'internal'));
});

test('lengths and object ids are encoded as X.690 says', () => {
  assert.equal(der.octets(Buffer.alloc(127)).subarray(0, 2).toString('hex'), '047f');
  assert.equal(der.octets(Buffer.alloc(128)).subarray(0, 3).toString('hex'), '048180');
  assert.equal(der.octets(Buffer.alloc(300)).subarray(0, 4).toString('hex'), '0482012c');
  assert.equal(der.oid('1.2.840.10045.4.3.3').toString('hex'), '06082a8648ce3d040303');
});
