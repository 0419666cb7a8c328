/** Which of Nova's exceptions an error about networks is for the API and the build. */
import { Fault, type FaultCode } from '../../process/fault.ts';
import { CloudFault } from './cloud-fault.ts';

/** Names of exceptions in nova.exception. */
export type NetworkProblem =
  | 'ExternalNetworkAttachForbidden'
  | 'FixedIpAlreadyInUse'
  | 'FixedIpInvalidOnHost'
  | 'InvalidInput'
  | 'NetworkAmbiguous'
  | 'NetworkNotFound'
  | 'NoMoreFixedIps'
  | 'PortBindingFailed'
  | 'PortInUse'
  | 'PortLimitExceeded'
  | 'PortNotFound'
  | 'PortNotUsable'
  | 'SecurityGroupCannotBeApplied'
  | 'SecurityGroupNotFound'
  | 'UnableToAutoAllocateNetwork';

export class NetworkFault extends Fault {
  readonly problem: NetworkProblem;

  constructor(code: FaultCode, problem: NetworkProblem, message: string, cause?: unknown) {
    super(code, message, { cause, facts: { problem } });
    this.problem = problem;
  }
}

const KINDS: Readonly<Record<string, readonly [FaultCode, NetworkProblem]>> = {
  IpAddressInUse: ['conflict', 'FixedIpAlreadyInUse'],
  IpAddressAlreadyAllocated: ['conflict', 'FixedIpAlreadyInUse'],
  InvalidIpForNetwork: ['bad_request', 'InvalidInput'],
  InvalidIpForSubnet: ['bad_request', 'InvalidInput'],
  OverQuota: ['forbidden', 'PortLimitExceeded'],
  IpAddressGenerationFailure: ['conflict', 'NoMoreFixedIps'],
  MacAddressInUse: ['conflict', 'PortInUse'],
  HostNotCompatibleWithFixedIps: ['conflict', 'FixedIpInvalidOnHost'],
  NetworkNotFound: ['not_found', 'NetworkNotFound'],
  PortNotFound: ['not_found', 'PortNotFound'],
};

/** A refusal of Neutron under Nova's name; anything else as it is. */
export function networkFault(err: unknown, what: string): unknown {
  if (!(err instanceof CloudFault)) return err;
  const known = KINDS[err.kind];
  return known === undefined ? err : new NetworkFault(known[0], known[1], what, err);
}
