/**
 * The steps of a build from the claim to the running guest, in Nova's order,
 * and the way back from each of them.
 *
 * Only the saves need their order. What is read meanwhile – the image, the
 * networks to choose from – is read from the first moment on, and ports are
 * made while the states are saved.
 */
import { describeChain } from '../../process/fault.ts';
import { imageOf } from '../cloud/glance.ts';
import { textOrNull } from '../cloud/json.ts';
import type { NetworkInfo } from '../cloud/vif.ts';
import { readFlavor, readInstance } from '../lxd/nova-instance.ts';
import { isTakenOver, loadFields, saveInstance } from '../nova/instances.ts';
import type { NovaObject } from '../nova/versioned-object.ts';
import { isNovaError } from '../rpc/nova-error.ts';
import { isVolume, nameDevices } from './block-devices.ts';
import { buildAbort } from './build-outcome.ts';
import { schedulerHints, wantsTags, type BuildRequest } from './build-request.ts';
import { unlessDeleted } from './doomed.ts';
import { checkGroup } from './group-check.ts';
import { ensureImage, makeDrive, spawnGuest, type DriveFile } from './guest-parts.ts';
import { POWER, type ComputeHost } from './host.ts';
import { shutDown } from './shutdown.ts';

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}(?:==)?|[A-Za-z0-9+/]{3}=?)?$/;

/** What was begun ahead of its step; a failure comes with the step that needs it. */
export interface Ahead {
  readonly files: Promise<readonly DriveFile[]>;
  readonly image: Promise<string>;
}

/** Begins what only reads, before anything is saved. */
export function lookAhead(host: ComputeHost, build: BuildRequest): Ahead {
  const { context, instance, image, call } = build;
  const begin = async (): Promise<readonly DriveFile[]> => {
    const read = refuseUnknown(build);
    host.networks.prepare(context, instance, build.networks);
    await loadFields(host.conductor, context, instance, ['flavor']);
    return read;
  };
  const files = begin();
  const fetched = files.then(() => {
    const flavor = readFlavor(instance.object('flavor').toPrimitive());
    return ensureImage(host, call, imageOf(image), flavor);
  });
  for (const one of [files, fetched]) one.catch(() => undefined);
  return { files, image: fetched };
}

/** Refuses what this host cannot build, before it has begun. NovaError BuildAbortException. */
function refuseUnknown(build: BuildRequest): readonly DriveFile[] {
  const { instance } = build;
  const uuid = instance.text('uuid');
  if (wantsTags(build))
    throw buildAbort(uuid, 'networks and disks with a tag are not supported by this host');
  if ((instance.get('trusted_certs') ?? null) !== null) {
    throw buildAbort(uuid, 'trusted image certificates are not supported by this host');
  }
  if (build.devices.some(isVolume)) {
    throw buildAbort(uuid, 'volumes are not supported by this host; boot from an image onto local disk');
  }
  if (textOrNull(build.image['id']) === null) {
    throw buildAbort(uuid, 'there is no image to boot from');
  }
  return decodeFiles(build);
}

/**
 * Builds and starts the guest; gives its VIFs. After a failure nothing of it
 * is left on this host but, perhaps, its ports: whoever handles the failure
 * releases them.
 */
export async function buildGuest(host: ComputeHost, build: BuildRequest, ahead: Ahead): Promise<NetworkInfo> {
  const { context, instance } = build;
  await ahead.files;
  try {
    await host.tracker.claim(context, instance);
    await checkGroup(host, context, instance, schedulerHints(build));
    const networks = await beginNetworks(host, build);
    try {
      await saveDevices(host, build);
      instance.set('vm_state', 'building').set('task_state', 'spawning');
      await saveInstance(host.conductor, context, instance, { taskState: ['block_device_mapping'] });
      const vifs = await spawn(host, build, { ahead, networks });
      await saveActive(host, build, vifs);
      return vifs;
    } catch (err) {
      await unspawn(host, build, networks, err);
      throw err;
    }
  } catch (err) {
    await unclaim(host, build);
    throw err;
  }
}

/** Ports are made from here on; the saves go on meanwhile. */
async function beginNetworks(host: ComputeHost, build: BuildRequest): Promise<Promise<NetworkInfo>[]> {
  const { context, instance } = build;
  const uuid = instance.text('uuid');
  const begin = (work: Promise<NetworkInfo>): Promise<NetworkInfo>[] => {
    // Told where it is used.
    work.catch(() => undefined);
    return [work];
  };
  // After a reschedule that left them: they are there already.
  if (/^(?:true|1|yes|on|t|y)$/i.test(instance.texts('system_metadata')['network_allocated'] ?? '')) {
    return begin(host.networks.rebind(context, instance));
  }
  instance.set('vm_state', 'building').set('task_state', 'networking');
  try {
    await saveInstance(host.conductor, context, instance, { taskState: [null] });
  } catch (err) {
    if (isTakenOver(err) || isNovaError(err, 'InstanceNotFound')) throw err;
    throw buildAbort(uuid, 'Failed to allocate the network(s), not rescheduling.', err);
  }
  return begin(host.networks.allocate(context, instance, build.networks));
}

