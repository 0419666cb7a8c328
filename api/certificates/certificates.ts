/** Adding, changing and removing trusted certificates, in all the forms LXD's clients use. */
import { randomBytes } from 'node:crypto';
import { Fault, isFault } from '../../process/fault.ts';
import type { CertificateRow } from '../db/rows.ts';
import type { Events, Requestor } from '../events/events.ts';
import { isSameSecret } from '../operations/operation.ts';
import type { Operation, Operations } from '../operations/types.ts';
import type { ServerConfig } from '../server-config.ts';
import type { CertificatePut, CertificateWire, CertificatesPost } from '../wire/certificates.ts';
import type { Attempts } from './attempts.ts';
import { endOfSpan, secretOfToken } from './join-token.ts';
import { readCertificateBytes, readCertificateText, type ReadCertificate } from './read-certificate.ts';
import { isTrustPassword } from './trust-password.ts';
import type { TrustStore } from './trust-store.ts';

export interface CertificateParts {
  readonly trust: TrustStore;
  readonly serverConfig: ServerConfig;
  readonly operations: Operations;
  readonly events: Events;
  readonly attempts: Attempts;
  readonly projectExists: (name: string) => boolean;
  /** Addresses of the HTTPS listener; empty when there is none. */
  readonly addresses: () => readonly string[];
  readonly serverFingerprint: string;
}

/** Who asks. */
export interface Applicant {
  readonly trusted: boolean;
  readonly admin: boolean;
  readonly requestor: Requestor;
  /** DER of the TLS client certificate. */
  readonly certificate: Buffer | null;
}

/** What a new row says beside its certificate. */
interface Terms {
  readonly name: string;
  readonly type: CertificateRow['type'];
  readonly restricted: boolean;
  readonly projects: readonly string[];
}

const TOKEN_DESCRIPTION = 'Executing operation';
const MAX_TIMER_MS = 2 ** 31 - 1;

export function renderCertificate(row: CertificateRow): CertificateWire {
  const { name, type, restricted, projects, certificate, fingerprint } = row;
  return { name, type, restricted, projects: [...projects], certificate, fingerprint };
}

/** Puts a certificate into the trust store. Returns its fingerprint. */
export async function addCertificate(
  parts: CertificateParts,
  by: Applicant,
  body: CertificatesPost,
): Promise<string> {
  const terms = await agreeOnTerms(parts, by, body);
  const { fingerprint, pem } = chooseCertificate(by, body);
  const row: CertificateRow = { ...terms, fingerprint, certificate: pem };
  await parts.trust.add(row);
  tell(parts, 'certificate-created', fingerprint, by);
  return fingerprint;
}

/** Starts the operation that stands for a token. Fault bad_request when nobody could come over the network. */
export function issueToken(parts: CertificateParts, by: Applicant, body: CertificatesPost): Operation {
  if (!by.admin) throw new Fault('forbidden', 'not authorized');
  const addresses = parts.addresses();
  if (addresses.length === 0) {
    throw new Fault('bad_request', "Can't issue token when server isn't listening on network");
  }
  const terms = readTerms(parts, body);
  const expires = endOfSpan(parts.serverConfig.get('core.remote_token_expiry'), new Date());
  const operation = parts.operations.create({
    class: 'token',
    description: TOKEN_DESCRIPTION,
    project: '',
    requestor: by.requestor,
    metadata: {
      secret: randomBytes(32).toString('hex'),
      fingerprint: parts.serverFingerprint,
      addresses,
      request: { ...terms, certificate: '', password: '', token: true },
      ...(expires === null ? {} : { expiresAt: expires.toISOString() }),
    },
  });
  if (expires !== null) expireLater(operation, expires);
  return operation;
}

/** Changes a certificate; with `merge` only what is given (PATCH). */
export async function changeCertificate(
  parts: CertificateParts,
  by: Applicant,
  row: CertificateRow,
  body: CertificatePut,
  merge: boolean,
): Promise<void> {
  const next = nextRow(parts, row, body, merge);
  if (!by.admin) requireOwnRenewal(by, row, next);
  await parts.trust.change(row.fingerprint, next);
  tell(parts, 'certificate-updated', next.fingerprint, by);
}

export async function removeCertificate(
  parts: CertificateParts,
  by: Applicant,
  row: CertificateRow,
): Promise<void> {
  await parts.trust.remove(row.fingerprint);
  tell(parts, 'certificate-deleted', row.fingerprint, by);
}

async function agreeOnTerms(parts: CertificateParts, by: Applicant, body: CertificatesPost): Promise<Terms> {
  if (by.trusted) {
    if (!by.admin) throw new Fault('forbidden', 'not authorized');
    return readTerms(parts, body);
  }
  const granted = await grantTerms(parts, by, body.password ?? '');
  const terms = granted ?? readTerms(parts, body);
  // An untrusted client's name for itself may be missing; its address is better than nothing.
  return {
    ...terms,
    type: 'client',
    name: terms.name === '' ? by.requestor.address.replace(/:\d+$/, '') : terms.name,
  };
}

