/**
 * The server's own identity: `server.crt` and `server.key` in the state
 * folder, made at the first start. Clients pin it, so it is never replaced.
 */
import { X509Certificate, createHash, generateKeyPair, randomBytes, sign, type KeyObject } from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { promisify } from 'node:util';
import { Fault } from '../../process/fault.ts';
import { der } from './der.ts';

const YEARS = 10;
const OID = {
  ecdsaWithSha384: '1.2.840.10045.4.3.3',
  organization: '2.5.4.10',
  commonName: '2.5.4.3',
  keyUsage: '2.5.29.15',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  basicConstraints: '2.5.29.19',
  subjectAltName: '2.5.29.17',
} as const;

export interface ServerCertificate {
  /** PEM. */
  readonly certificate: string;
  readonly key: string;
  /** Hex SHA-256 of the DER. */
  readonly fingerprint: string;
}

export interface CertificateFiles {
  readonly certificatePath: string;
  readonly keyPath: string;
  readonly hostName: string;
}

/** Reads the pair, or makes and keeps one. Fault internal when only one of the two files can be read. */
export async function loadServerCertificate(files: CertificateFiles): Promise<ServerCertificate> {
  const certificate = await readIfThere(files.certificatePath);
  const key = await readIfThere(files.keyPath);
  if (certificate !== null && key !== null) {
    return { certificate, key, fingerprint: fingerprintOf(new X509Certificate(certificate).raw) };
  }
  if (certificate !== null) {
    throw new Fault(
      'internal',
      `${files.certificatePath} is there but ${files.keyPath} is not; restore or remove both`,
    );
  }
  const made = await makeServerCertificate(files.hostName);
  await writeWhole(files.keyPath, made.key, 0o600);
  await writeWhole(files.certificatePath, made.certificate, 0o644);
  return made;
}

/** A self-signed ECDSA P-384 certificate for the host name and the loopback addresses. */
export async function makeServerCertificate(hostName: string, now = new Date()): Promise<ServerCertificate> {
  const { publicKey, privateKey } = await promisify(generateKeyPair)('ec', { namedCurve: 'P-384' });
  const algorithm = der.sequence(der.oid(OID.ecdsaWithSha384));
  const body = toBeSigned(hostName, publicKey, algorithm, now);
  const signature = sign('sha384', body, privateKey);
  const raw = der.sequence(body, algorithm, der.bits(signature));
  return {
    certificate: new X509Certificate(raw).toString(),
    key: privateKey.export({ type: 'sec1', format: 'pem' }).toString(),
    fingerprint: fingerprintOf(raw),
  };
}

/** Hex SHA-256 of a certificate's DER: how LXD names certificates. */
export function fingerprintOf(raw: Uint8Array): string {
  return createHash('sha256').update(raw).digest('hex');
}

function toBeSigned(hostName: string, publicKey: KeyObject, algorithm: Buffer, now: Date): Buffer {
  const until = new Date(now);
  until.setUTCFullYear(now.getUTCFullYear() + YEARS);
  const name = der.sequence(
    attribute(OID.organization, 'slipway'),
    attribute(OID.commonName, `root@${hostName}`.slice(0, 64)),
  );
  return der.sequence(
    der.tagged(0, der.integer(Buffer.from([2]))),
    der.integer(Buffer.concat([Buffer.from([0x4c]), randomBytes(15)])),
    algorithm,
    name,
    der.sequence(der.time(now), der.time(until)),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    der.tagged(3, extensions(hostName)),
  );
}

function attribute(type: string, text: string): Buffer {
  return der.set(der.sequence(der.oid(type), der.utf8(text)));
}

function extensions(hostName: string): Buffer {
  const digitalSignature = der.bits(Buffer.from([0x80]), 7);
  return der.sequence(
    der.sequence(der.oid(OID.keyUsage), der.bool(true), der.octets(digitalSignature)),
    der.sequence(der.oid(OID.extendedKeyUsage), der.octets(der.sequence(der.oid(OID.serverAuth)))),
    der.sequence(der.oid(OID.basicConstraints), der.bool(true), der.octets(der.sequence())),
    der.sequence(der.oid(OID.subjectAltName), der.octets(alternativeNames(hostName))),
  );
}

/** A Go client takes the first DNS name as the server's name, so there must be one. */
function alternativeNames(hostName: string): Buffer {
  const dnsName = isIP(hostName) === 0 && /^[\x21-\x7e]+$/.test(hostName) ? hostName : 'localhost';
  return der.sequence(
    der.implicit(2, Buffer.from(dnsName)),
    der.implicit(7, Buffer.from([127, 0, 0, 1])),
    der.implicit(7, Buffer.concat([Buffer.alloc(15), Buffer.from([1])])),
  );
}

async function readIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (err) {
    if (err instanceof Error && 'code' in err && err.code === 'ENOENT') return null;
    throw new Fault('internal', `read ${path}`, { cause: err });
  }
}

/** Under a temporary name first: a crash must not leave half a key. */
async function writeWhole(path: string, text: string, mode: number): Promise<void> {
  const temporary = `${path}.new`;
  await writeFile(temporary, text, { mode, flush: true });
  await rename(temporary, path);
}