async function saveDevices(host: ComputeHost, build: BuildRequest): Promise<void> {
  const { context, instance } = build;
  const saves: Promise<unknown>[] = nameDevices(instance, build.devices).map((device) =>
    host.conductor.objectCall(context, device, { method: 'save' }),
  );
  instance.set('vm_state', 'building').set('task_state', 'block_device_mapping');
  saves.push(saveInstance(host.conductor, context, instance));
  // All have ended before one fails: what is saved late would undo what is saved then.
  await Promise.allSettled(saves);
  await Promise.all(saves);
}

interface SpawnParts {
  readonly ahead: Ahead;
  readonly networks: readonly Promise<NetworkInfo>[];
}

async function spawn(host: ComputeHost, build: BuildRequest, parts: SpawnParts): Promise<NetworkInfo> {
  const { context, instance, call, adminPassword } = build;
  await loadFields(host.conductor, context, instance, ['flavor', 'metadata', 'system_metadata', 'keypairs']);
  const needed = Promise.all([parts.networks[0], parts.ahead.image, parts.ahead.files]);
  const [vifs = [], fingerprint, files] = await unlessDeleted(host, instance.text('uuid'), needed);
  const guest = readInstance(instance.toPrimitive());
  const drive = makeDrive(host, instance, guest, { vifs, adminPassword, files });
  if (drive !== null && !isTrue(instance.get('config_drive'))) instance.set('config_drive', 'True');
  const request = { instance: guest, fingerprint, vifs, drive, start: true, adminPassword };
  await spawnGuest(host, call, request);
  return vifs;
}

async function saveActive(host: ComputeHost, build: BuildRequest, vifs: NetworkInfo): Promise<void> {
  const { context, instance, call } = build;
  const { network_allocated: wasAllocated, ...metadata } = instance.texts('system_metadata');
  if (wasAllocated !== undefined) instance.set('system_metadata', metadata);
  setAccess(host, instance, vifs);
  const power = await host.guests.power(call, instance.text('uuid'));
  instance
    .set('power_state', power)
    .set('vm_state', 'active')
    .set('task_state', null)
    .set('launched_at', new Date());
  try {
    await saveInstance(host.conductor, context, instance, { taskState: ['spawning'] });
  } catch (err) {
    // It runs no more when whoever handles this saves it.
    instance.set('power_state', POWER.noState).set('vm_state', 'building').set('launched_at', null);
    throw err;
  }
}

/** The addresses users see first, where an operator named the network they are of. */
function setAccess(host: ComputeHost, instance: NovaObject, vifs: NetworkInfo): void {
  const { default_access_ip_network_name: name } = host.options.DEFAULT;
  if (name === '' || (instance.get('access_ip_v4') ?? null) !== null) return;
  if ((instance.get('access_ip_v6') ?? null) !== null) return;
  const vif = vifs.find((one) => one.network.label === name);
  const ips = vif?.network.subnets.flatMap((subnet) => subnet.ips) ?? [];
  for (const version of [4, 6] as const) {
    const found = ips.find((ip) => ip.version === version);
    if (found !== undefined) instance.set(`access_ip_v${String(version)}`, found.address);
  }
}

/** The container goes; ports go too when there is nothing of them to be used again. BuildAbortException when that fails. */
async function unspawn(
  host: ComputeHost,
  build: BuildRequest,
  networks: readonly Promise<NetworkInfo>[],
  cause: unknown,
): Promise<void> {
  const uuid = build.instance.text('uuid');
  const vifs = (await Promise.allSettled(networks)).flatMap((one) =>
    one.status === 'fulfilled' ? one.value : [],
  );
  try {
    await shutDown(host, build, {
      devices: [],
      requests: build.networks.requests,
      keepsPorts: vifs.length > 0,
    });
  } catch (err) {
    host.log.warn('a failed build was not cleaned up; it is not tried elsewhere', {
      instance: uuid,
      error: describeChain(err),
    });
    if (isNovaError(cause, 'InstanceNotFound', 'UnexpectedDeletingTaskStateError')) return;
    throw buildAbort(uuid, describeChain(cause), cause);
  }
}

async function unclaim(host: ComputeHost, build: BuildRequest): Promise<void> {
  try {
    await host.tracker.abort(build.context, build.instance);
  } catch (err) {
    if (isNovaError(err, 'InstanceNotFound')) return;
    host.log.warn('a claim was not taken back', {
      instance: build.instance.text('uuid'),
      error: describeChain(err),
    });
  }
}

/** Files the user sent along. */
function decodeFiles(build: BuildRequest): readonly DriveFile[] {
  return build.injectedFiles.map((file) => {
    const [path, content]: unknown[] = Array.isArray(file) ? file : [];
    const text = typeof content === 'string' ? content.replace(/\s+/g, '') : null;
    if (typeof path !== 'string' || text === null || !BASE64.test(text)) {
      const which = typeof path === 'string' ? path : 'without a path';
      throw buildAbort(build.instance.text('uuid'), `the injected file ${which} is not base64`);
    }
    return { path, content: Buffer.from(text, 'base64') };
  });
}

function isTrue(value: unknown): boolean {
  return value === true || (typeof value === 'string' && /^(?:true|1|yes|on|t|y)$/i.test(value));
}
