/**
 * An exception of Nova's, by class and module: thrown here to be answered to a
 * caller, or rebuilt from what a peer answered. Callers look at `className`.
 */
export interface NovaErrorFacts {
  readonly className: string;
  readonly module: string;
  /** What fills the message in Nova; also its attributes there. */
  readonly kwargs: Readonly<Record<string, unknown>>;
  readonly args: readonly unknown[];
  /** Lines of a Python traceback; empty for errors made here. */
  readonly trace: readonly string[];
}

export class NovaError extends Error {
  override readonly name = 'NovaError';
  readonly className: string;
  readonly module: string;
  readonly kwargs: Readonly<Record<string, unknown>>;
  readonly args: readonly unknown[];
  readonly trace: readonly string[];

  constructor(message: string, facts: NovaErrorFacts, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.className = facts.className;
    this.module = facts.module;
    this.kwargs = facts.kwargs;
    this.args = facts.args;
    this.trace = facts.trace;
  }
}

export function isNovaError(err: unknown, ...classNames: readonly string[]): err is NovaError {
  return err instanceof NovaError && (classNames.length === 0 || classNames.includes(err.className));
}

/** Nova's own exceptions that are raised here: their code, and the text made of their arguments. */
const EXCEPTIONS = {
  NovaException: [500, 'an error in the compute service'],
  Invalid: [400, 'what was asked for is not valid'],
  NotFound: [404, 'it does not exist'],
  Forbidden: [403, 'it is not allowed'],
  InstanceNotFound: [404, 'Instance %(instance_id)s could not be found.'],
  InstanceNotReady: [500, 'Instance %(instance_id)s is not ready.'],
  InstanceNotRunning: [500, 'Instance %(instance_id)s is not running.'],
  InstanceInvalidState: [
    400,
    'Instance %(instance_uuid)s in %(attr)s %(state)s. Cannot %(method)s while the instance is in this state.',
  ],
  InstancePowerOffFailure: [500, 'Instance could not be powered off: %(reason)s'],
  InstancePowerOnFailure: [500, 'Instance could not be powered on: %(reason)s'],
  InstanceRebootFailure: [500, 'Instance could not be rebooted: %(reason)s'],
  InstanceSuspendFailure: [500, 'Instance could not be suspended: %(reason)s'],
  InstanceResumeFailure: [500, 'Instance could not be resumed: %(reason)s'],
  InstanceNotRescuable: [400, 'Instance %(instance_id)s cannot be rescued: %(reason)s'],
  InstanceTerminationFailure: [500, 'Instance could not be deleted: %(reason)s'],
  InstanceDeployFailure: [400, 'Instance could not be built: %(reason)s'],
  InstancePasswordSetFailed: [500, 'The password of instance %(instance)s could not be set: %(reason)s'],
  SetAdminPasswdNotSupported: [400, 'Setting the admin password is not supported here.'],
  InstanceAgentNotEnabled: [400, 'The agent is not enabled for instance %(instance)s.'],
  InstanceExists: [500, 'Instance %(name)s already exists.'],
  InstanceEvacuateNotSupported: [400, 'Instances cannot be evacuated to this host: %(reason)s'],
  PreserveEphemeralNotSupported: [400, 'Ephemeral disks cannot be kept through a rebuild here.'],
  InvalidSharedStorage: [400, '%(path)s is not on shared storage: %(reason)s'],
  InstanceFaultRollback: [500, 'Instance was rolled back: %(inner_exception)s'],
  BuildAbortException: [500, 'Build of instance %(instance_uuid)s aborted: %(reason)s'],
  RescheduledException: [500, 'Build of instance %(instance_uuid)s was re-scheduled: %(reason)s'],
  VirtualInterfaceCreateException: [500, 'Virtual interfaces could not be created'],
  VirtualInterfacePlugException: [500, 'Virtual interfaces could not be plugged'],
  VirtualInterfaceUnplugException: [500, 'A virtual interface could not be unplugged: %(reason)s'],
  ConsoleTypeUnavailable: [400, 'Console type %(console_type)s is not available.'],
  ConsoleTypeInvalid: [400, 'Console type %(console_type)s is not known.'],
  ConsoleNotAvailable: [404, 'The console of the guest could not be had.'],
  ConsoleNotFoundForInstance: [404, 'No console was found for instance %(instance_uuid)s.'],
  InterfaceAttachFailed: [400, 'The network interface of %(instance_uuid)s could not be attached'],
  InterfaceAttachFailedNoNetwork: [400, 'Project %(project_id)s has no network to attach an interface to.'],
  InterfaceDetachFailed: [400, 'The network interface of %(instance_uuid)s could not be detached'],
  PortNotUsable: [400, 'Port %(port_id)s cannot be used for instance %(instance)s.'],
  PortNotFound: [404, 'Port %(port_id)s could not be found.'],
  PortInUse: [409, 'Port %(port_id)s is in use already.'],
  PortBindingFailed: [400, 'Port %(port_id)s could not be bound, see the log of Neutron.'],
  FixedIpAlreadyInUse: [409, 'Address %(address)s is in use already by %(instance_uuid)s.'],
  FixedIpNotFoundForInstance: [404, 'Instance %(instance_uuid)s has not the address %(ip)s.'],
  NoMoreFixedIps: [400, 'No address is left in network %(net)s.'],
  NetworkAmbiguous: [409, 'Several networks match; say which by their ids.'],
  NetworkNotFound: [404, 'Network %(network_id)s could not be found.'],
  NetworkDuplicated: [400, 'Network %(network_id)s was asked for twice.'],
  PortLimitExceeded: [403, 'The quota of ports is used up.'],
  NetworkNotFoundForInstance: [404, 'No network of instance %(instance_id)s could be found.'],
  NetworkInterfaceTaggedAttachNotSupported: [400, 'Network interfaces cannot be attached with a tag here.'],
  ExternalNetworkAttachForbidden: [403, 'Servers may not be put on an external network.'],
  FixedIpInvalidOnHost: [400, 'The addresses of port %(port_id)s are not valid on this host.'],
  InvalidInput: [400, 'What was given is not valid: %(reason)s'],
  SecurityGroupCannotBeApplied: [400, 'Security groups need a network with a subnet.'],
  UnableToAutoAllocateNetwork: [500, 'No network could be made for project %(project_id)s.'],
  SecurityGroupNotFound: [404, 'Security group %(security_group_id)s could not be found.'],
  MigrationPreCheckError: [500, 'The migration cannot be done: %(reason)s'],
  MigrationError: [500, 'The migration failed: %(reason)s'],
  UnableToMigrateToSelf: [400, 'Instance %(instance_id)s cannot be migrated to host %(host)s, where it is.'],
  ResizeError: [500, 'The resize failed: %(reason)s'],
  ComputeResourcesUnavailable: [500, 'Not enough resources on this host: %(reason)s.'],
  HypervisorUnavailable: [500, 'The REST daemon of %(host)s cannot be reached'],
  ComputeHostNotFound: [404, 'Compute host %(host)s could not be found.'],
  MultiattachNotSupportedByVirtDriver: [409, 'Volume %(volume_id)s cannot be attached several times here.'],
  InvalidVolume: [400, 'The volume cannot be used: %(reason)s'],
  VolumeNotFound: [404, 'Volume %(volume_id)s could not be found.'],
  VolumeAttachFailed: [400, 'Volume %(volume_id)s could not be attached: %(reason)s'],
  DiskNotFound: [404, 'There is no disk at %(location)s'],
  DeviceDetachFailed: [500, 'Device %(device)s could not be detached: %(reason)s'],
  TaggedAttachmentNotSupported: [400, 'Devices cannot be attached with a tag here.'],
  ImageNotFound: [404, 'Image %(image_id)s could not be found.'],
  ImageUnacceptable: [500, 'Image %(image_id)s cannot be used: %(reason)s'],
  ImageNotActive: [400, 'Image %(image_id)s is not active.'],
  FlavorDiskSmallerThanImage: [
    400,
    'The disk of the flavor (%(flavor_size)s) is smaller than the image (%(image_size)s).',
  ],
  FlavorMemoryTooSmall: [400, 'The memory of the flavor is too small for the image.'],
  GroupAffinityViolation: [500, '%(policy)s of the server group would be broken'],
  UnexpectedTaskStateError: [
    500,
    'Instance %(instance_uuid)s: task_state %(expected)s was expected, it is %(actual)s',
  ],
} as const satisfies Readonly<Record<string, readonly [number, string]>>;

