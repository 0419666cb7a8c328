/**
 * Calls and casts to other services. One reply queue serves all calls of the
 * process; it is made at the first call and keeps its name through reconnects,
 * so an answer that comes meanwhile is not lost.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ConsumeMessage } from 'amqplib';
import { describeChain, Fault, isFault } from '../../process/fault.ts';
import type { Log } from '../../process/log.ts';
import { bodyOf } from './body.ts';
import { KeptChannel, type OpenChannel } from './channel.ts';
import type { BrokerConnection } from './connection.ts';
import { declareQueue } from './declare.ts';
import { idOf, openEnvelope, readReply, sealEnvelope, writeRequest, type Outgoing } from './envelope.ts';
import { readFailure } from './failures.ts';
import { answered, deleteByForce } from './leaderless.ts';
import type { Publisher } from './publisher.ts';
import { quietly } from './quietly.ts';
import type { TopologySettings } from './settings.ts';
import { controlExchange, fanoutExchange, replyQueue, type Queue } from './topology.ts';
import { SeenIds, uniqueId, type QueueNames } from './unique-id.ts';

export interface Target {
  readonly topic: string;
  /** null: any server of the topic. */
  readonly server?: string | null;
}

export interface CallOptions {
  /** How long to wait; without it the response timeout of the configuration. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface ClientParts {
  readonly connection: BrokerConnection;
  readonly publisher: Pick<Publisher, 'publish'>;
  readonly topology: TopologySettings;
  readonly names: QueueNames;
  readonly responseTimeoutMs: number;
  readonly log: Log;
}

const AGAIN_MS = 250;

interface Waiter {
  resolve(result: unknown): void;
  reject(err: unknown): void;
  /** The callee is alive. */
  beat(): void;
  result: unknown;
  failure: string | null;
}

export class RpcClient {
  private readonly parts: ClientParts;
  private readonly queue: Queue;
  private readonly kept: KeptChannel;
  private readonly waiters = new Map<string, Waiter>();
  private readonly seen = new SeenIds();
  private isClosing = false;

  constructor(parts: ClientParts) {
    this.parts = parts;
    this.queue = replyQueue(parts.topology, parts.names());
    this.kept = new KeptChannel({
      connection: parts.connection,
      log: parts.log,
      setup: (open) => this.consume(open),
    });
  }

  /**
   * Sends a request and resolves with its result. NovaError when the other
   * side failed, Fault timeout when it did not answer in time (it may still do
   * what was asked). A call that may take longer than the response timeout is
   * watched: it also ends when the other side gives no sign of life.
   */
  async call(target: Target, request: Outgoing, options: CallOptions = {}): Promise<unknown> {
    const { responseTimeoutMs } = this.parts;
    const timeoutMs = options.timeoutMs ?? responseTimeoutMs;
    const monitorMs = timeoutMs > responseTimeoutMs ? responseTimeoutMs : null;
    const msgId = uniqueId();
    const abort = new AbortController();
    const end = (reason: unknown) => {
      this.waiters.get(msgId)?.reject(reason);
      abort.abort(reason);
    };
    const late = () => {
      end(noAnswer(target, request));
    };
    const timer = setTimeout(late, timeoutMs);
    let monitor = monitorMs === null ? undefined : setTimeout(late, monitorMs);
    const onSignal = () => {
      end(options.signal?.reason);
    };
    options.signal?.addEventListener('abort', onSignal);
    try {
      const answer = new Promise<unknown>((resolve, reject) => {
        const beat = () => {
          clearTimeout(monitor);
          if (monitorMs !== null) monitor = setTimeout(late, monitorMs);
        };
        this.waiters.set(msgId, { resolve, reject, beat, result: null, failure: null });
      });
      if (options.signal?.aborted === true) onSignal();
      const monitorS = monitorMs === null ? null : Math.max(1, Math.round(monitorMs / 1000));
      const message = writeRequest(request, { msgId, queue: this.queue.name, monitorS });
      // The answer may be there before the confirm, and the time may be over before either.
      this.kept
        .get(abort.signal)
        .then(() => this.send(target, message, abort.signal, timeoutMs))
        .catch((err: unknown) => this.waiters.get(msgId)?.reject(err));
      return await answer;
    } finally {
      clearTimeout(timer);
      clearTimeout(monitor);
      options.signal?.removeEventListener('abort', onSignal);
      this.waiters.delete(msgId);
    }
  }

