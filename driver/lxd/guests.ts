/**
 * Guests of Nova as containers of the REST daemon: the parts of it, put together.
 *
 * A guest is known by its marker, `user.nova.uuid`; what has none is neither
 * seen nor touched. While a guest is rescued the container of its name is the
 * rescuer, which has the marker then, and the guest itself waits under another
 * name. `boot.autostart` is off: whether a guest runs is Nova's affair.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ComputeOptions } from '../../config/options/compute.ts';
import type { Log } from '../../process/log.ts';
import { novaError } from '../rpc/nova-error.ts';
import { UUID_KEY, type Caller, type LxdClient } from './client.ts';
import { ConsoleBridge } from './console-bridge.ts';
import { guestError, failingAs } from './guest-faults.ts';
import { capacityOf, diagnosticsOf } from './guest-figures.ts';
import { diskFigures } from './guest-disks.ts';
import { GuestFinder } from './guest-finder.ts';
import { GuestLife } from './guest-life.ts';
import { GuestNics } from './guest-nics.ts';
import { powerOf } from './guest-power.ts';
import { GuestState } from './guest-state.ts';
import type { Capacity, Diagnostics, Guests } from './guest-types.ts';
import { setPassword } from './set-password.ts';

const PASSWORD_MS = 5000;

export interface GuestsParts {
  readonly client: LxdClient;
  readonly options: ComputeOptions;
  readonly log: Log;
}

export function createGuests({ client, options, log }: GuestsParts): Guests {
  const finder = new GuestFinder(client);
  const pool = options.slipway.storage_pool;
  const template = options.DEFAULT.instance_name_template;
  const consoles = new ConsoleBridge({ client, finder, log, options: options.serial_console });
  const closeConsole = (uuid: string): void => {
    consoles.closeOne(uuid);
  };
  const life = new GuestLife({ client, finder, log, pool, template, closeConsole });
  const state = new GuestState({ client, finder, log, pool, closeConsole });
  const nics = new GuestNics(client, finder);
  // A guest that is turned off as soon as it is there must have its password all the same; one that hangs has not.
  const passwordSet = (uuid: string): Promise<void> =>
    Promise.race([life.settled(uuid), sleep(PASSWORD_MS, undefined, { ref: false })]);
  return {
    list: async (caller) =>
      (await finder.all(caller)).map((one) => ({
        uuid: one.config[UUID_KEY] ?? '',
        name: one.name,
        power: powerOf(one),
      })),
    power: (caller, uuid) => state.power(caller, uuid),
    spawn: (caller, request) => life.spawn(caller, request),
    destroy: (caller, uuid) => life.destroy(caller, uuid),
    powerOn: (caller, uuid, vifs) => state.powerOn(caller, uuid, vifs),
    powerOff: async (caller, uuid, timeoutS) => {
      await passwordSet(uuid);
      await state.powerOff(caller, uuid, timeoutS);
    },
    reboot: async (caller, instance, how) => {
      await passwordSet(instance.uuid);
      await state.reboot(caller, instance, how);
    },
    pause: (caller, uuid) => state.pause(caller, uuid),
    unpause: (caller, uuid) => state.unpause(caller, uuid),
    suspend: (caller, uuid) => state.suspend(caller, uuid),
    resume: (caller, uuid) => state.resume(caller, uuid),
    rescue: (caller, request) => life.rescue(caller, request),
    unrescue: (caller, uuid) => life.unrescue(caller, uuid),
    cancelRescue: (caller, uuid) => life.cancelRescue(caller, uuid),
    attachInterface: (caller, instance, vif) => nics.attach(caller, instance.uuid, vif),
    detachInterface: (caller, uuid, vif) => nics.detach(caller, uuid, vif),
    rename: (caller, uuid, displayName) => rename(client, finder, caller, uuid, displayName),
    consoleLog: async (caller, uuid) => {
      const { name } = await finder.find(caller, uuid);
      return failingAs('ConsoleNotAvailable', uuid, () => client.consoleLog(caller, name));
    },
    serialConsole: (caller, uuid) => consoles.open(caller, uuid),
    setPassword: async (caller, uuid, password) => {
      const found = await finder.find(caller, uuid);
      // Or the older one would win.
      await life.settled(uuid);
      await failingAs('InstancePasswordSetFailed', uuid, () => setPassword(client, caller, found, password));
    },
    diagnostics: (caller, uuid) => diagnostics(client, finder, caller, uuid),
    capacity: (caller) => capacity(client, caller, pool),
    close: async () => {
      await life.settled();
      await consoles.close();
    },
  };
}

/** Its name on the host is Nova's number for it and stays. */
async function rename(
  client: LxdClient,
  finder: GuestFinder,
  caller: Caller,
  uuid: string,
  displayName: string,
): Promise<void> {
  const { name } = await finder.find(caller, uuid);
  const body = { description: displayName, config: { 'user.nova.name': displayName } };
  await failingAs('NovaException', uuid, () => client.patch(caller, name, body));
}

async function diagnostics(
  client: LxdClient,
  finder: GuestFinder,
  caller: Caller,
  uuid: string,
): Promise<Diagnostics> {
  const found = await finder.find(caller, uuid);
  try {
    const [state, metrics] = await Promise.all([
      client.state(caller, found.name),
      client.metrics(caller, found.project),
    ]);
    return { ...diagnosticsOf(found, state, Date.now()), disks: diskFigures(metrics, found.name) };
  } catch (err) {
    throw guestError('NovaException', uuid, err);
  }
}

async function capacity(client: LxdClient, caller: Caller, pool: string): Promise<Capacity> {
  const [facts, space, info] = await Promise.all([
    client.resources(caller),
    client.poolSpace(caller, pool),
    client.server(caller),
  ]);
  const version = info.environment['driver_version'];
  if (typeof version !== 'string') {
    throw novaError('HypervisorUnavailable', { host: '' }, { message: 'the REST daemon tells no version' });
  }
  return capacityOf(facts, space, version);
}