export type NovaExceptionName = keyof typeof EXCEPTIONS;

export interface RaiseOptions {
  /** In place of the text of the class. */
  readonly message?: string;
  readonly cause?: unknown;
}

/**
 * An exception of nova.exception. The arguments are those of the class in Nova
 * (`instance_id`, `reason`, …); its HTTP-like code is added to them, as Nova does.
 */
export function novaError(
  className: NovaExceptionName,
  kwargs: Readonly<Record<string, unknown>> = {},
  options: RaiseOptions = {},
): NovaError {
  const [code, template] = EXCEPTIONS[className];
  const message =
    options.message ??
    template.replace(/%\((\w+)\)s/g, (whole, key: string) => {
      const value = kwargs[key];
      return value === undefined ? whole : typeof value === 'string' ? value : JSON.stringify(value);
    });
  return new NovaError(
    message,
    { className, module: 'nova.exception', kwargs: { code, ...kwargs }, args: [message], trace: [] },
    options.cause,
  );
}

/** What a driver answers that lacks a feature: the API makes HTTP 501 of it. */
export function notImplemented(message = ''): NovaError {
  const args = message === '' ? [] : [message];
  return new NovaError(message, {
    className: 'NotImplementedError',
    module: 'builtins',
    kwargs: {},
    args,
    trace: [],
  });
}

/** Number Nova keeps with a fault of an instance: the exception's own, else 500. */
export function codeOfNovaError(err: NovaError): number {
  const code = err.kwargs['code'];
  return typeof code === 'number' ? code : 500;
}
