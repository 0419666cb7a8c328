/** Allocations that instances left behind on this host's provider: a delete that was cut off. */
import type { Log } from '../../process/log.ts';
import type { CallContext } from '../cloud/call-context.ts';
import type { Placement } from '../cloud/placement.ts';
import type { Conductor } from '../nova/conductor.ts';
import { withDeleted } from '../nova/context.ts';
import { getInstance } from '../nova/instances.ts';
import type { RpcContext } from '../rpc/envelope.ts';
import { isNovaError } from '../rpc/nova-error.ts';
import type { NodeNames } from './node-fields.ts';

interface StrayParts {
  readonly conductor: Conductor;
  readonly placement: Placement;
  readonly names: NodeNames;
  readonly log: Log;
}

interface Seen {
  readonly context: RpcContext;
  readonly call: CallContext;
  /** Uuid of the resource provider. */
  readonly node: string;
  /** Consumers that are right: tracked instances, migrations under way. */
  readonly known: ReadonlySet<string>;
}

/**
 * Deletes the allocations of instances that are deleted. Those of instances
 * nobody knows stay (a scheduler may be ahead of the database), and so do
 * those of instances on other hosts, which are told about.
 */
export async function dropStrayAllocations(parts: StrayParts, seen: Seen): Promise<void> {
  const { conductor, placement, names, log } = parts;
  const allocations = await placement.providerAllocations(seen.call, seen.node);
  for (const consumer of allocations.keys()) {
    if (seen.known.has(consumer)) continue;
    const instance = await getInstance(conductor, withDeleted(seen.context), consumer).catch(
      (err: unknown) => {
        if (isNovaError(err, 'InstanceNotFound')) return null;
        throw err;
      },
    );
    if (instance === null) continue;
    const host = instance.textOrNull('host');
    if (instance.flag('deleted')) {
      await placement.deleteAllocations(seen.call, consumer);
      log.info('allocation of a deleted instance removed', { instance: consumer });
    } else if (host !== null && host !== names.host) {
      log.warn('an instance of another host has an allocation here', { instance: consumer, host });
    }
  }
}
