/** What a client may read of an error. Causes that are bugs stay in the log. */
import { Fault } from '../process/fault.ts';

const MAX_LENGTH = 2000;
/** Answered for everything that is no Fault; the log has the rest. */
export const INTERNAL_TEXT = 'internal error, the details are in the log of the server';

/**
 * The texts of a Fault and of its causes, outermost first. Of other errors
 * only what the system said (`ENOSPC: no space left on device`) is shown.
 */
export function clientText(err: unknown): string {
  if (!(err instanceof Fault)) return INTERNAL_TEXT;
  const parts: string[] = [];
  let at: unknown = err;
  while (at !== undefined && at !== null && parts.length < 10) {
    const text = oneText(at);
    if (text !== null && !parts.includes(text)) parts.push(text);
    at = at instanceof Error ? at.cause : undefined;
  }
  return parts.join(': ').slice(0, MAX_LENGTH);
}

function oneText(err: unknown): string | null {
  if (err instanceof Fault) return err.message;
  if (!(err instanceof Error)) return typeof err === 'string' ? err : null;
  if ('syscall' in err && 'code' in err) return err.message.split(',', 1)[0] ?? null;
  return err.message === '' ? null : err.message;
}
