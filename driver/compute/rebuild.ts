/**
 * Rebuild: the same instance with a new root, the same ports and the same
 * place. An evacuation is a rebuild on another host, here.
 */
import { describeChain, Fault } from '../../process/fault.ts';
import { textOrNull } from '../cloud/json.ts';
import type { Image } from '../cloud/glance.ts';
import { checkImage } from '../cloud/image-format.ts';
import type { NetworkInfo } from '../cloud/vif.ts';
import { readInstance } from '../lxd/nova-instance.ts';
import { saveInstance } from '../nova/instances.ts';
import { NovaObject } from '../nova/versioned-object.ts';
import { isRecord } from '../rpc/json.ts';
import { isNovaError, notImplemented, novaError } from '../rpc/nova-error.ts';
import { isVolume } from './block-devices.ts';
import { deviceList } from './build-request.ts';
import { ensureImage, makeDrive, spawnGuest, type DriveFile } from './guest-parts.ts';
import { beginEvacuation, closeEvacuation, failEvacuation } from './evacuation.ts';
import { POWER, type ComputeHost } from './host.ts';
import type { Work } from './method.ts';
import { notifyInstance } from './notifications.ts';
import { flagArg, loadWhole, orError, powerOff, settle } from './outcome.ts';
import { stop } from './power.ts';

interface Rebuild {
  readonly work: Work;
  readonly image: Image;
  readonly files: readonly DriveFile[];
  readonly password: string | null;
  /** From another host to this one; else it is rebuilt where it is. */
  readonly isEvacuation: boolean;
}

export async function rebuildInstance(host: ComputeHost, work: Work): Promise<void> {
  const { context, instance, args } = work;
  const before = instance.text('vm_state');
  const isEvacuation = flagArg(work, 'recreate', false);
  const migration = migrationOf(args['migration']);
  // One in place that is refused leaves the instance what it was.
  const inPlace = isEvacuation ? null : await orOldImage(work, () => prepare(host, work, false));
  await orError(host, work, before, async () => {
    try {
      if (isEvacuation) await beginEvacuation(host, work, migration);
      // Whatever fails must fail the migration too: the other host removes its guest for one that is open.
      const rebuild = inPlace ?? (await prepare(host, work, isEvacuation));
      await orGone(host, rebuild, async () => {
        await rebuildAs(host, rebuild, endState(work, before));
        await savePlace(host, work);
      });
      await host.conductor.objectCall(context, instance, { method: 'drop_migration_context' });
      await host.tracker.note(context, instance);
    } catch (err) {
      notifyInstance(host, context, instance, 'rebuild', 'error', err);
      await failEvacuation(host, work, migration, isEvacuation);
      // Somebody deletes it: that goes on, and this is no failure.
      if (!isNovaError(err, 'InstanceNotFound', 'UnexpectedDeletingTaskStateError')) throw err;
      host.log.info('an instance was deleted while it was rebuilt', { instance: instance.text('uuid') });
      return;
    }
    if (migration !== null) await closeEvacuation(host, work, migration);
  });
}

async function prepare(host: ComputeHost, work: Work, isEvacuation: boolean): Promise<Rebuild> {
  await loadWhole(host, work);
  refuse(work);
  const image = await imageOf(host, work);
  return { work, image, files: filesOf(work), password: textOrNull(work.args['new_pass']), isEvacuation };
}

/** An instance that does not come to this host leaves no guest here. */
async function orGone(
  host: ComputeHost,
  { work, isEvacuation }: Rebuild,
  run: () => Promise<void>,
): Promise<void> {
  try {
    await run();
  } catch (err) {
    if (isEvacuation) {
      const uuid = work.instance.text('uuid');
      await host.guests.destroy(work.call, uuid).catch((failure: unknown) => {
        host.log.warn('the guest of an evacuation was not removed', {
          instance: uuid,
          error: describeChain(failure),
        });
      });
    }
    throw err;
  }
}

/** What cannot be done is refused while the guest is still there. */
function refuse(work: Work): void {
  if (flagArg(work, 'preserve_ephemeral', false)) throw novaError('PreserveEphemeralNotSupported');
  if (deviceList(work.args['bdms']).some(isVolume) || (work.instance.textOrNull('image_ref') ?? '') === '') {
    throw notImplemented('An instance with volumes cannot be rebuilt here.');
  }
}

/** An evacuation comes without one: it does not change. */
async function imageOf(host: ComputeHost, { call, instance, args }: Work): Promise<Image> {
  const ref = textOrNull(args['image_ref']) ?? '';
  const image = await host.cloud.glance.show(call, ref === '' ? instance.text('image_ref') : ref);
  checkImage(image, readInstance(instance.toPrimitive()).flavor);
  return image;
}

