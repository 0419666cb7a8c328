/** Guests of Nova as containers of the REST daemon. */
import type { ComputeOptions } from '../../config/options/compute.ts';
import type { Log } from '../../process/log.ts';
import { notImplemented } from '../rpc/nova-error.ts';
import type { LxdClient } from './client.ts';
import type { Guests } from './guest-types.ts';

export interface GuestsParts {
  readonly client: LxdClient;
  readonly options: ComputeOptions;
  readonly log: Log;
}

export function createGuests(parts: GuestsParts): Guests {
  const later = (): Promise<never> => {
    parts.log.debug('a step of a guest is not there yet');
    return Promise.reject(notImplemented());
  };
  return {
    list: later,
    power: later,
    spawn: later,
    destroy: later,
    powerOn: later,
    powerOff: later,
    reboot: later,
    pause: later,
    unpause: later,
    suspend: later,
    resume: later,
    rescue: later,
    unrescue: later,
    attachInterface: later,
    detachInterface: later,
    rename: later,
    consoleLog: later,
    serialConsole: later,
    setPassword: later,
    diagnostics: later,
    capacity: later,
    close: () => Promise.resolve(),
  };
}
