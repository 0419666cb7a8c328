/** What went wrong with a network, as the exception the API knows. Pure. */
import { describeChain } from '../../process/fault.ts';
import { NetworkFault } from '../cloud/network-fault.ts';
import { novaError } from '../rpc/nova-error.ts';

/** A NetworkFault under Nova's name; anything else as it is. */
export function networkError(err: unknown): unknown {
  if (!(err instanceof NetworkFault)) return err;
  return novaError(err.problem, { ...err.facts }, { message: describeChain(err), cause: err });
}
