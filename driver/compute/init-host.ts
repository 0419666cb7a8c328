/** What is done about every instance of this host before the service takes requests. */
import { describeChain } from '../../process/fault.ts';
import { serviceContext, type CallContext } from '../cloud/call-context.ts';
import { adminContext } from '../nova/context.ts';
import { instancesOfHost, saveInstance } from '../nova/instances.ts';
import type { NovaObject } from '../nova/versioned-object.ts';
import type { RpcContext } from '../rpc/envelope.ts';
import type { Json } from '../rpc/json.ts';
import { novaError } from '../rpc/nova-error.ts';
import type { RpcHandler } from '../rpc/server.ts';
import { requestIdOf } from '../nova/context.ts';
import { buildMethods } from './build.ts';
import { failInterruptedBuilds, finishEvacuations } from './init-moves.ts';
import { POWER, type ComputeHost, type PowerState } from './host.ts';
import { lifeMethods } from './life.ts';
import { setError } from './method.ts';
import { noteFault } from './outcome.ts';
import { callOwn } from './own-requests.ts';
import { powerMethods } from './power.ts';
import { mustAskIfBegun, recoveryOf, type Recovery } from './recovery-rules.ts';
import { wasBegun } from './was-begun.ts';

/** Recoveries at a time: a guest may take its time to end. */
const AT_A_TIME = 8;

/**
 * Puts right what an end of the service, of the daemon or of the host left in
 * the middle. To be awaited before requests are taken; what fails for one
 * instance is logged and written down for it. Fault unavailable when the
 * daemon or conductor does not answer.
 */
export async function initHost(host: ComputeHost, context: RpcContext = adminContext()): Promise<void> {
  const call = serviceContext(requestIdOf(context), host.signal);
  const instances = await instancesOfHost(host.conductor, context, host.name, [
    'info_cache',
    'metadata',
    'numa_topology',
  ]);
  const guests = await host.guests.list(call);
  const powers = new Map(guests.map((guest) => [guest.uuid, guest.power]));
  const evacuated = await finishEvacuations(host, context, {
    guests: [...powers.keys()],
    mine: instances.map((one) => one.text('uuid')),
  });
  const mine = instances.filter((one) => !evacuated.has(one.text('uuid')));
  const recovery = new HostRecovery(host, context, powers);
  const waiting = [...mine];
  const work = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) await recovery.recover(next);
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, work));
  await failInterruptedBuilds(
    host,
    context,
    new Set([...evacuated, ...instances.map((one) => one.text('uuid'))]),
  );
}

class HostRecovery {
  private readonly host: ComputeHost;
  private readonly context: RpcContext;
  private readonly call: CallContext;
  private readonly powers: ReadonlyMap<string, PowerState>;
  private readonly methods: ReadonlyMap<string, RpcHandler>;

  constructor(host: ComputeHost, context: RpcContext, powers: ReadonlyMap<string, PowerState>) {
    this.host = host;
    this.context = context;
    this.call = serviceContext(requestIdOf(context), host.signal);
    this.powers = powers;
    this.methods = new Map([...buildMethods(host), ...powerMethods(host), ...lifeMethods(host)]);
  }

  /** Never rejects: one instance must not keep the host from starting. */
  async recover(instance: NovaObject): Promise<void> {
    const { host } = this;
    const facts = {
      instance: instance.text('uuid'),
      vm_state: instance.text('vm_state'),
      task_state: instance.textOrNull('task_state') ?? '',
    };
    if (instance.textOrNull('host') !== host.name) {
      host.log.warn('an instance belongs to another host; it is left alone', facts);
      return;
    }
    try {
      const recovery = await this.choose(instance);
      if (recovery.kind === 'leave') return;
      host.log.warn('an instance was left in the middle', { ...facts, recovery: recovery.kind });
      await this.carryOut(instance, recovery);
    } catch (err) {
      host.log.error('an instance was not recovered', { ...facts, error: describeChain(err) });
    }
  }

  private async choose(instance: NovaObject): Promise<Recovery> {
    const taskState = instance.textOrNull('task_state');
    const { host, context } = this;
    return recoveryOf({
      vmState: instance.text('vm_state'),
      taskState,
      power: this.powers.get(instance.text('uuid')) ?? POWER.noState,
      savedPower: instance.numberOrNull('power_state'),
      isBegun: !mustAskIfBegun(taskState) || (await wasBegun(host, context, instance.text('uuid'))),
      resumes: host.options.DEFAULT.resume_guests_state_on_host_boot,
    });
  }

  private async carryOut(instance: NovaObject, recovery: Recovery): Promise<void> {
    const { host, context } = this;
    switch (recovery.kind) {
      case 'leave':
        return;
      case 'fail':
        if (recovery.endsRescue === true) await this.endRescue(instance.text('uuid'));
        await this.fail(instance, this.interrupted(instance));
        return;
      case 'clear':
        if (recovery.vmState !== undefined) instance.set('vm_state', recovery.vmState);
        instance.set('task_state', null);
        await saveInstance(host.conductor, context, instance);
        if (recovery.starts) await this.start(instance);
        return;
      case 'start':
        await this.start(instance);
        return;
      case 'repeat':
        await this.repeat(recovery.method, { instance });
        return;
      case 'reboot':
        await this.reboot(instance, recovery.type);
        return;
      case 'delete':
        await this.delete(instance);
    }
  }

  /** What fails here must not keep the instance in its task. */
  private async endRescue(uuid: string): Promise<void> {
    await this.host.guests.cancelRescue(this.call, uuid).catch((err: unknown) => {
      this.host.log.error('a rescue was not taken back', { instance: uuid, error: describeChain(err) });
    });
  }

  private async reboot(instance: NovaObject, type: 'SOFT' | 'HARD'): Promise<void> {
    const { host, context } = this;
    // A soft reboot that got as far as ending the guest goes on as a hard one.
    if (type === 'HARD' && !instance.text('task_state').endsWith('_hard')) {
      instance.set('task_state', 'reboot_pending_hard');
      await saveInstance(host.conductor, context, instance);
    }
    await this.repeat('reboot_instance', { instance, block_device_info: null, reboot_type: type });
  }

  private async delete(instance: NovaObject): Promise<void> {
    const bdms = await this.host.conductor.classObject(this.context, {
      object: 'BlockDeviceMappingList',
      method: 'get_by_instance_uuid',
      args: [instance.text('uuid')],
    });
    await this.repeat('terminate_instance', { instance, bdms });
  }

  /** Links and namespaces went with the host: the container gets its interfaces anew. */
  private async start(instance: NovaObject): Promise<void> {
    const { host, context, call } = this;
    try {
      const vifs = await host.networks.cached(context, instance);
      await host.guests.powerOn(call, instance.text('uuid'), vifs);
    } catch (err) {
      await this.fail(instance, err);
      throw err;
    }
  }

  /** Differs: Nova sets the state only; here the owner also reads why. */
  private async fail(instance: NovaObject, why: unknown): Promise<void> {
    await noteFault(this.host, { context: this.context, instance }, why);
    await setError(this.host, this.context, instance, true);
  }

  private interrupted(instance: NovaObject): Error {
    const task = instance.textOrNull('task_state') ?? instance.text('vm_state');
    return novaError(
      'NovaException',
      {},
      { message: `The compute service of host ${this.host.name} ended while the instance was ${task}.` },
    );
  }

  /** As if the message had come again. */
  private async repeat(method: string, args: Json): Promise<void> {
    const handler = this.methods.get(method);
    if (handler === undefined) throw new Error(`there is no method ${method}`);
    await callOwn(handler, this.context, method, args);
  }
}
