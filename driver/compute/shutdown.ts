/** The end of a guest on this host: its container, its ports, its volumes. For deletes and for builds that failed. */
import { describeChain } from '../../process/fault.ts';
import { saveInstance } from '../nova/instances.ts';
import type { NovaObject } from '../nova/versioned-object.ts';
import { isNovaError } from '../rpc/nova-error.ts';
import { isVolume } from './block-devices.ts';
import type { ComputeHost } from './host.ts';
import type { Work } from './method.ts';
import { notifyInstance } from './notifications.ts';

export interface ShutDown {
  readonly devices: readonly NovaObject[];
  /** Primitive of NetworkRequestList of a build; null for others. */
  readonly requests: unknown;
  readonly keepsPorts: boolean;
}

/** Harmless when there is nothing. A guest that cannot be powered off keeps its ports. */
export async function shutDown(host: ComputeHost, work: Work, what: ShutDown): Promise<void> {
  const { context, instance } = work;
  const uuid = instance.text('uuid');
  notifyInstance(host, context, instance, 'shutdown', 'start');
  const release = async (): Promise<void> => {
    if (!what.keepsPorts) await releasePorts(host, work, what.requests);
  };
  try {
    // Without a signal: what was given up must be cleaned up all the same.
    await host.guests.destroy({ requestId: work.call.requestId }, uuid);
  } catch (err) {
    if (!isNovaError(err, 'InstancePowerOffFailure')) await release();
    throw err;
  }
  await release();
  await releaseVolumes(host, work, what.devices);
  notifyInstance(host, context, instance, 'shutdown', 'end');
}

/** After a failure the instance is in error, and the failure is thrown. */
async function releasePorts(host: ComputeHost, work: Work, requests: unknown): Promise<void> {
  const { context, instance } = work;
  try {
    await host.networks.deallocate(context, instance, requests);
  } catch (err) {
    host.log.error('ports of an instance were not released', {
      instance: instance.text('uuid'),
      error: describeChain(err),
    });
    instance.set('vm_state', 'error');
    await saveInstance(host.conductor, context, instance);
    throw err;
  }
}

/** Gives the volumes of an instance back to their owner; what fails is only logged, as in Nova. */
export async function releaseVolumes(
  host: ComputeHost,
  work: Work,
  devices: readonly NovaObject[],
): Promise<void> {
  for (const device of devices.filter(isVolume)) {
    const attachment = device.textOrNull('attachment_id');
    const volume = device.textOrNull('volume_id');
    try {
      if (attachment !== null) await host.cloud.cinder.deleteAttachment(work.call, attachment);
      if (volume !== null && device.flag('delete_on_termination')) {
        await host.cloud.cinder.delete(work.call, volume);
      }
    } catch (err) {
      host.log.warn('a volume was not released', {
        instance: work.instance.text('uuid'),
        volume: volume ?? '',
        error: describeChain(err),
      });
    }
  }
}
