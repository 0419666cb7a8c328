/** Codes of Faults to HTTP statuses and to what the caller may read. */
import { FAULTS, isFault } from '../../process/fault.ts';
import { INTERNAL_TEXT, clientText } from '../error-text.ts';

export interface ErrorAnswer {
  readonly status: number;
  readonly text: string;
  /** True for errors that are bugs: they are logged with their stack. */
  readonly isBug: boolean;
}

/** Callers nobody trusts are told the outermost text only. */
export function errorAnswer(err: unknown, trusted: boolean): ErrorAnswer {
  if (isFault(err)) {
    return { status: FAULTS[err.code], text: trusted ? clientText(err) : err.message, isBug: false };
  }
  const status = statusOfHttpError(err);
  if (status !== null) return { status, text: 'the path of the request cannot be decoded', isBug: false };
  return { status: 500, text: INTERNAL_TEXT, isBug: true };
}

/** The router's own errors (a wrong percent-encoding) carry a status. */
function statusOfHttpError(err: unknown): number | null {
  if (!(err instanceof URIError)) return null;
  return 'status' in err && err.status === 400 ? 400 : null;
}
