/** How this host becomes a compute service of the cloud: from the first ping to the service record. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describeChain, Fault, isFault } from '../../process/fault.ts';
import type { Log } from '../../process/log.ts';
import { adminContext } from '../nova/context.ts';
import type { LxdClient } from '../lxd/client.ts';
import type { Conductor } from '../nova/conductor.ts';
import { ensureService, minimumVersion, saveService, serviceVersion } from '../nova/host-records.ts';
import type { NovaObject } from '../nova/versioned-object.ts';
import { isNovaError } from '../rpc/nova-error.ts';

/** nova-compute's way to wait: ten short tries, then long ones. */
const SHORT_TRIES = 10;
const SHORT_MS = 10_000;
const LONG_MS = 60_000;
const PAUSE_MS = 5000;
/** OpenStack Yoga: what a compute service of Zed still works beside. */
const OLDEST_PEER = 61;

/** Extensions of the REST API that servers are made with. */
export const NEEDED_EXTENSIONS = [
  'slipway_memory_swap_size',
  'slipway_disk_empty',
  'slipway_disk_root',
  'slipway_hostname',
  'slipway_config_drive',
  'slipway_nic_ovs',
  'slipway_nic_parent_create',
  'slipway_image_disk_formats',
] as const;

/** Fault unavailable when the daemon does not answer, forbidden when it does not trust this user, conflict when it is too old. */
export async function checkDaemon(daemon: Pick<LxdClient, 'server'>, signal: AbortSignal): Promise<void> {
  const { api_extensions: extensions } = await daemon.server({ requestId: '', signal });
  const missing = NEEDED_EXTENSIONS.filter((name) => !extensions.includes(name));
  if (missing.length === 0) return;
  throw new Fault(
    'conflict',
    `use the REST daemon of this host: it lacks ${missing.join(', ')}; it is older than this service, ` +
      'or was not started again after the update',
  );
}

/** Resolves when a conductor answers; rejects with the signal's reason. */
export async function waitForConductor(conductor: Conductor, log: Log, signal: AbortSignal): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    const timeoutMs = tries <= SHORT_TRIES ? SHORT_MS : LONG_MS;
    const begun = Date.now();
    try {
      await conductor.ping(adminContext(), { timeoutMs, signal });
      return;
    } catch (err) {
      signal.throwIfAborted();
      log.warn('no conductor answers yet: are the brokers and nova-conductor up?', {
        tries,
        error: describeChain(err),
      });
    }
    // A failure that came at once must not become a storm.
    await sleep(Math.max(0, 1000 - (Date.now() - begun)), undefined, { signal });
  }
}

/** Does a piece of work again until the control plane answered; other failures end it. */
export async function untilAnswered<T>(log: Log, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  for (;;) {
    signal.throwIfAborted();
    try {
      return await work();
    } catch (err) {
      if (!isFault(err, 'timeout') && !isFault(err, 'unavailable')) throw err;
      signal.throwIfAborted();
      log.warn('the start waits for the control plane or the REST daemon', { error: describeChain(err) });
    }
    await sleep(PAUSE_MS, undefined, { signal });
  }
}

/** Fault conflict when compute services run that are too old to be beside this one. */
export async function refuseOldPeers(conductor: Conductor): Promise<void> {
  const oldest = await minimumVersion(conductor, adminContext(), 'nova-compute');
  if (oldest === 0 || oldest >= OLDEST_PEER) return;
  throw new Fault(
    'conflict',
    `start beside the other compute services: the oldest reports version ${String(oldest)}, at least ` +
      `${String(OLDEST_PEER)} (OpenStack Yoga) is needed; upgrade it, or delete the records of hosts that are gone ` +
      '(openstack compute service delete)',
  );
}

/** The version to report to this control plane. `configured`: `[slipway] service_version`. */
export async function versionToReport(conductor: Conductor, configured: number): Promise<number> {
  if (configured > 0) return configured;
  return serviceVersion(await minimumVersion(conductor, adminContext(), 'nova-conductor'), 0);
}

/** The service record, made or brought to this version. Fault conflict when Nova refuses the version. */
export async function registerService(
  conductor: Conductor,
  host: string,
  version: number,
): Promise<NovaObject> {
  try {
    return await ensureService(conductor, adminContext(), host, version);
  } catch (err) {
    throw tooOld(err, host, version);
  }
}

/**
 * The control plane may be of a newer release than at the start: its next one
 * would not begin beside a host that still tells of an old one. A version is
 * never taken back, which Nova would refuse.
 */
export async function refreshVersion(
  conductor: Conductor,
  service: NovaObject,
  configured: number,
): Promise<void> {
  const version = await versionToReport(conductor, configured);
  if (version <= (service.numberOrNull('version') ?? 0)) return;
  service.set('version', version);
  await saveService(conductor, adminContext(), service);
}

function tooOld(err: unknown, host: string, version: number): unknown {
  if (!isNovaError(err, 'ServiceTooOld')) return err;
  return new Fault(
    'conflict',
    `register ${host} with version ${String(version)}: the other compute services are newer; ` +
      'upgrade the control plane, or set [slipway] service_version to the number they have',
    { cause: err },
  );
}
