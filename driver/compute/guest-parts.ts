/** What a guest is made of, and its start with the wait for its ports: for builds, and whoever makes guests anew. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeChain, Fault } from '../../process/fault.ts';
import type { CallContext } from '../cloud/call-context.ts';
import type { Image } from '../cloud/glance.ts';
import { checkImage, ImageFault } from '../cloud/image-format.ts';
import type { NetworkInfo } from '../cloud/vif.ts';
import { configDrive, needsConfigDrive, type DriveOptions, type FileTree } from '../lxd/config-drive.ts';
import type { Flavor, NovaInstance } from '../lxd/nova-instance.ts';
import type { NovaObject } from '../nova/versioned-object.ts';
import { isRecord } from '../rpc/json.ts';
import { isNovaError, novaError } from '../rpc/nova-error.ts';
import { unlessDeleted } from './doomed.ts';
import type { ComputeHost, SpawnRequest } from './host.ts';

export type DriveFile = DriveOptions['files'][number];

/** Fingerprint of the image in the daemon, fetched if it is not there. ImageFault for images no host could use. */
export async function ensureImage(
  host: Pick<ComputeHost, 'images'>,
  call: CallContext,
  image: Image,
  flavor: Flavor,
): Promise<string> {
  checkImage(image, flavor);
  try {
    const { fingerprint } = await host.images.ensure(call, image);
    return fingerprint;
  } catch (err) {
    // What the daemon refuses here, it refuses everywhere.
    if (err instanceof ImageFault || !(err instanceof Fault) || err.code !== 'bad_request') throw err;
    throw novaError('ImageUnacceptable', { image_id: image.id, reason: describeChain(err) }, { cause: err });
  }
}

export interface DriveParts {
  readonly vifs: NetworkInfo;
  readonly adminPassword: string | null;
  readonly files: readonly DriveFile[];
}

/** The config drive of an instance; null when it gets none. */
export function makeDrive(
  host: Pick<ComputeHost, 'options' | 'log'>,
  record: NovaObject,
  instance: NovaInstance,
  parts: DriveParts,
): FileTree | null {
  // Differs: files of the user's have no other way into a container.
  if (parts.files.length === 0 && !wantsDrive(host, record)) return null;
  return configDrive(instance, parts.vifs, {
    dhcpDomain: host.options.api.dhcp_domain,
    adminPassword: parts.adminPassword,
    files: parts.files,
    randomSeed: randomBytes(512).toString('base64'),
    vendorData: vendorData(host),
  });
}

/** Read for each drive, as Nova does; a server is built without it rather than not at all. */
function vendorData({ options, log }: Pick<ComputeHost, 'options' | 'log'>): DriveOptions['vendorData'] {
  const { vendordata_jsonfile_path: path } = options.api;
  if (path === '') return {};
  try {
    const read: unknown = JSON.parse(readFileSync(path, 'utf8'));
    if (isRecord(read)) return read;
    log.warn('vendor data are no JSON object', { path });
  } catch (err) {
    log.warn('vendor data were not read', { path, error: describeChain(err) });
  }
  return {};
}

function wantsDrive(host: Pick<ComputeHost, 'options'>, record: NovaObject): boolean {
  return needsConfigDrive({
    configDrive: record.get('config_drive'),
    isForced: host.options.DEFAULT.force_config_drive,
    isNew: record.dateOrNull('launched_at') === null,
    systemMetadata: record.texts('system_metadata'),
  });
}

/** Makes and starts a guest whose ports are wired; what is half made after a failure is the caller's to destroy. */
export async function spawnGuest(host: ComputeHost, call: CallContext, request: SpawnRequest): Promise<void> {
  const { uuid } = request.instance;
  await withPorts(host, call, { uuid, vifs: request.start ? request.vifs : [] }, async () => {
    try {
      await host.guests.spawn(call, request);
    } catch (err) {
      if (!isNovaError(err, 'InstanceNotFound')) throw err;
      // In Nova's words this would say that its user deleted it.
      const reason = 'the container vanished while it was made';
      throw novaError('InstanceDeployFailure', { instance_id: uuid, reason }, { cause: err });
    }
  });
}

/**
 * Runs what plugs the ports of an instance, and waits until Neutron says that
 * they are wired. NovaError VirtualInterfaceCreateException when that does not
 * come in time and vif_plugging_is_fatal.
 */
async function withPorts(
  host: Waiting,
  call: CallContext,
  { uuid, vifs }: { readonly uuid: string; readonly vifs: NetworkInfo },
  plug: () => Promise<void>,
): Promise<void> {
  const { vif_plugging_timeout: timeoutS, vif_plugging_is_fatal: isFatal } = host.options.DEFAULT;
  const waits = timeoutS > 0 ? vifs.filter((vif) => !vif.active) : [];
  // Before anything is plugged: the event may come at once.
  const plugged = host.events.expect(
    uuid,
    waits.map((vif) => ({ name: 'network-vif-plugged', tag: vif.id })),
  );
  const waited = new AbortController();
  try {
    await plug();
    if (waits.length > 0) {
      const everyMs = Math.min(ASK_EVERY_MS, (timeoutS * 1000) / 4);
      void askNeutron(host, call, { uuid, vifs: waits, everyMs, signal: waited.signal });
    }
    await unlessDeleted(host, uuid, plugged.wait(timeoutS * 1000)).catch((err: unknown) => {
      if (isNovaError(err, 'InstanceNotFound')) throw err;
      host.log.warn('ports of an instance were not wired', { instance: uuid, error: describeChain(err) });
      if (!isFatal) return;
      const message = `Virtual interfaces could not be created: ${describeChain(err)}`;
      throw novaError('VirtualInterfaceCreateException', {}, { message, cause: err });
    });
  } finally {
    waited.abort();
    plugged.forget();
  }
}

type Waiting = Pick<ComputeHost, 'events' | 'options' | 'log' | 'cloud'>;

const ASK_EVERY_MS = 15_000;

interface Asking {
  readonly uuid: string;
  readonly vifs: NetworkInfo;
  readonly everyMs: number;
  readonly signal: AbortSignal;
}

/**
 * Differs: nova-compute waits for the event alone. It is lost when the broker
 * dies at the wrong moment, and a guest that works would be thrown away minutes
 * later: that a port is wired is also known to Neutron.
 */
async function askNeutron(host: Waiting, call: CallContext, asking: Asking): Promise<void> {
  const { uuid, vifs, everyMs, signal } = asking;
  const query = [
    ['device_id', uuid],
    ['fields', 'id'],
    ['fields', 'status'],
  ] as const;
  const areWired = async (): Promise<void> => {
    const ports = await host.cloud.neutron.ports(call, query);
    const wired = vifs.filter(({ id }) =>
      ports.some((port) => port['id'] === id && port['status'] === 'ACTIVE'),
    );
    for (const { id } of signal.aborted ? [] : wired) {
      const event = { name: 'network-vif-plugged', tag: id, status: 'completed' };
      if (!host.events.deliver(uuid, event)) continue;
      host.log.info('a port is wired, though no event said so', { instance: uuid, port: id });
    }
  };
  while (await sleep(everyMs, true, { signal, ref: false }).catch(() => false)) {
    await areWired().catch((err: unknown) => {
      host.log.debug('Neutron was asked for ports in vain', { instance: uuid, error: describeChain(err) });
    });
  }
}
