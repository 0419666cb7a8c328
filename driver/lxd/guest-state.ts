/** Starting, stopping and freezing of guests. Nothing here starts what Nova did not ask to start. */
import { describeChain, isFault } from '../../process/fault.ts';
import type { Log } from '../../process/log.ts';
import type { NetworkInfo } from '../cloud/vif.ts';
import type { Caller, LxdClient, LxdInstance, StateAction } from './client.ts';
import { failingAs } from './guest-faults.ts';
import type { GuestFinder } from './guest-finder.ts';
import { stopByForce } from './guest-life.ts';
import { SUSPENDED_KEY, isInDoubt, powerOf } from './guest-power.ts';
import { renewed, withNics } from './guest-spec.ts';
import { POWER, type PowerState, type RebootOptions } from './guest-types.ts';
import type { NovaInstance } from './nova-instance.ts';

export interface StateParts {
  readonly client: LxdClient;
  readonly finder: GuestFinder;
  readonly log: Log;
  readonly pool: string;
  readonly closeConsole: (uuid: string) => void;
}

export class GuestState {
  private readonly parts: StateParts;

  constructor(parts: StateParts) {
    this.parts = parts;
  }

  async power(caller: Caller, uuid: string): Promise<PowerState> {
    const found = await this.parts.finder.look(caller, uuid);
    return found === null ? POWER.noState : powerOf(found);
  }

  async powerOn(caller: Caller, uuid: string, vifs: NetworkInfo): Promise<void> {
    const found = await this.parts.finder.find(caller, uuid);
    await failingAs('InstancePowerOnFailure', uuid, () => this.start(caller, found, vifs));
  }

  async powerOff(caller: Caller, uuid: string, timeoutS: number): Promise<void> {
    const found = await this.parts.finder.find(caller, uuid);
    await failingAs('InstancePowerOffFailure', uuid, () => this.stop(caller, uuid, found, timeoutS));
  }

  async reboot(caller: Caller, instance: NovaInstance, options: RebootOptions): Promise<void> {
    const { client, finder, pool } = this.parts;
    const { uuid } = instance;
    const { hard, timeoutS, vifs } = options;
    const found = await finder.find(caller, uuid);
    await failingAs('InstanceRebootFailure', uuid, async () => {
      await this.stop(caller, uuid, found, hard ? 0 : timeoutS);
      if (!hard) {
        await this.start(caller, { ...found, status: 'Stopped' }, vifs);
        return;
      }
      await client.put(caller, found.name, renewed(found, instance, vifs, pool));
      await client.changeState(caller, found.name, { action: 'start' });
    });
  }

  async pause(caller: Caller, uuid: string): Promise<void> {
    const found = await this.parts.finder.find(caller, uuid);
    await failingAs('NovaException', uuid, () => this.freeze(caller, found, false));
  }

  async unpause(caller: Caller, uuid: string): Promise<void> {
    const found = await this.parts.finder.find(caller, uuid);
    await failingAs('NovaException', uuid, () => this.thaw(caller, found));
  }

  async suspend(caller: Caller, uuid: string): Promise<void> {
    const found = await this.parts.finder.find(caller, uuid);
    await failingAs('InstanceSuspendFailure', uuid, () => this.freeze(caller, found, true));
  }

  /** A guest that lost its frozen state, because the host was rebooted, boots. */
  async resume(caller: Caller, uuid: string): Promise<void> {
    const { client, finder } = this.parts;
    const found = await finder.find(caller, uuid);
    await failingAs('InstanceResumeFailure', uuid, async () => {
      if (powerOf(found) === POWER.shutdown)
        await client.changeState(caller, found.name, { action: 'start' });
      else await this.thaw(caller, found);
    });
  }

  private async start(caller: Caller, found: LxdInstance, vifs: NetworkInfo): Promise<void> {
    const { client } = this.parts;
    // Nobody can tell what it does; a start is a way out of that.
    if (isInDoubt(found)) await stopByForce(client, caller, found.name);
    else if (found.status !== 'Stopped') return;
    const definition = withNics(found, vifs);
    if (definition !== null) await client.put(caller, found.name, definition);
    await this.change(caller, found.name, 'start', 'Running');
  }

  private async stop(caller: Caller, uuid: string, found: LxdInstance, timeoutS: number): Promise<void> {
    const { client, log } = this.parts;
    if (found.status === 'Stopped') return;
    this.parts.closeConsole(uuid);
    if (timeoutS > 0 && !isInDoubt(found)) {
      try {
        await client.changeState(caller, found.name, { action: 'stop', timeoutS });
        return;
      } catch (err) {
        if (caller.signal?.aborted === true || isFault(err, 'unavailable')) throw err;
        log.info('a guest did not stop by itself and is stopped by force', {
          instance: uuid,
          error: describeChain(err),
        });
      }
    }
    await stopByForce(client, caller, found.name);
  }

  private async freeze(caller: Caller, found: LxdInstance, isSuspend: boolean): Promise<void> {
    const { client } = this.parts;
    const wanted = isSuspend ? 'true' : '';
    const isNoted = (found.config[SUSPENDED_KEY] ?? '') === wanted;
    // Before it is frozen, so that nobody takes one for the other in between.
    if (!isNoted) await client.patch(caller, found.name, { config: { [SUSPENDED_KEY]: wanted } });
    try {
      await this.change(caller, found.name, 'freeze', 'Frozen');
    } catch (err) {
      if (isSuspend) await this.unmark({ requestId: caller.requestId }, found.name);
      throw err;
    }
  }

  private async thaw(caller: Caller, found: LxdInstance): Promise<void> {
    await this.change(caller, found.name, 'unfreeze', 'Running');
    if (found.config[SUSPENDED_KEY] === 'true') await this.unmark(caller, found.name);
  }

  private async unmark(caller: Caller, name: string): Promise<void> {
    await this.parts.client.patch(caller, name, { config: { [SUSPENDED_KEY]: '' } });
  }

  /** Harmless when it is so already. */
  private async change(caller: Caller, name: string, action: StateAction, goal: string): Promise<void> {
    const { client } = this.parts;
    try {
      await client.changeState(caller, name, { action });
    } catch (err) {
      if (caller.signal?.aborted === true || isFault(err, 'unavailable')) throw err;
      if ((await client.instance(caller, name))?.status !== goal) throw err;
    }
  }
}
