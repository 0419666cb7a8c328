/**
 * Serves one topic: the queues `<topic>`, `<topic>.<host>` and the fanout.
 *
 * A message is acknowledged before it is worked on, as oslo.messaging does:
 * a request that was begun must never come again. What a crash loses is put
 * right at the next start (by whoever builds on this), not by redelivery.
 */
import type { ConsumeMessage } from 'amqplib';
import { describeChain, isFault } from '../../process/fault.ts';
import type { Log } from '../../process/log.ts';
import { bodyOf } from './body.ts';
import { KeptChannel, type OpenChannel } from './channel.ts';
import type { BrokerConnection } from './connection.ts';
import { declareQueue } from './declare.ts';
import {
  idOf,
  openEnvelope,
  readRequest,
  replyAddress,
  type ReplyAddress,
  type RpcRequest,
} from './envelope.ts';
import { dispatchError } from './failures.ts';
import type { Gate } from './gate.ts';
import { textOrNull, type Json } from './json.ts';
import { answered } from './leaderless.ts';
import { NovaError } from './nova-error.ts';
import { quietly } from './quietly.ts';
import type { Outcome, Replies } from './replies.ts';
import type { TopologySettings } from './settings.ts';
import { fanoutQueue, topicQueue, type Queue } from './topology.ts';
import { SeenIds, type QueueNames } from './unique-id.ts';

/** Does what a request asks for. What it throws is the failure the caller gets. */
export type RpcHandler = (request: RpcRequest) => Promise<unknown>;

/** A table of methods for one namespace and one major version; every minor version is accepted. */
export interface Endpoint {
  readonly namespace: string | null;
  readonly major: number;
  readonly methods: ReadonlyMap<string, RpcHandler>;
  /** For methods that are not in the table; without it they fail with NoSuchMethod. */
  readonly otherwise?: RpcHandler;
  /** Methods that wait for no place: others wait inside for what they bring. */
  readonly unlimited?: ReadonlySet<string>;
}

export interface ServerParts {
  readonly connection: BrokerConnection;
  readonly topology: TopologySettings;
  readonly names: QueueNames;
  readonly replies: Replies;
  readonly gate: Gate;
  readonly log: Log;
}

export interface ServerAddress {
  readonly topic: string;
  readonly host: string;
}

const NO_METHOD = /^_/;

export class RpcServer {
  private readonly parts: ServerParts;
  private readonly endpoints: readonly Endpoint[];
  private readonly log: Log;
  private readonly kept: KeptChannel;
  private readonly queues: readonly Queue[];
  private readonly seen = new SeenIds();
  private readonly working = new Set<Promise<void>>();
  /** Consumers by their queue. */
  private readonly tags = new Map<Queue, string>();
  /** Offset of the last message of the fanout stream. */
  private offset: number | null = null;
  private isStopping = false;
  /** When draining: what is still taken. */
  private lastMethods: ReadonlySet<string> | null = null;

  constructor(parts: ServerParts, address: ServerAddress, endpoints: readonly Endpoint[]) {
    this.parts = parts;
    this.endpoints = endpoints;
    this.log = parts.log.with({ topic: address.topic });
    const { topology, names, connection } = parts;
    this.queues = [
      topicQueue(topology, address.topic),
      topicQueue(topology, `${address.topic}.${address.host}`),
      fanoutQueue(topology, address.topic, names()),
    ];
    this.kept = new KeptChannel({ connection, log: this.log, setup: (open) => this.consume(open) });
  }

  /** Resolves when all three queues are consumed from. */
  async start(signal?: AbortSignal): Promise<void> {
    await this.kept.get(signal);
  }

  /** Requests that are being worked on. */
  get busy(): number {
    return this.working.size;
  }

  /**
   * Takes only these methods of this host from now on: those that work under
   * way waits for. Other requests are left to the broker, for the next start.
   */
  async drain(methods: ReadonlySet<string>): Promise<void> {
    this.lastMethods = methods;
    const open = this.kept.now;
    if (open === null) return;
    const own = this.queues[1];
    for (const [queue, tag] of [...this.tags]) {
      if (queue === own) continue;
      this.tags.delete(queue);
      await quietly(open.channel.cancel(tag));
    }
  }

  /**
   * Takes no more requests, waits up to `graceMs` for those under way and
   * removes the queues of this process. Resolves with the number still under way.
   */
  async stop(graceMs: number): Promise<number> {
    this.isStopping = true;
    const open = this.kept.now;
    if (open !== null) {
      for (const tag of this.tags.values()) await quietly(open.channel.cancel(tag));
    }
    await this.settled(graceMs);
    if (open !== null) {
      for (const queue of this.queues) {
        if (queue.own) await quietly(open.channel.deleteQueue(queue.name));
      }
    }
    await this.kept.close();
    return this.working.size;
  }

