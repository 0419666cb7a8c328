/** Notifications about instances, as nova-compute sends them: `compute.instance.<event>.<phase>` and `instance.<event>.<phase>`. */
import { describeChain } from '../../process/fault.ts';
import { Lanes } from '../../process/lanes.ts';
import { readContextCatalog } from '../cloud/catalog.ts';
import { instanceName } from '../lxd/nova-instance.ts';
import { loadFields } from '../nova/instances.ts';
import type { NovaObject } from '../nova/versioned-object.ts';
import type { RpcContext } from '../rpc/envelope.ts';
import { asNovaError } from '../rpc/failures.ts';
import type { Json } from '../rpc/json.ts';
import type { ComputeHost } from './host.ts';
import {
  legacyPayload,
  versionedPayload,
  type HostWords,
  type InstanceEvent,
} from './notification-payloads.ts';

export type Phase = 'start' | 'end' | 'error';

type Host = Pick<ComputeHost, 'notifier' | 'conductor' | 'options' | 'log'>;

/** What payloads are made of and instances may come without. */
const FIELDS = ['flavor', 'info_cache', 'system_metadata', 'metadata'];
/** Nova tells of these in its versioned notifications alone, or in the flat ones alone. */
const VERSIONED_ONLY = new Set(['interface_attach', 'interface_detach']);
const LEGACY_ONLY = new Set(['create_ip', 'delete_ip']);

/** In the order they were told for one instance, though fields may have to be read for some. */
const lanes = new Lanes();

/** Tells whoever listens; costs nothing when nobody does, and never fails. */
export function notifyInstance(
  host: Host,
  context: RpcContext,
  instance: NovaObject,
  event: string,
  phase: Phase | null,
  err?: unknown,
): void {
  notify(host, context, { instance, event, phase, err });
}

export interface Told {
  readonly instance: NovaObject;
  readonly event: string;
  readonly phase: Phase | null;
  readonly err?: unknown;
  /** What the flat kind has beside the instance. */
  readonly more?: Json;
}

/** notifyInstance() with more to say. */
export function notify(host: Host, context: RpcContext, what: Told): void {
  const { notifier, log } = host;
  if (!notifier.sendsLegacy && !notifier.sendsVersioned) return;
  const { event, phase, err, more = {} } = what;
  const failure = err === undefined ? null : asNovaError(err);
  // As it is now: the work goes on.
  const told = { event, phase, context, instance: what.instance.clone(), failure, at: new Date() };
  const uuid = what.instance.text('uuid');
  void lanes.run(uuid, async () => {
    try {
      await send(host, told, more);
    } catch (cause) {
      log.warn('a notification was not sent', { instance: uuid, event, error: describeChain(cause) });
    }
  });
}

/** Waits for those that are being made. */
export function notificationsSettled(): Promise<void> {
  return lanes.settled();
}

async function send(host: Host, told: InstanceEvent, more: Json): Promise<void> {
  const { notifier, conductor } = host;
  const { event, phase, context, instance } = told;
  await loadFields(conductor, context, instance, FIELDS);
  const type = phase === null ? event : `${event}.${phase}`;
  const words = wordsOf(host, told);
  const priority = phase === 'error' ? 'error' : 'info';
  if (!VERSIONED_ONLY.has(event)) {
    notifier.legacy(context, `compute.instance.${type}`, legacyPayload(told, words, more), priority);
  }
  if (!LEGACY_ONLY.has(event)) {
    notifier.versioned(context, `instance.${type}`, versionedPayload(told, words), priority);
  }
}

function wordsOf(host: Host, told: InstanceEvent): HostWords {
  const { context, instance } = told;
  const { instance_name_template: template } = host.options.DEFAULT;
  const { endpoint_override: override } = host.options.glance;
  const catalog = readContextCatalog(context['service_catalog']).filter((one) => one.serviceType === 'image');
  const found = catalog.find((one) => one.interface === 'internal') ?? catalog[0];
  const url = override === '' ? (found?.url ?? '') : override;
  const id = instance.numberOrNull('id');
  return {
    glance: url === '' ? null : url.replace(/\/+$/, ''),
    name: id === null ? '' : instanceName(template, { id, uuid: instance.text('uuid') }),
  };
}
