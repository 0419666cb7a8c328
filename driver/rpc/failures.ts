/** Errors to and from the `failure` of a reply, a JSON text in the JSON text of the message. */
import { describeChain, Fault, type FaultCode } from '../../process/fault.ts';
import { isRecord, textOrNull } from './json.ts';
import { NovaError, notImplemented, novaError, type NovaExceptionName } from './nova-error.ts';

/** How the other side meets a Fault of ours. A missing row is a type error. */
const CLASSES: Record<FaultCode, NovaExceptionName | 'NotImplementedError'> = {
  bad_request: 'Invalid',
  not_trusted: 'Forbidden',
  forbidden: 'Forbidden',
  not_found: 'NotFound',
  already_exists: 'Invalid',
  conflict: 'Invalid',
  busy: 'InstanceInvalidState',
  etag_mismatch: 'Invalid',
  too_large: 'Invalid',
  locked: 'InstanceInvalidState',
  native_failed: 'NovaException',
  tool_failed: 'NovaException',
  internal: 'NovaException',
  not_implemented: 'NotImplementedError',
  unavailable: 'HypervisorUnavailable',
  timeout: 'NovaException',
  storage_full: 'NovaException',
};

/** The exception an error is for Nova. What is no error of ours becomes a plain one, so a caller is always answered. */
export function asNovaError(err: unknown): NovaError {
  if (err instanceof NovaError) return err;
  const message = describeChain(err);
  if (err instanceof Fault) {
    const className = CLASSES[err.code];
    if (className === 'NotImplementedError') return notImplemented(message);
    return novaError(className, err.facts, { message, cause: err });
  }
  return novaError('NovaException', {}, { message, cause: err });
}

/** oslo.messaging's own exceptions: a caller sees them as RemoteError with this class name. */
export function dispatchError(className: 'NoSuchMethod' | 'UnsupportedVersion', message: string): NovaError {
  return new NovaError(message, {
    className,
    module: 'oslo_messaging.rpc.dispatcher',
    kwargs: {},
    args: [message],
    trace: [],
  });
}

export function writeFailure(err: unknown): string {
  const failure = asNovaError(err);
  const head = failure.module === 'builtins' ? failure.className : `${failure.module}.${failure.className}`;
  return JSON.stringify({
    class: failure.className,
    module: failure.module,
    message: failure.message,
    tb: failure.trace.length > 0 ? failure.trace : [`${head}: ${failure.message}\n`],
    args: failure.args,
    kwargs: failure.kwargs,
  });
}

/** What a peer answered; never loads or runs anything by the names in it. */
export function readFailure(text: string): NovaError {
  let failure: unknown = null;
  try {
    failure = JSON.parse(text);
  } catch {
    // The text itself is all there is to tell.
  }
  if (!isRecord(failure)) {
    return new NovaError(text, { className: 'RemoteError', module: '', kwargs: {}, args: [], trace: [] });
  }
  const { args, kwargs, tb } = failure;
  return new NovaError(textOrNull(failure['message']) ?? '', {
    // A class that was rebuilt by another peer before is named X_Remote.
    className: (textOrNull(failure['class']) ?? 'RemoteError').replace(/_Remote$/, ''),
    module: (textOrNull(failure['module']) ?? '').replace(/_Remote$/, '').replace(/^exceptions$/, 'builtins'),
    kwargs: isRecord(kwargs) ? kwargs : {},
    args: Array.isArray(args) ? args : [],
    trace: Array.isArray(tb) ? tb.filter((line) => typeof line === 'string') : [],
  });
}
