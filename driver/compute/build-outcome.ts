/** What a failure means for a build: another host, the end, or that the instance is gone. Pure. */
import { describeChain, isFault } from '../../process/fault.ts';
import { CloudFault } from '../cloud/cloud-fault.ts';
import { ImageFault } from '../cloud/image-format.ts';
import { NetworkFault, type NetworkProblem } from '../cloud/network-fault.ts';
import { isNovaError, novaError, type NovaError } from '../rpc/nova-error.ts';

export type Outcome = 'active' | 'failed' | 'rescheduled' | 'rescheduled_by_policy';

export type Ending =
  /** Somebody deleted it: no fault, no error state. */
  | { readonly kind: 'gone' }
  /** Another host may do it. `byPolicy`: that says nothing about this host. */
  | {
      readonly kind: 'elsewhere';
      readonly err: NovaError;
      readonly reason: string;
      readonly byPolicy: boolean;
    }
  /** No host would do it. */
  | { readonly kind: 'abort'; readonly err: NovaError };

/** Exceptions of Nova's that end a build. */
const HOPELESS = [
  'NoMoreFixedIps',
  'ExternalNetworkAttachForbidden',
  'VirtualInterfaceCreateException',
  'VirtualInterfaceMacAddressException',
  'FixedIpInvalidOnHost',
  'UnableToAutoAllocateNetwork',
  'NetworksWithQoSPolicyNotSupported',
  'FlavorDiskTooSmall',
  'FlavorDiskSmallerThanImage',
  'FlavorMemoryTooSmall',
  'ImageNotActive',
  'ImageUnacceptable',
  'InvalidDiskInfo',
  'InvalidDiskFormat',
  'VolumeEncryptionNotSupported',
  'InvalidInput',
];

/**
 * Differs: Nova tries a port that is in use, or a quota that is used up, on
 * every other host too, and tells its user at last that there were no hosts.
 * Only a binding may fare better elsewhere.
 */
const ELSEWHERE: readonly NetworkProblem[] = ['PortBindingFailed'];

export function endingOf(uuid: string, err: unknown): Ending {
  if (isNovaError(err, 'InstanceNotFound', 'UnexpectedDeletingTaskStateError')) return { kind: 'gone' };
  if (isNovaError(err, 'BuildAbortException')) return { kind: 'abort', err };
  if (isNovaError(err, 'GroupAffinityViolation')) return elsewhere(uuid, err, true);
  // Somebody took over who does not delete it: as Nova, that ends the build.
  if (isNovaError(err, 'UnexpectedTaskStateError')) return abort(uuid, err);
  if (err instanceof NetworkFault && !ELSEWHERE.includes(err.problem)) {
    const why = `Failed to allocate the network(s) with error ${saidBy(err)}, not rescheduling.`;
    return abort(uuid, err, why);
  }
  if (err instanceof ImageFault || isFault(err, 'bad_request')) return abort(uuid, err);
  return isNovaError(err, ...HOPELESS) ? abort(uuid, err) : elsewhere(uuid, err, false);
}

/** An exception that ends a build, with its reason for the user. */
export function buildAbort(uuid: string, reason: string, cause?: unknown): NovaError {
  return novaError(
    'BuildAbortException',
    { instance_uuid: uuid, reason },
    cause === undefined ? {} : { cause },
  );
}

/** In few words: the text of a fault has little room, and Neutron's own says most. */
function saidBy(err: NetworkFault): string {
  return err.cause instanceof CloudFault && err.cause.detail !== '' ? err.cause.detail : err.message;
}

function abort(uuid: string, err: unknown, reason = describeChain(err)): Ending {
  return { kind: 'abort', err: buildAbort(uuid, reason, err) };
}

function elsewhere(uuid: string, err: unknown, byPolicy: boolean): Ending {
  const reason = describeChain(err);
  const kwargs = { instance_uuid: uuid, reason };
  return {
    kind: 'elsewhere',
    reason,
    byPolicy,
    err: novaError('RescheduledException', kwargs, { cause: err }),
  };
}