function migrationOf(value: unknown): NovaObject | null {
  return isRecord(value) ? NovaObject.of(value) : null;
}

/** Later controllers say what an evacuated instance shall be; else it is what it was. */
function endState({ args }: Work, before: string): string {
  const wanted = textOrNull(args['target_state']) ?? '';
  return wanted !== '' && before !== 'error' ? wanted : before;
}

function filesOf(work: Work): readonly DriveFile[] {
  const files = work.args['injected_files'];
  return (Array.isArray(files) ? files : []).map((file: unknown) => {
    const [path, content]: readonly unknown[] = Array.isArray(file) ? file : [];
    if (typeof path !== 'string' || typeof content !== 'string') {
      throw new Fault('bad_request', 'rebuild_instance: a file is not a path and its content');
    }
    return { path, content: Buffer.from(content, 'base64') };
  });
}

async function rebuildAs(host: ComputeHost, rebuild: Rebuild, target: string): Promise<void> {
  const { work } = rebuild;
  const { context, call, instance } = work;
  notifyInstance(host, context, instance, 'exists', null);
  notifyInstance(host, context, instance, 'rebuild', 'start');
  instance.set('power_state', await host.guests.power(call, instance.text('uuid')));
  await step(host, work, 'rebuilding', 'rebuilding');
  const vifs = rebuild.isEvacuation
    ? await host.networks.rebind(context, instance)
    : await host.networks.cached(context, instance);
  await makeAnew(host, rebuild, vifs);
  instance.set('launched_at', new Date());
  await settle(host, work, 'active', ['rebuild_spawning']);
  if (target === 'stopped') await stopAgain(host, work);
  notifyInstance(host, context, instance, 'rebuild', 'end');
}

async function makeAnew(host: ComputeHost, rebuild: Rebuild, vifs: NetworkInfo): Promise<void> {
  const { work, image, files, password } = rebuild;
  const { call, instance } = work;
  const nova = readInstance(instance.toPrimitive());
  // Differs: Nova removes the old root before it knows that it gets a new one.
  const fingerprint = await fetchImage(host, work, image);
  if (!rebuild.isEvacuation) await removeOld(host, work);
  await step(host, work, 'rebuild_block_device_mapping', 'rebuilding');
  await step(host, work, 'rebuild_spawning', 'rebuild_block_device_mapping');
  const drive = makeDrive(host, instance, nova, { vifs, adminPassword: password, files });
  const request = { instance: nova, fingerprint, vifs, drive, start: true, adminPassword: password };
  await spawnGuest(host, call, request);
}

function fetchImage(host: ComputeHost, work: Work, image: Image): Promise<string> {
  const { call, instance } = work;
  return orOldImage(work, () => ensureImage(host, call, image, readInstance(instance.toPrimitive()).flavor));
}

/** What fails while the old root is there leaves the instance its old image, as after a failure of the scheduler. */
async function orOldImage<T>({ instance, args }: Work, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (err) {
    const { orig_image_ref: oldRef, orig_sys_metadata: oldMetadata } = args;
    if (typeof oldRef === 'string' && isTexts(oldMetadata)) {
      instance.set('image_ref', oldRef);
      instance.set('system_metadata', oldMetadata);
    }
    throw err;
  }
}

function isTexts(value: unknown): value is Record<string, string> {
  return isRecord(value) && Object.values(value).every((one) => typeof one === 'string');
}

async function removeOld(host: ComputeHost, work: Work): Promise<void> {
  const uuid = work.instance.text('uuid');
  // One that vanished is made anew like any other.
  if ((await host.guests.power(work.call, uuid)) !== POWER.noState) await powerOff(host, work, true);
  await host.guests.destroy(work.call, uuid);
}

async function step(host: ComputeHost, { context, instance }: Work, to: string, from: string): Promise<void> {
  instance.set('task_state', to);
  await saveInstance(host.conductor, context, instance, { taskState: [from] });
}

/** It was off before: as Nova, it is started and stopped, so that its ports are wired. */
async function stopAgain(host: ComputeHost, work: Work): Promise<void> {
  const { context, instance } = work;
  instance.set('vm_state', 'active');
  instance.set('task_state', 'powering-off');
  instance.set('progress', 0);
  await saveInstance(host.conductor, context, instance);
  await stop(host, work, false);
}

/** Saved also for an instance that stays where it is, as Nova does. */
async function savePlace(host: ComputeHost, work: Work): Promise<void> {
  const { context, instance, args } = work;
  instance.set('host', host.name);
  instance.set('node', textOrNull(args['scheduled_node']) ?? host.tracker.node.name);
  if (instance.has('compute_id')) instance.set('compute_id', host.tracker.node.id);
  await saveInstance(host.conductor, context, instance);
}
