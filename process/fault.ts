/**
 * The one error class that crosses module borders, and its codes.
 *
 * The HTTP status beside a code is the one LXD's clients know for the case
 * (400, 403, 404, 409, 412, 423, 500, 501, 503); two are ours: 413 for bodies
 * over a limit and 507 for a full disk.
 */
export const FAULTS = {
  bad_request: 400,
  not_trusted: 403,
  forbidden: 403,
  not_found: 404,
  already_exists: 409,
  conflict: 409,
  busy: 409,
  etag_mismatch: 412,
  too_large: 413,
  locked: 423,
  native_failed: 500,
  tool_failed: 500,
  internal: 500,
  not_implemented: 501,
  unavailable: 503,
  timeout: 503,
  storage_full: 507,
} as const;

export type FaultCode = keyof typeof FAULTS;

export interface FaultOptions {
  readonly cause?: unknown;
  readonly facts?: Readonly<Record<string, string | number>>;
}

/**
 * `message` says what was attempted, on what, and what the user can do.
 * It never repeats the text of `cause`: describeChain() joins them once, at the
 * process edge. `facts` go to logs; they never hold secrets.
 */
export class Fault extends Error {
  override readonly name = 'Fault';
  readonly code: FaultCode;
  readonly facts: Readonly<Record<string, string | number>>;

  constructor(code: FaultCode, message: string, options: FaultOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.facts = options.facts ?? {};
  }
}

export function isFault(err: unknown, code?: FaultCode): err is Fault {
  return err instanceof Fault && (code === undefined || err.code === code);
}

/** The messages of an error and its causes, outermost first, joined by ": ". What was said is not said again. */
export function describeChain(err: unknown): string {
  const parts: string[] = [];
  const say = (text: string): void => {
    if (!parts.some((part) => part.includes(text))) parts.push(text);
  };
  let at: unknown = err;
  for (let depth = 0; at !== undefined && at !== null && depth < 10; depth += 1) {
    if (at instanceof Error) {
      say(at.message === '' ? at.name : at.message);
      at = at.cause;
    } else {
      say(typeof at === 'string' ? at : JSON.stringify(at));
      at = undefined;
    }
  }
  return parts.join(': ');
}
