/**
 * Power states of containers and of Nova's database are held together: the
 * database learns what the guest did, and an instance that does what Nova did
 * not ask for is stopped by Nova's own means. Nothing is started here.
 */
import { describeChain } from '../../process/fault.ts';
import { followEvents, type LifecycleEvent } from '../lxd/events.ts';
import { adminContext } from '../nova/context.ts';
import { getInstance, saveInstance } from '../nova/instances.ts';
import type { NovaObject } from '../nova/versioned-object.ts';
import { serviceContext } from '../cloud/call-context.ts';
import type { RpcContext } from '../rpc/envelope.ts';
import { isNovaError } from '../rpc/nova-error.ts';
import { POWER, type ComputeHost, type PowerState } from './host.ts';
import { askSelf, DELETE, STOP } from './own-requests.ts';

export type SyncAction = 'none' | 'warn' | 'stop' | 'delete';

export interface SyncFacts {
  readonly vmState: string;
  /** What the guest really does. */
  readonly power: PowerState;
  readonly shutdownTerminates: boolean;
}

const ENDED: readonly PowerState[] = [POWER.shutdown, POWER.crashed];
const OFF: readonly PowerState[] = [POWER.noState, ...ENDED];

/** What is done about an instance whose guest is in another state than Nova thinks; Nova's rules. */
export function syncAction({ vmState, power, shutdownTerminates }: SyncFacts): SyncAction {
  switch (vmState) {
    case 'active':
      if (ENDED.includes(power)) return shutdownTerminates ? 'delete' : 'stop';
      if (power === POWER.suspended) return 'stop';
      return power === POWER.running ? 'none' : 'warn';
    case 'stopped':
      return OFF.includes(power) ? 'none' : 'stop';
    case 'paused':
      return ENDED.includes(power) ? 'stop' : 'none';
    case 'soft-delete':
    case 'deleted':
      return OFF.includes(power) ? 'none' : 'warn';
    default:
      return 'none';
  }
}

/** Every instance of the host that has no task. */
export async function syncPowerStates(host: ComputeHost): Promise<void> {
  const context = adminContext();
  const known = await host.conductor.classList(context, {
    object: 'InstanceList',
    method: 'get_by_host',
    args: [host.name],
    kwargs: { expected_attrs: [], use_slave: true },
  });
  // A daemon that does not answer says nothing about its containers: this must throw then.
  const guests = await host.guests.list(serviceContext(String(context['request_id']), host.signal));
  const powers = new Map(guests.map((guest) => [guest.uuid, guest.power]));
  await Promise.all(
    known.map((instance) => {
      const power = powers.get(instance.text('uuid')) ?? POWER.noState;
      // Differs: Nova reads every instance anew in each pass, also those that agree.
      if (instance.textOrNull('task_state') !== null || agrees(instance, power)) return Promise.resolve();
      return quietly(host, instance.text('uuid'), () => syncLocked(host, context, instance));
    }),
  );
}

function agrees(instance: NovaObject, power: PowerState): boolean {
  return instance.numberOrNull('power_state') === power && syncAction(factsOf(instance, power)) === 'none';
}

function factsOf(instance: NovaObject, power: PowerState): SyncFacts {
  return {
    vmState: instance.text('vm_state'),
    power,
    shutdownTerminates: instance.flag('shutdown_terminate'),
  };
}

/** The state is asked for in the lane: a method that was under way has written its own by then. */
function syncLocked(host: ComputeHost, context: RpcContext, instance: NovaObject): Promise<void> {
  return host.lanes.run(instance.text('uuid'), async () => {
    await host.conductor.objectCall(context, instance, { method: 'refresh', kwargs: { use_slave: true } });
    await sync(host, context, instance);
  });
}

/** The instance was just read, and the lane is its own. */
async function sync(host: ComputeHost, context: RpcContext, instance: NovaObject): Promise<void> {
  const uuid = instance.text('uuid');
  if (instance.textOrNull('host') !== host.name || instance.textOrNull('task_state') !== null) return;
  const power = await host.guests.power(serviceContext(String(context['request_id']), host.signal), uuid);
  const before = instance.numberOrNull('power_state');
  if (before !== power) {
    instance.set('power_state', power);
    await saveInstance(host.conductor, context, instance);
  }
  const action = syncAction(factsOf(instance, power));
  const facts = {
    instance: uuid,
    vm_state: instance.text('vm_state'),
    power_state: power,
    was: before ?? -1,
  };
  switch (action) {
    case 'none':
      return;
    case 'warn':
      host.log.warn('a guest is not as Nova thinks; it is left as it is', facts);
      return;
    case 'stop':
      host.log.warn('a guest is not as Nova thinks; the instance is stopped', facts);
      // Its own context: the action is found by the request id.
      await askSelf(host, adminContext(), instance, STOP);
      return;
    case 'delete':
      host.log.warn('a guest that is deleted when it ends has ended', facts);
      await askSelf(host, adminContext(), instance, DELETE);
  }
}

async function quietly(host: ComputeHost, uuid: string, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (err) {
    if (isNovaError(err, 'InstanceNotFound')) return;
    host.log.warn('a power state was not compared', { instance: uuid, error: describeChain(err) });
  }
}

const STARTS = ['instance-started', 'instance-restarted', 'instance-resumed', 'instance-paused'];
const STOPS = ['instance-stopped', 'instance-shutdown'];

/** A guest that reboots ends and starts: its end counts only when it has lasted this long. As libvirt's driver. */
const STOP_DELAY_MS = 15_000;

/**
 * Follows the daemon's events until `host.signal` fires; comes back by itself
 * when the daemon is started again.
 */
export async function watchPower(host: ComputeHost, stopDelayMs = STOP_DELAY_MS): Promise<void> {
  const held = new Map<string, NodeJS.Timeout>();
  let isFirst = true;
  const drop = (name: string) => {
    clearTimeout(held.get(name));
    held.delete(name);
  };
  const later = (name: string, run: () => Promise<void>) => {
    drop(name);
    const timer = setTimeout(() => {
      held.delete(name);
      void quietly(host, '', run);
    }, stopDelayMs);
    timer.unref();
    held.set(name, timer);
  };
  await followEvents({
    socketPath: host.options.slipway.socket,
    log: host.log,
    signal: host.signal,
    onConnect: () => {
      // The first time the periodic pass has just run, or runs in a moment. A daemon that was started again may not
      // have found all its guests yet.
      if (!isFirst) later('', () => syncPowerStates(host));
      isFirst = false;
    },
    onEvent: ({ action, name }: LifecycleEvent) => {
      const isStop = STOPS.includes(action);
      if (!isStop && !STARTS.includes(action)) return;
      drop(name);
      if (!isStop) {
        void quietly(host, '', () => syncByName(host, name, true));
        return;
      }
      later(name, () => syncByName(host, name, false));
    },
  });
  for (const name of [...held.keys()]) drop(name);
}

/** `skipsBusy`: work under way on the instance will write the state down itself. */
async function syncByName(host: ComputeHost, name: string, skipsBusy: boolean): Promise<void> {
  const context = adminContext();
  const caller = serviceContext(String(context['request_id']), host.signal);
  const guest = (await host.guests.list(caller)).find((one) => one.name === name);
  if (guest === undefined || (skipsBusy && host.lanes.isBusy(guest.uuid))) return;
  await host.lanes.run(guest.uuid, async () => {
    await sync(host, context, await getInstance(host.conductor, context, guest.uuid));
  });
}
