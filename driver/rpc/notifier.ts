/**
 * Notifications: events told to whoever reads the queues `<topic>.<priority>`.
 * They are optional; nothing waits for them and nothing fails with them.
 */
import { randomUUID } from 'node:crypto';
import { describeChain } from '../../process/fault.ts';
import type { Log } from '../../process/log.ts';
import type { MESSAGING_OPTIONS } from '../../config/options/messaging.ts';
import type { ValuesOf } from '../../config/options/option.ts';
import { contextKeys, sealEnvelope, type RpcContext } from './envelope.ts';
import type { Json } from './json.ts';
import type { Publisher } from './publisher.ts';
import type { TopologySettings } from './settings.ts';
import { controlExchange, topicQueue } from './topology.ts';
import { uniqueId } from './unique-id.ts';

type Options = ValuesOf<typeof MESSAGING_OPTIONS>;

export type Priority = 'debug' | 'info' | 'warn' | 'error' | 'critical' | 'audit' | 'sample';

export interface NotifierSettings {
  /** Empty: nothing is sent. */
  readonly drivers: readonly ('messaging' | 'messagingv2')[];
  /** Topics of legacy notifications; empty when they are not asked for. */
  readonly topics: readonly string[];
  readonly versionedTopics: readonly string[];
  readonly defaultPriority: Priority;
}

export function notifierSettings(options: Options): NotifierSettings {
  const { notification_format: format, versioned_notifications_topics: versioned } = options.notifications;
  const drivers = options.oslo_messaging_notifications.driver.filter(
    (name) => name === 'messaging' || name === 'messagingv2',
  );
  return {
    drivers: [...new Set(drivers)],
    topics: format === 'versioned' ? [] : options.oslo_messaging_notifications.topics,
    versionedTopics: format === 'unversioned' ? [] : versioned,
    defaultPriority: options.notifications.default_level,
  };
}

export interface NotifierParts {
  readonly publisher: Publisher;
  readonly topology: TopologySettings;
  readonly host: string;
  readonly log: Log;
}

/** What of a context goes out: readers of notifications get no token and no catalogue. */
const SAFE_KEYS: ReadonlySet<string> = new Set([
  'user_id',
  'project_id',
  'user',
  'project',
  'tenant',
  'domain',
  'user_domain',
  'project_domain',
  'domain_id',
  'user_domain_id',
  'project_domain_id',
  'domain_name',
  'user_domain_name',
  'project_domain_name',
  'user_name',
  'project_name',
  'system_scope',
  'is_admin',
  'is_admin_project',
  'read_only',
  'show_deleted',
  'resource_uuid',
  'roles',
  'user_identity',
  'request_id',
  'global_request_id',
  'timestamp',
]);

export class Notifier {
  private readonly settings: NotifierSettings;
  private readonly parts: NotifierParts;
  private readonly sending = new Set<Promise<unknown>>();

  constructor(settings: NotifierSettings, parts: NotifierParts) {
    this.settings = settings;
    this.parts = parts;
  }

  /** False when nobody asked for them: payloads need not be made. */
  get sendsLegacy(): boolean {
    return this.settings.drivers.length > 0 && this.settings.topics.length > 0;
  }

  get sendsVersioned(): boolean {
    return this.settings.drivers.length > 0 && this.settings.versionedTopics.length > 0;
  }

  /** `compute.instance.create.start` and its like; the payload is a flat object. */
  legacy(context: RpcContext, eventType: string, payload: Json, priority?: Priority): void {
    if (!this.sendsLegacy) return;
    const publisherId = `compute.${this.parts.host}`;
    this.send(this.settings.topics, { context, eventType, payload, priority, publisherId });
  }

  /** `instance.create.start` and its like; the payload is the primitive of a versioned object. */
  versioned(context: RpcContext, eventType: string, payload: Json, priority?: Priority): void {
    if (!this.sendsVersioned) return;
    const publisherId = `nova-compute:${this.parts.host}`;
    this.send(this.settings.versionedTopics, { context, eventType, payload, priority, publisherId });
  }

  /** Waits for those that are on their way. */
  async settled(): Promise<void> {
    await Promise.all(this.sending);
  }

  private send(topics: readonly string[], event: Event): void {
    const priority = event.priority ?? this.settings.defaultPriority;
    const message = {
      message_id: randomUUID(),
      publisher_id: event.publisherId,
      event_type: event.eventType,
      priority: priority.toUpperCase(),
      payload: event.payload,
      timestamp: pythonTime(new Date()),
    };
    for (const driver of this.settings.drivers) {
      for (const topic of topics) {
        const full = { ...message, _unique_id: uniqueId(), ...contextKeys(safe(event.context)) };
        const body = driver === 'messagingv2' ? sealEnvelope(full) : Buffer.from(JSON.stringify(full));
        this.publish(`${topic}.${priority}`, body, event.eventType);
      }
    }
  }

  private publish(name: string, body: Buffer, eventType: string): void {
    const { publisher, topology, log } = this.parts;
    const queue = topicQueue(topology, name);
    const work = publisher
      .publish({ exchange: controlExchange(topology), key: name, body, queue })
      .catch((err: unknown) => {
        log.warn('a notification was not sent', { event_type: eventType, error: describeChain(err) });
      })
      .finally(() => this.sending.delete(work));
    this.sending.add(work);
  }
}

interface Event {
  readonly context: RpcContext;
  readonly eventType: string;
  readonly payload: Json;
  readonly priority: Priority | undefined;
  readonly publisherId: string;
}

function safe(context: RpcContext): RpcContext {
  return Object.fromEntries(Object.entries(context).filter(([key]) => SAFE_KEYS.has(key)));
}

/** `YYYY-MM-DD HH:MM:SS.ffffff`, UTC. */
function pythonTime(at: Date): string {
  return `${at.toISOString().slice(0, -1).replace('T', ' ')}000`;
}
