/**
 * Requests that never came. A broker that is started again, or a service that
 * has no queue for a moment, loses what is sent then; the instance would keep
 * the task that the API gave it, and the API would refuse everything else.
 *
 * Differs: with nova-compute such an instance hangs until the next start of it.
 */
import { describeChain } from '../../process/fault.ts';
import { adminContext } from '../nova/context.ts';
import { isTakenOver, saveInstance } from '../nova/instances.ts';
import type { NovaObject } from '../nova/versioned-object.ts';
import type { RpcContext } from '../rpc/envelope.ts';
import { isNovaError } from '../rpc/nova-error.ts';
import type { ComputeHost } from './host.ts';
import { OF_THE_API_ALONE } from './recovery-rules.ts';
import { byFilters } from './stale-instances.ts';
import { wasBegun } from './was-begun.ts';

/** Tasks whose message goes from the API straight to this host, and which leave the instance as it was. */
const TASKS = ['powering-off', 'powering-on', ...OF_THE_API_ALONE];

/** The owner may have done other things since. */
const ACTIONS = 10;

/** Each pass ends the tasks that it finds as the one before found them, and that nobody here began. */
export class LostRequests {
  private readonly host: ComputeHost;
  private seen: ReadonlyMap<string, string> = new Map();

  constructor(host: ComputeHost) {
    this.host = host;
  }

  async run(): Promise<void> {
    const { host } = this;
    const context = adminContext();
    const found = await byFilters(host, context, { host: host.name, task_state: TASKS, deleted: false });
    const before = this.seen;
    this.seen = new Map(found.map((one) => [one.text('uuid'), markOf(one)]));
    for (const instance of found) {
      const uuid = instance.text('uuid');
      if (before.get(uuid) !== markOf(instance) || host.lanes.isBusy(uuid)) continue;
      try {
        await host.lanes.run(uuid, () => this.end(context, instance));
      } catch (err) {
        if (isTakenOver(err) || isNovaError(err, 'InstanceNotFound')) continue;
        host.log.warn('a task whose request was lost was not ended', {
          instance: uuid,
          error: describeChain(err),
        });
      }
    }
  }

  private async end(context: RpcContext, instance: NovaObject): Promise<void> {
    const { host } = this;
    const uuid = instance.text('uuid');
    if (await wasBegun(host, context, uuid, ACTIONS)) return;
    const task = instance.text('task_state');
    host.log.warn('a request did not come: its task ends, and the owner may ask again', {
      instance: uuid,
      task_state: task,
    });
    instance.set('task_state', null);
    await saveInstance(host.conductor, context, instance, { taskState: [task] });
  }
}

function markOf(instance: NovaObject): string {
  return `${instance.text('task_state')} ${instance.dateOrNull('updated_at')?.toISOString() ?? ''}`;
}
