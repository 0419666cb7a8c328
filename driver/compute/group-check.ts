/**
 * The policy of a server group, looked at once more on the host: two members
 * may have been scheduled at the same time.
 */
import { Lanes } from '../../process/lanes.ts';
import type { NovaObject } from '../nova/versioned-object.ts';
import type { RpcContext } from '../rpc/envelope.ts';
import { isNovaError, novaError } from '../rpc/nova-error.ts';
import type { Json } from '../rpc/json.ts';
import type { ComputeHost } from './host.ts';

/** One check at a time for each group. */
const lanes = new Lanes();

type Host = Pick<ComputeHost, 'conductor' | 'name' | 'options' | 'tracker'>;

/** NovaError GroupAffinityViolation when this instance may not be here. Call it after the claim: it counts. */
export async function checkGroup(
  host: Host,
  context: RpcContext,
  instance: NovaObject,
  hints: Json,
): Promise<void> {
  if (host.options.workarounds.disable_group_policy_check_upcall) return;
  const hint: unknown = Array.isArray(hints['group']) ? hints['group'][0] : hints['group'];
  if (typeof hint !== 'string' || hint === '') return;
  const found = await groupByHint(host, context, hint);
  if (found === null) return;
  const policy = found.textOrNull('policy');
  const uuid = instance.text('uuid');
  if (policy !== 'anti-affinity' && policy !== 'affinity') return;
  await lanes.run(found.text('uuid'), async () => {
    const isBroken =
      policy === 'affinity'
        ? await isApart(host, context, found, uuid)
        : await isCrowded(host, context, found.text('uuid'), uuid);
    if (!isBroken) return;
    const name = policy === 'affinity' ? 'Affinity' : 'Anti-affinity';
    throw novaError('GroupAffinityViolation', { instance_uuid: uuid, policy: name });
  });
}

async function groupByHint(host: Host, context: RpcContext, hint: string): Promise<NovaObject | null> {
  try {
    return await host.conductor.classObjectOrNull(context, {
      object: 'InstanceGroup',
      method: 'get_by_hint',
      args: [hint],
    });
  } catch (err) {
    if (isNovaError(err, 'InstanceGroupNotFound')) return null;
    throw err;
  }
}

/** True when other members are on other hosts and none is here. */
async function isApart(host: Host, context: RpcContext, group: NovaObject, uuid: string): Promise<boolean> {
  const hosts = await host.conductor.objectCall(context, group, {
    method: 'get_hosts',
    kwargs: { exclude: [uuid] },
  });
  return Array.isArray(hosts) && hosts.length > 0 && !hosts.includes(host.name);
}

/** True when as many other members are here, or on their way here, as the group allows. */
async function isCrowded(host: Host, context: RpcContext, group: string, uuid: string): Promise<boolean> {
  const { conductor, name, tracker } = host;
  const [here, coming, fresh] = await Promise.all([
    conductor.classCall(context, { object: 'InstanceList', method: 'get_uuids_by_host', args: [name] }),
    conductor.classList(context, {
      object: 'MigrationList',
      method: 'get_in_progress_by_host_and_node',
      args: [name, tracker.node.name],
    }),
    // Members may have come while this check waited for another one.
    conductor.classObject(context, { object: 'InstanceGroup', method: 'get_by_uuid', args: [group] }),
  ]);
  const taken = new Set<unknown>([
    ...(Array.isArray(here) ? here : []),
    ...coming.map((migration) => migration.text('instance_uuid')),
  ]);
  const members: unknown = fresh.get('members');
  const others = (Array.isArray(members) ? members : []).filter(
    (member) => member !== uuid && taken.has(member),
  );
  return others.length >= mostPerHost(fresh);
}

function mostPerHost(group: NovaObject): number {
  const rules: unknown = group.get('rules');
  if (typeof rules !== 'object' || rules === null) return 1;
  // A number in Nova's object, a text in its database.
  const most = Number(Reflect.get(rules, 'max_server_per_host') ?? 1);
  return Number.isInteger(most) && most > 0 ? most : 1;
}
