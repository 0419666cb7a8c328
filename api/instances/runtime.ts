/**
 * The running side of instances behind one interface. The verbs are in the
 * files beside this one; here is only who calls what, and what a guest does on
 * its own: end, reboot, hang.
 */
import { Fault } from '../../process/fault.ts';
import { describeChain } from '../../process/fault.ts';
import type { Periodic } from '../../process/periodic.ts';
import type { InstanceRow } from '../db/rows.ts';
import { containerName } from '../paths.ts';
import { applyChanges, repinCpus } from './apply.ts';
import type { VolatileChanges } from './apply.ts';
import { freezeInstance, readFrozen, unfreezeInstance } from './freeze.ts';
import { instanceUrl } from './instance-url.ts';
import { cgroupSettings, refuseUnkept } from './limits.ts';
import { planNics } from './nics.ts';
import { instanceIdmap } from './root-plan.ts';
import { UNRESPONSIVE, unresponsive, watchMonitor } from './monitors.ts';
import type { Running } from './power.ts';
import type { RuntimeParts } from './runtime-parts.ts';
import { seccompPolicy } from './seccomp.ts';
import { forgetHostFiles, nicNames, startInstance } from './start.ts';
import { readStates } from './state.ts';
import { removeCgroups, settled, stopInstance, tidyUp } from './stop.ts';
import type { Expanded, InstanceStateWire, InstanceStatus, Runtime, StopOptions } from './types.ts';

export class LxcRuntime implements Runtime {
  private readonly parts: RuntimeParts;

  constructor(parts: RuntimeParts) {
    this.parts = parts;
  }

  status(id: string): InstanceStatus {
    return this.parts.powers.status(id);
  }

  initPid(id: string): number {
    return this.parts.powers.running(id)?.initPid ?? 0;
  }

  async start(id: string, signal: AbortSignal): Promise<void> {
    const state = this.parts.powers.state(id);
    if (state === 'Error')
      throw new Fault(
        'bad_request',
        'The instance is in an error state: its monitor does not answer; stop it with force first',
      );
    if (state !== 'Stopped') throw new Fault('bad_request', 'The instance is already running');
    await startInstance(this.parts, id, signal);
    await repinCpus(this.parts);
  }

  async stop(id: string, options: StopOptions, signal: AbortSignal): Promise<void> {
    await stopInstance(this.parts, id, options, signal);
    await this.afterStop(id);
  }

  async restart(id: string, options: StopOptions, signal: AbortSignal): Promise<void> {
    // An ephemeral instance survives its own restart: nothing is deleted in between.
    await stopInstance(this.parts, id, options, signal);
    await startInstance(this.parts, id, signal);
    await repinCpus(this.parts);
  }

  async freeze(id: string): Promise<void> {
    const state = this.parts.powers.state(id);
    if (state === 'Frozen') throw new Fault('bad_request', 'The instance is already frozen');
    await freezeInstance(this.parts, id);
  }

  async unfreeze(id: string): Promise<void> {
    const state = this.parts.powers.state(id);
    // What is in an error state is refused further down, with its own text.
    if (state !== 'Frozen' && state !== 'Error')
      throw new Fault('bad_request', 'The instance is already running');
    await unfreezeInstance(this.parts, id);
  }

  apply(before: Expanded, after: Expanded): Promise<VolatileChanges> {
    return applyChanges(this.parts, before, after);
  }

  validate(next: Expanded): void {
    refuseNetworkPriority(next);
    seccompPolicy(next.config);
    refuseUnkept(next.config, this.parts.host);
    cgroupSettings(next.config, this.parts.host);
    instanceIdmap(this.parts, next);
    planNics(next, (name) => this.parts.networks.managed(name), nicNames);
  }

  async state(id: string): Promise<InstanceStateWire> {
    await this.probe(id);
    const [state] = await readStates(this.parts, [id]);
    if (state === undefined) throw new Error('one state was asked for and none came');
    return state;
  }

  states(ids: readonly string[]): Promise<InstanceStateWire[]> {
    return readStates(this.parts, ids);
  }

