/** What the REST daemon could not do, as the exceptions Nova tells apart. Pure. */
import { describeChain, isFault } from '../../process/fault.ts';
import { novaError, type NovaExceptionName } from '../rpc/nova-error.ts';

/** Texts of failed operations: they carry no code of their own. */
const GONE = /\bInstance not found\b/;
const FULL = /\bno space left\b|\bis full\b|disk quota exceeded/i;
const REFUSED_DEFINITION = /Device validation failed|the contents do not fit|is too small; the least/;

/** Runs work; a failure of the daemon's becomes this exception. Others, and aborts, pass. */
export async function failingAs<T>(
  className: NovaExceptionName,
  uuid: string,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (err) {
    throw guestError(className, uuid, err);
  }
}

/** The exception for one error. Errors of Nova's, and what is no Fault, stay as they are. */
export function guestError(className: NovaExceptionName, uuid: string, err: unknown): unknown {
  if (!isFault(err)) return err;
  if (err.code === 'unavailable') {
    return novaError('HypervisorUnavailable', { host: '' }, { message: describeChain(err), cause: err });
  }
  if (GONE.test(err.message)) return novaError('InstanceNotFound', { instance_id: uuid }, { cause: err });
  const reason = describeChain(err);
  const kwargs = { instance_id: uuid, instance_uuid: uuid, instance: uuid, reason };
  const plain = novaError(className, kwargs, { cause: err });
  // Some classes have no place for a reason in their text.
  return plain.message.includes(reason)
    ? plain
    : novaError(className, kwargs, { message: `${plain.message}: ${reason}`, cause: err });
}

/**
 * A build that failed: what another host would refuse in the same way ends it,
 * everything else may be tried elsewhere.
 */
export function spawnError(uuid: string, err: unknown): unknown {
  if (!isFault(err)) return err;
  const reason = describeChain(err);
  if (err.code === 'storage_full' || FULL.test(reason)) {
    return novaError('ComputeResourcesUnavailable', { reason }, { cause: err });
  }
  const isHopeless =
    err.code === 'bad_request' || (err.code === 'internal' && REFUSED_DEFINITION.test(reason));
  if (isHopeless) return novaError('BuildAbortException', { instance_uuid: uuid, reason }, { cause: err });
  // Neutron bound the port in a way that is not for containers, or not at all.
  if (err.code === 'conflict' && err.message.startsWith('plug port ')) {
    return novaError('VirtualInterfaceCreateException', {}, { message: reason, cause: err });
  }
  return guestError('InstanceDeployFailure', uuid, err);
}
