/** Rescue: the instance boots another root, and finds its own one inside. */
import { describeChain } from '../../process/fault.ts';
import { textOrNull } from '../cloud/json.ts';
import type { NetworkInfo } from '../cloud/vif.ts';
import { readInstance } from '../lxd/nova-instance.ts';
import { isTakenOver } from '../nova/instances.ts';
import { novaError } from '../rpc/nova-error.ts';
import { generatePassword } from './admin-password.ts';
import { ensureImage, makeDrive } from './guest-parts.ts';
import type { ComputeHost } from './host.ts';
import type { Work } from './method.ts';
import { notifyInstance } from './notifications.ts';
import { failed, flagArg, loadWhole, orError, powerOff, settle } from './outcome.ts';

export async function rescueInstance(host: ComputeHost, work: Work): Promise<void> {
  const { context, instance } = work;
  const uuid = instance.text('uuid');
  await loadWhole(host, work);
  const vifs = await host.networks.refresh(context, instance);
  notifyInstance(host, context, instance, 'rescue', 'start');
  try {
    await bootRescue(host, work, vifs);
  } catch (err) {
    if (isTakenOver(err)) throw err;
    await failed(host, work, err);
    const reason = `Driver Error: ${describeChain(err)}`;
    throw novaError('InstanceNotRescuable', { instance_id: uuid, reason }, { cause: err });
  }
  notifyInstance(host, context, instance, 'exists', null);
  instance.set('launched_at', new Date());
  await settle(host, work, 'rescued', ['rescuing']);
  notifyInstance(host, context, instance, 'rescue', 'end');
}

async function bootRescue(host: ComputeHost, work: Work, vifs: NetworkInfo): Promise<void> {
  const { call, instance, args } = work;
  const nova = readInstance(instance.toPrimitive());
  const given = textOrNull(args['rescue_password']) ?? '';
  const password = given === '' ? generatePassword(host.options.DEFAULT.password_length) : given;
  // Differs: Nova turns the instance off before it looks at the image.
  const image = await host.cloud.glance.show(call, rescueImage(work));
  const fingerprint = await ensureImage(host, call, image, nova.flavor);
  await powerOff(host, work, flagArg(work, 'clean_shutdown', true));
  const drive = makeDrive(host, instance, nova, { vifs, adminPassword: password, files: [] });
  await host.guests.rescue(call, { instance: nova, fingerprint, vifs, drive, password });
}

/** The one that was named, else the one a snapshot was made from, else the instance's own. */
function rescueImage({ instance, args }: Work): string {
  const base = instance.texts('system_metadata')['image_base_image_ref'] ?? '';
  const named = textOrNull(args['rescue_image_ref']) ?? '';
  const own = instance.textOrNull('image_ref') ?? '';
  const found = [named, base, own].find((ref) => ref !== '');
  if (found !== undefined) return found;
  throw novaError('InstanceNotRescuable', {
    instance_id: instance.text('uuid'),
    reason: 'it has no image, and none was named',
  });
}

export async function unrescueInstance(host: ComputeHost, work: Work): Promise<void> {
  const { context, call, instance } = work;
  await host.networks.refresh(context, instance);
  notifyInstance(host, context, instance, 'unrescue', 'start');
  await orError(host, work, 'active', () => host.guests.unrescue(call, instance.text('uuid')));
  await settle(host, work, 'active', ['unrescuing']);
  notifyInstance(host, context, instance, 'unrescue', 'end');
}