  /** Resolves when no request is worked on, or after so long. */
  async settled(graceMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, graceMs);
    });
    const done = async () => {
      while (this.working.size > 0) await Promise.all(this.working);
    };
    await Promise.race([done(), deadline]);
    clearTimeout(timer);
  }

  private async consume(open: OpenChannel): Promise<void> {
    const { prefetch } = this.parts.topology;
    if (prefetch > 0) await open.channel.prefetch(prefetch);
    this.tags.clear();
    for (const queue of this.queues) await answered(queue, this.subscribe(open, queue));
    if (this.isStopping) throw new Error('the server is being stopped');
    this.log.info('requests are taken', { queues: this.queues.map((queue) => queue.name) });
  }

  private async subscribe(open: OpenChannel, queue: Queue): Promise<void> {
    await declareQueue(open.model, queue, this.log);
    const consumer = await open.channel.consume(
      queue.name,
      (message) => {
        this.take(open, queue, message);
      },
      { noAck: false, arguments: { ...queue.consumerArgs, ...this.streamOffset(queue) } },
    );
    this.tags.set(queue, consumer.consumerTag);
  }

  private streamOffset(queue: Queue): Record<string, unknown> {
    if (!queue.stream) return {};
    // Differs: oslo.messaging begins with "last" and so repeats what came before the start.
    return { 'x-stream-offset': this.offset === null ? 'next' : this.offset + 1 };
  }

  /** A message of the broker; null when it cancelled the consumer. */
  private take(open: OpenChannel, queue: Queue, message: ConsumeMessage | null): void {
    if (message === null) {
      this.kept.rebuild(open, 'a consumer was cancelled by the broker');
      return;
    }
    // Not acknowledged: it goes back to the queue when the channel is closed.
    if (this.lastMethods !== null && !this.lastMethods.has(methodOf(message))) return;
    try {
      open.channel.ack(message);
    } catch (err) {
      // The channel has gone: the message comes again on the next one.
      this.log.debug('a message could not be acknowledged', { error: describeChain(err) });
      return;
    }
    if (queue.stream) this.noteOffset(message);
    this.begin(message);
  }

  private noteOffset(message: ConsumeMessage): void {
    const headers: unknown = message.properties.headers;
    // amqplib types headers by the names it knows; a stream adds one.
    const offset = Number((headers as Json | undefined)?.['x-stream-offset']);
    if (Number.isSafeInteger(offset)) this.offset = offset;
  }

  private begin(packed: ConsumeMessage): void {
    let message: Json;
    try {
      message = openEnvelope(bodyOf(packed));
    } catch (err) {
      this.log.warn('a message is dropped', { bytes: packed.content.length, error: describeChain(err) });
      return;
    }
    const id = idOf(message);
    if (id !== null && !this.seen.add(id)) {
      this.log.warn('a message came twice', { unique_id: id });
      return;
    }
    const work = this.work(message);
    this.working.add(work);
    void work.finally(() => this.working.delete(work));
  }

  private async work(message: Json): Promise<void> {
    const reply = replyAddress(message);
    const beats = reply === null ? null : this.startBeats(reply);
    const outcome = await this.outcome(message);
    clearInterval(beats ?? undefined);
    if (reply !== null) await this.parts.replies.answer(reply, outcome);
  }

  private startBeats(reply: ReplyAddress): NodeJS.Timeout | null {
    if (reply.monitorS === null) return null;
    return setInterval(() => void this.parts.replies.beat(reply), (reply.monitorS * 1000) / 2);
  }

  private async outcome(message: Json): Promise<Outcome> {
    let request: RpcRequest | null = null;
    try {
      request = readRequest(message);
      return { result: await this.dispatch(request) };
    } catch (error) {
      this.logFailure(request, error);
      return { error };
    }
  }

  private dispatch(request: RpcRequest): Promise<unknown> {
    const { method, namespace, version } = request;
    const major = /^(\d+)\.\d+(\.\d+)?$/.exec(version)?.[1];
    const endpoint = this.endpoints.find(
      (each) => each.namespace === namespace && String(each.major) === major,
    );
    if (endpoint === undefined) {
      throw dispatchError(
        'UnsupportedVersion',
        `version ${version} of ${namespace ?? 'the null namespace'} is not served, method ${method}`,
      );
    }
    const handler = NO_METHOD.test(method) ? undefined : (endpoint.methods.get(method) ?? endpoint.otherwise);
    if (handler === undefined) throw dispatchError('NoSuchMethod', `there is no method ${method}`);
    if (endpoint.unlimited?.has(method) === true) return handler(request);
    return this.parts.gate.run(() => handler(request));
  }

  private logFailure(request: RpcRequest | null, error: unknown): void {
    const facts = {
      method: request?.method ?? '',
      req_id: request?.requestId ?? '',
      error: describeChain(error),
    };
    if (request === null || error instanceof NovaError || isFault(error)) {
      this.log.warn('a request failed', facts);
      return;
    }
    this.log.error('a request failed for a reason nobody thought of', {
      ...facts,
      stack: error instanceof Error ? (error.stack ?? '') : '',
    });
  }
}

/** '' for a message that names no method. */
function methodOf(message: ConsumeMessage): string {
  try {
    return textOrNull(openEnvelope(bodyOf(message))['method']) ?? '';
  } catch {
    return '';
  }
}
