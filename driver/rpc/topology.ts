/**
 * The exchanges and queues of oslo.messaging, with the arguments it gives
 * them. Pure: no clock, no chance; names that need chance are passed in.
 */
import type { TopologySettings } from './settings.ts';

export interface Exchange {
  readonly name: string;
  readonly type: 'topic' | 'fanout';
  readonly durable: boolean;
  readonly autoDelete: boolean;
}

export interface Queue {
  readonly name: string;
  readonly durable: boolean;
  readonly autoDelete: boolean;
  readonly args: Readonly<Record<string, string | number>>;
  /** null: reached through the default exchange by its name. */
  readonly bind: { readonly exchange: Exchange; readonly key: string } | null;
  readonly consumerArgs: Readonly<Record<string, boolean>>;
  /** A stream is read by offset and never emptied. */
  readonly stream: boolean;
  /** Made for this process: removed when it ends in order. */
  readonly own: boolean;
}

/** The exchange all topics go through. */
export function controlExchange(t: TopologySettings): Exchange {
  return { name: t.exchange, type: 'topic', durable: t.durable, autoDelete: t.autoDelete };
}

export function fanoutExchange(t: TopologySettings, topic: string): Exchange {
  return {
    name: `${topic}_fanout`,
    type: 'fanout',
    durable: t.transientQuorum || t.streamFanout,
    autoDelete: true,
  };
}

/** `compute` or `compute.<host>`; also the queues of notifications. */
export function topicQueue(t: TopologySettings, name: string): Queue {
  return {
    name,
    durable: t.durable,
    autoDelete: t.autoDelete,
    args: queueArgs(t, t.quorum, 0),
    bind: { exchange: controlExchange(t), key: name },
    consumerArgs: consumerArgs(t),
    stream: false,
    own: false,
  };
}

/** `unique` is the part of the name that no other process has. */
export function fanoutQueue(t: TopologySettings, topic: string, unique: string): Queue {
  const stream = t.streamFanout;
  return {
    name: stream ? `${topic}_fanout` : `${topic}_fanout_${unique}`,
    durable: t.transientQuorum || stream,
    autoDelete: false,
    args: stream ? streamArgs(t) : queueArgs(t, t.transientQuorum, t.transientTtlS),
    bind: { exchange: fanoutExchange(t, topic), key: topic },
    consumerArgs: consumerArgs(t),
    stream,
    own: !stream && t.namedQueues === null,
  };
}

export function replyQueue(t: TopologySettings, unique: string): Queue {
  return {
    name: `reply_${unique}`,
    durable: t.transientQuorum,
    autoDelete: false,
    args: queueArgs(t, t.transientQuorum, t.transientTtlS),
    bind: null,
    consumerArgs: consumerArgs(t),
    stream: false,
    own: t.namedQueues === null,
  };
}

function queueArgs(t: TopologySettings, quorum: boolean, ttlS: number): Record<string, string | number> {
  const args: Record<string, string | number> = {};
  if (t.mirrored) args['x-ha-policy'] = 'all';
  if (quorum) {
    args['x-queue-type'] = 'quorum';
    if (t.limits.deliveries > 0) args['x-delivery-limit'] = t.limits.deliveries;
    if (t.limits.memoryLength > 0) args['x-max-in-memory-length'] = t.limits.memoryLength;
    if (t.limits.memoryBytes > 0) args['x-max-in-memory-bytes'] = t.limits.memoryBytes;
  }
  if (ttlS > 0) args['x-expires'] = ttlS * 1000;
  return args;
}

function streamArgs(t: TopologySettings): Record<string, string | number> {
  const args: Record<string, string | number> = { 'x-queue-type': 'stream' };
  if (t.transientTtlS > 0) args['x-max-age'] = `${String(t.transientTtlS)}s`;
  return args;
}

function consumerArgs(t: TopologySettings): Record<string, boolean> {
  return t.cancelOnFailover ? { 'x-cancel-on-ha-failover': true } : {};
}
