/**
 * What a service of the cloud refused, as a Fault: with its HTTP status and its
 * own name of the error, and never with a token.
 */
import { Fault, type FaultCode } from '../../process/fault.ts';
import { isRecord, recordsOf, textOf } from './json.ts';

/** Longest text of a service that is kept. */
const LONGEST = 500;

export class CloudFault extends Fault {
  readonly status: number;
  /** Neutron's error type (`IpAddressInUse`), Placement's code (`placement.concurrent_update`), or ''. */
  readonly kind: string;
  /** What the service said, cut to 500 characters. */
  readonly detail: string;

  constructor(what: string, status: number, said: Said) {
    super(
      codeOf(status),
      said.detail === ''
        ? `${what}: HTTP status ${String(status)}`
        : `${what}: HTTP status ${String(status)}: ${said.detail}`,
      { facts: { status, ...(said.kind === '' ? {} : { kind: said.kind }) } },
    );
    this.status = status;
    this.kind = said.kind;
    this.detail = said.detail;
  }
}

/** True for an answer of this status (and of this kind, when one is given). */
export function isCloudFault(err: unknown, status: number, kind?: string): err is CloudFault {
  return err instanceof CloudFault && err.status === status && (kind === undefined || err.kind === kind);
}

interface Said {
  readonly kind: string;
  readonly detail: string;
}

function codeOf(status: number): FaultCode {
  switch (status) {
    case 400:
      return 'bad_request';
    case 401:
      return 'not_trusted';
    case 403:
      return 'forbidden';
    case 404:
    case 410:
      return 'not_found';
    case 409:
      return 'conflict';
    case 413:
      return 'too_large';
    case 501:
      return 'not_implemented';
    default:
      return status >= 400 && status < 500 ? 'bad_request' : 'unavailable';
  }
}

/** Reads the error shapes of Keystone, Neutron, Placement, Cinder, and plain text or HTML. */
export function readError(body: unknown, secrets: readonly string[]): Said {
  const { kind, detail } = shapeOf(body);
  let clean = detail;
  for (const secret of secrets) if (secret !== '') clean = clean.replaceAll(secret, '***');
  return { kind, detail: clean.replace(/\s+/g, ' ').trim().slice(0, LONGEST) };
}

function shapeOf(body: unknown): Said {
  if (typeof body === 'string') return { kind: '', detail: body.replace(/<[^>]*>/g, ' ') };
  if (!isRecord(body)) return { kind: '', detail: '' };
  const neutron = body['NeutronError'];
  if (isRecord(neutron)) return { kind: textOf(neutron['type']), detail: textOf(neutron['message']) };
  if (typeof neutron === 'string') return { kind: '', detail: neutron };
  const [placement] = recordsOf(body['errors']);
  if (placement !== undefined) {
    return { kind: textOf(placement['code']), detail: textOf(placement['detail']) };
  }
  // Keystone: {"error": {...}}; Cinder: {"badRequest": {...}}, {"itemNotFound": {...}}.
  for (const [key, value] of Object.entries(body)) {
    if (isRecord(value) && typeof value['message'] === 'string') {
      return { kind: key === 'error' ? '' : key, detail: value['message'] };
    }
  }
  return { kind: '', detail: textOf(body['message']) };
}
