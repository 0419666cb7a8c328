/** Deletion that can be taken back: the instance is off until it is reclaimed. */
import type { ComputeHost } from './host.ts';
import type { Work } from './method.ts';
import { notifyInstance } from './notifications.ts';
import { powerOff, settle } from './outcome.ts';

export async function softDeleteInstance(host: ComputeHost, work: Work): Promise<void> {
  const { context, instance } = work;
  notifyInstance(host, context, instance, 'soft_delete', 'start');
  // As Nova: without a driver of its own for this it is turned off by force.
  await powerOff(host, work, false);
  await settle(host, work, 'soft-delete', ['soft-deleting']);
  notifyInstance(host, context, instance, 'soft_delete', 'end');
}

export async function restoreInstance(host: ComputeHost, work: Work): Promise<void> {
  const { context, call, instance } = work;
  notifyInstance(host, context, instance, 'restore', 'start');
  const vifs = await host.networks.refresh(context, instance);
  await host.guests.powerOn(call, instance.text('uuid'), vifs);
  await settle(host, work, 'active', ['restoring']);
  notifyInstance(host, context, instance, 'restore', 'end');
}