  /** Sends a request nobody answers. Resolves when the broker has it; waits for a broker as long as it takes. */
  async cast(target: Target, request: Outgoing, signal?: AbortSignal): Promise<void> {
    await this.send(target, writeRequest(request, null), signal);
  }

  /** A cast to every server of the topic. */
  async fanout(topic: string, request: Outgoing, signal?: AbortSignal): Promise<void> {
    const body = sealEnvelope(writeRequest(request, null));
    const exchange = fanoutExchange(this.parts.topology, topic);
    await this.parts.publisher.publish({ exchange, key: '', body }, signal);
  }

  /** Ends the calls that still wait with Fault unavailable. */
  async close(): Promise<void> {
    this.isClosing = true;
    for (const waiter of this.waiters.values()) {
      waiter.reject(new Fault('unavailable', 'wait for an answer: this service is being stopped'));
    }
    const open = this.kept.now;
    if (open !== null && this.queue.own) {
      await quietly(open.channel.deleteQueue(this.queue.name));
    }
    await this.kept.close();
  }

  /**
   * After a restart of the broker each service makes its queue when it comes
   * back itself. What was sent before that no queue took, and it is sent again.
   */
  private async send(
    target: Target,
    message: Record<string, unknown>,
    signal?: AbortSignal,
    expirationMs?: number,
  ): Promise<void> {
    const { topic, server } = target;
    const key = server === undefined || server === null ? topic : `${topic}.${server}`;
    const publication = {
      exchange: controlExchange(this.parts.topology),
      key,
      body: sealEnvelope(message),
      mandatory: true,
      ...(expirationMs === undefined ? {} : { expirationMs }),
    };
    let until: number | null = null;
    while ((await this.parts.publisher.publish(publication, signal)) === 'returned') {
      // Time without a connection does not count.
      until ??= Date.now() + this.parts.responseTimeoutMs;
      if (Date.now() >= until) {
        this.parts.log.warn('a request reached no service', { to: key });
        return;
      }
      await sleep(AGAIN_MS, undefined, signal === undefined ? {} : { signal });
    }
  }

  private async consume(open: OpenChannel): Promise<void> {
    const { prefetch } = this.parts.topology;
    if (prefetch > 0) await open.channel.prefetch(prefetch);
    try {
      await answered(this.queue, this.subscribe(open));
    } catch (err) {
      // It is ours alone, and answers that nobody can read are lost anyway.
      if (isFault(err, 'timeout')) await deleteByForce(open.model, this.queue);
      throw err;
    }
  }

  private async subscribe(open: OpenChannel): Promise<void> {
    await declareQueue(open.model, this.queue, this.parts.log);
    await open.channel.consume(
      this.queue.name,
      (message) => {
        this.take(open, message);
      },
      { noAck: false, arguments: this.queue.consumerArgs },
    );
  }

  private take(open: OpenChannel, message: ConsumeMessage | null): void {
    if (message === null) {
      if (this.isClosing) return;
      this.kept.rebuild(open, 'the consumer of replies was cancelled by the broker');
      return;
    }
    try {
      open.channel.ack(message);
      this.deliver(bodyOf(message));
    } catch (err) {
      this.parts.log.warn('a reply is dropped', { error: describeChain(err) });
    }
  }

  private deliver(content: Buffer): void {
    const message = openEnvelope(content);
    const id = idOf(message);
    if (id !== null && !this.seen.add(id)) return;
    const reply = readReply(message);
    const waiter = this.waiters.get(reply.msgId);
    if (waiter === undefined) {
      this.parts.log.info('a reply came that nobody waits for', { msg_id: reply.msgId });
      return;
    }
    waiter.beat();
    // Old peers send the result first and an empty end after it.
    if (reply.result !== null) waiter.result = reply.result;
    waiter.failure ??= reply.failure;
    if (!reply.ending) return;
    if (waiter.failure === null) waiter.resolve(waiter.result);
    else waiter.reject(readFailure(waiter.failure));
  }
}

function noAnswer(target: Target, request: Outgoing): Fault {
  const to =
    target.server === undefined || target.server === null ? target.topic : `${target.topic}.${target.server}`;
  return new Fault('timeout', `call ${request.method}: ${to} did not answer in time`, {
    facts: { method: request.method, to },
  });
}
