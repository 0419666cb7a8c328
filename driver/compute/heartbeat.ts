/** The signs of life of this host in Nova's database. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describeChain } from '../../process/fault.ts';
import type { Log } from '../../process/log.ts';
import { adminContext } from '../nova/context.ts';
import type { Conductor } from '../nova/conductor.ts';
import { beat } from '../nova/host-records.ts';
import type { NovaObject } from '../nova/versioned-object.ts';
import { isNovaError } from '../rpc/nova-error.ts';

export interface HeartbeatParts {
  readonly conductor: Conductor;
  readonly service: NovaObject;
  /** `report_interval`. */
  readonly everyMs: number;
  readonly log: Log;
  /** Called when the database answers again: the control plane may be another release now. */
  readonly onReturn: () => Promise<void>;
}

const FIRST_MS = 5000;

/** Beats until `signal` fires. A beat that fails is told once, and so is the first that succeeds again. */
export async function heartbeat(parts: HeartbeatParts, signal: AbortSignal): Promise<void> {
  let isLost = false;
  let waitMs = Math.min(FIRST_MS, parts.everyMs);
  for (;;) {
    await sleep(waitMs, undefined, { signal, ref: false }).catch(() => undefined);
    if (signal.aborted) return;
    const begun = Date.now();
    const isGood = await beatOnce(parts, isLost);
    if (isGood && isLost) {
      parts.log.info('this host is seen again');
      await parts.onReturn().catch((err: unknown) => {
        parts.log.warn('the version of this service was not checked', { error: describeChain(err) });
      });
    }
    isLost = !isGood;
    waitMs = Math.max(0, parts.everyMs - (Date.now() - begun));
  }
}

async function beatOnce(parts: HeartbeatParts, wasLost: boolean): Promise<boolean> {
  try {
    await beat(parts.conductor, adminContext(), parts.service);
    return true;
  } catch (err) {
    if (wasLost) return false;
    const error = describeChain(err);
    if (isNovaError(err, 'ServiceNotFound')) {
      // As nova-compute: it is not made again, whoever deleted it meant it.
      parts.log.error('the record of this service was deleted: start it again to register anew', { error });
    } else parts.log.warn('this host could not be reported as alive', { error });
    return false;
  }
}