  async forget(row: InstanceRow): Promise<void> {
    await this.parts.closeFiles(row.id);
    await removeCgroups(row.project, row.name);
    await forgetHostFiles(this.parts, row);
  }

  /** A container ended without being asked. Queued behind whatever its lane is doing. */
  ended(id: string): void {
    this.parts.lanes
      .run(id, async () => {
        if (this.parts.powers.state(id) === 'Stopped') return;
        const running = this.parts.powers.running(id);
        // Whoever had the lane before may have tidied up, and started it anew.
        if (running?.isWatched === true && !(await settled(running.gone))) return;
        await this.afterGuestEnd(id);
      })
      .catch((err: unknown) => {
        this.parts.log.error('tidying up after an ended container failed', { id, error: describeChain(err) });
      });
  }

  private async afterGuestEnd(id: string): Promise<void> {
    const row = this.parts.store.byId(id);
    const { reboot } = await tidyUp(this.parts, id);
    const source = instanceUrl(row);
    if (reboot) {
      await startInstance(this.parts, id, this.parts.signal);
      this.parts.events.lifecycle('instance-restarted', source, { project: row.project });
      await repinCpus(this.parts);
      return;
    }
    this.parts.events.lifecycle('instance-shutdown', source, { project: row.project });
    await this.afterStop(id);
  }

  private async afterStop(id: string): Promise<void> {
    await repinCpus(this.parts);
    if (this.parts.store.byId(id).ephemeral) await this.parts.deleteEphemeral(id);
  }

  /** Asks the monitor whether it still answers, and notes what it finds. Never throws for a silent one. */
  private async probe(id: string): Promise<void> {
    const state = this.parts.powers.state(id);
    const running = this.parts.powers.running(id);
    if (running === null || !['Running', 'Frozen', 'Error'].includes(state)) return;
    const row = this.parts.store.byId(id);
    const url = instanceUrl(row);
    const name = containerName(row.project, row.name);
    let found: Running | null = null;
    try {
      const monitor = this.parts.native.monitor(this.parts.paths.lxc, name);
      const answer = await monitor.state();
      if (answer === 'STOPPED') {
        // Nobody followed its monitor, or tidying up behind it has failed before.
        if (!this.parts.lanes.isBusy(id)) this.parts.onEnded(id);
        return;
      }
      if (!running.isWatched) found = await watchMonitor(this.parts, id, name, await monitor.initPid());
    } catch (err) {
      if (this.parts.powers.running(id) !== running) return; // it ended meanwhile
      if (this.parts.powers.state(id) === 'Error') return;
      this.parts.powers.send(id, 'monitor_silent');
      this.parts.log.error('monitor of an instance does not answer', { instance: row.name, error: err });
      await this.parts.warnings.raise(unresponsive(row));
      return;
    }
    const isStale = this.parts.powers.running(id) !== running;
    if (isStale || this.parts.powers.state(id) !== 'Error') {
      found?.close();
      return;
    }
    this.parts.powers.send(id, 'monitor_back', found ?? undefined);
    if (await readFrozen(this.parts.host, running.cgroup)) this.parts.powers.send(id, 'freeze_done');
    await this.parts.warnings.resolve(UNRESPONSIVE, url);
  }

  /** Finds wedged monitors that nobody asks about. */
  probing(): Periodic {
    return {
      name: 'probe monitors',
      everyMs: 20_000,
      run: async (signal) => {
        for (const id of this.parts.powers.runningIds()) {
          if (signal.aborted) return;
          await this.probe(id);
        }
      },
    };
  }
}

/** It needs the net_prio controller, which v2 does not have and no current distribution mounts. */
function refuseNetworkPriority(next: Expanded): void {
  const priority = next.config['limits.network.priority'] ?? '0';
  if (priority === '' || priority === '0') return;
  throw new Fault(
    'bad_request',
    'limits.network.priority cannot be kept: this host has no net_prio controller; use limits.ingress and limits.egress of the nic instead',
  );
}