/** The terms of the token, or null when the trust password was right. Fault not_trusted. */
async function grantTerms(parts: CertificateParts, by: Applicant, password: string): Promise<Terms | null> {
  let terms: Terms | null = null;
  const right = await parts.attempts.check(by.requestor.address, async () => {
    if (password === '') return false;
    terms = useToken(parts, password);
    return terms !== null || isTrustPassword(parts.serverConfig.get('core.trust_password'), password);
  });
  if (!right) throw new Fault('not_trusted', 'not authorized');
  return terms;
}

function useToken(parts: CertificateParts, password: string): Terms | null {
  const secret = secretOfToken(password);
  if (secret === null) return null;
  let request: unknown = null;
  const used = parts.operations.useToken((metadata) => {
    const wanted = metadata['secret'];
    const isMine = 'request' in metadata && typeof wanted === 'string' && isSameSecret(wanted, secret);
    if (isMine) request = metadata['request'];
    return isMine;
  });
  if (used === undefined || !isTerms(request)) return null;
  const { name, type, restricted, projects } = request;
  return { name, type, restricted, projects };
}

/** Written by issueToken() above. */
function isTerms(value: unknown): value is Terms {
  return typeof value === 'object' && value !== null && 'name' in value && 'restricted' in value;
}

function readTerms(parts: CertificateParts, body: CertificatesPost): Terms {
  return {
    name: body.name ?? '',
    type: readType(body.type ?? ''),
    restricted: body.restricted ?? false,
    projects: readProjects(parts, body.projects ?? []),
  };
}

/** Clients that join with a token leave the type empty. */
function readType(text: string): CertificateRow['type'] {
  if (text === '') return 'client';
  if (text === 'client' || text === 'metrics') return text;
  throw new Fault(
    'bad_request',
    `certificate type "${text.slice(0, 40)}" is not known; it must be client or metrics`,
  );
}

function readProjects(parts: CertificateParts, names: readonly string[]): readonly string[] {
  const unknown = names.find((name) => !parts.projectExists(name));
  if (unknown !== undefined) throw new Fault('bad_request', `project "${unknown}" does not exist`);
  return [...new Set(names)];
}

/** The certificate in the body, or the one of the connection. */
function chooseCertificate(by: Applicant, body: CertificatesPost): ReadCertificate {
  const text = body.certificate ?? '';
  if (text !== '') return readCertificateText(text);
  if (by.trusted && by.certificate !== null) throw new Fault('bad_request', 'Client is already trusted');
  if (by.certificate === null) {
    throw new Fault(
      'bad_request',
      'no certificate was given: send one in the body, or as the TLS client certificate',
    );
  }
  return readCertificateBytes(by.certificate);
}

function nextRow(
  parts: CertificateParts,
  row: CertificateRow,
  body: CertificatePut,
  merge: boolean,
): CertificateRow {
  const given = body.certificate ?? '';
  // LXD's own rendering is PEM, so an object that was read can be sent back as it is.
  const certificate = given === '' || given === row.certificate ? null : readCertificateText(given);
  const keep = <T>(value: T | null | undefined, old: T, empty: T): T => value ?? (merge ? old : empty);
  return {
    name: keep(body.name, row.name, ''),
    type: readType(keep(body.type, row.type, row.type) || row.type),
    restricted: keep(body.restricted, row.restricted, false),
    projects: readProjects(parts, keep<readonly string[]>(body.projects, row.projects, [])),
    certificate: certificate?.pem ?? row.certificate,
    fingerprint: certificate?.fingerprint ?? row.fingerprint,
  };
}

/** A restricted caller may renew its own certificate, and nothing else. */
function requireOwnRenewal(by: Applicant, row: CertificateRow, next: CertificateRow): void {
  const isOwn = by.requestor.username === row.fingerprint;
  const isSame =
    next.name === row.name &&
    next.type === row.type &&
    next.restricted === row.restricted &&
    next.projects.join('\n') === row.projects.join('\n');
  if (!isOwn || !isSame) throw new Fault('forbidden', 'not authorized');
}

function expireLater(operation: Operation, expires: Date): void {
  const wait = Math.min(Math.max(expires.getTime() - Date.now(), 0), MAX_TIMER_MS);
  const timer = setTimeout(() => {
    if (Date.now() < expires.getTime()) {
      expireLater(operation, expires);
      return;
    }
    operation.cancel().catch((err: unknown) => {
      // Used or revoked meanwhile: there is nothing left to cancel.
      if (!isFault(err, 'bad_request')) throw err;
    });
  }, wait);
  timer.unref();
  void operation.finished.then(() => {
    clearTimeout(timer);
  });
}

function tell(parts: CertificateParts, action: string, fingerprint: string, by: Applicant): void {
  const username = by.requestor.username === '' ? fingerprint : by.requestor.username;
  parts.events.lifecycle(action, `/1.0/certificates/${fingerprint}`, {
    requestor: { ...by.requestor, username },
  });
}
