/**
 * Publishes with confirms, over whatever connection there is: a message whose
 * confirm did not come is sent again on the next one. The same body goes out,
 * so the receiver knows a repeat by its _unique_id.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ConfirmChannel, Message } from 'amqplib';
import { describeChain, Fault } from '../../process/fault.ts';
import type { Log } from '../../process/log.ts';
import { KeptChannel, type OpenChannel } from './channel.ts';
import type { BrokerConnection } from './connection.ts';
import { declareExchange, declareQueue } from './declare.ts';
import type { Exchange, Queue } from './topology.ts';

export interface Publication {
  /** null: the default exchange, where the key is the name of a queue. */
  readonly exchange: Exchange | null;
  readonly key: string;
  readonly body: Buffer;
  /** Be told when no queue takes it. */
  readonly mandatory?: boolean;
  readonly expirationMs?: number;
  /** Declared before the message is sent, so that it is kept until somebody reads it. */
  readonly queue?: Queue;
}

/** `returned`: it was mandatory and no queue took it. */
export type Fate = 'routed' | 'returned';

interface Pending {
  readonly publication: Publication;
  isReturned: boolean;
}

interface Line {
  readonly channel: ConfirmChannel;
  /** Names declared on this connection. */
  readonly declared: Map<string, Promise<void>>;
  readonly pending: Set<Pending>;
  /** What the broker said when it closed the channel. */
  broke: unknown;
}

/** A message that costs a channel each time is not sent for ever. */
const MOST_REFUSALS = 4;
const AGAIN_MS = 100;

export class Publisher {
  private readonly kept: KeptChannel;
  private readonly log: Log;
  private readonly lines = new WeakMap<ConfirmChannel, Line>();

  constructor(connection: BrokerConnection, log: Log) {
    this.log = log;
    this.kept = new KeptChannel({ connection, log, setup: (open) => this.prepare(open) });
  }

  start(): void {
    this.kept.start();
  }

  /**
   * Resolves when the broker has the message. Waits for a connection as long
   * as the signal lets it. Fault unavailable when the publisher is closed or
   * the broker refuses the message itself.
   */
  async publish(publication: Publication, signal?: AbortSignal): Promise<Fate> {
    let model: unknown = null;
    for (let refusals = 0; ;) {
      const open = await this.kept.get(signal);
      const line = this.lines.get(open.channel);
      if (line === undefined) throw new Error('every channel is prepared');
      try {
        await this.declare(open, line, publication);
        return await send(line, publication);
      } catch (err) {
        signal?.throwIfAborted();
        // A lost connection says nothing about the message; a second failure on the same one does.
        refusals = model === open.model ? refusals + 1 : 0;
        model = open.model;
        if (refusals >= MOST_REFUSALS) {
          throw new Fault('unavailable', `publish to "${publication.key}"`, { cause: line.broke ?? err });
        }
        this.log.debug('a message is sent again', { key: publication.key, error: describeChain(err) });
        await sleep(AGAIN_MS, undefined, signal === undefined ? {} : { signal });
      }
    }
  }

  async close(): Promise<void> {
    await this.kept.close();
  }

  private prepare(open: OpenChannel): Promise<void> {
    const { channel } = open;
    const line: Line = { channel, declared: new Map(), pending: new Set(), broke: null };
    this.lines.set(channel, line);
    channel.on('error', (err) => {
      line.broke = err;
    });
    channel.on('return', (message) => {
      markReturned(line, message);
    });
    return Promise.resolve();
  }

  private async declare(open: OpenChannel, line: Line, publication: Publication): Promise<void> {
    const { exchange, queue } = publication;
    if (queue !== undefined) {
      await once(line, `queue ${queue.name}`, () => declareQueue(open.model, queue, this.log));
    } else if (exchange !== null) {
      await once(line, `exchange ${exchange.name}`, () => declareExchange(open.model, exchange, this.log));
    }
  }
}

function once(line: Line, what: string, declare: () => Promise<void>): Promise<void> {
  const known = line.declared.get(what);
  if (known !== undefined) return known;
  const mine = declare();
  line.declared.set(what, mine);
  mine.catch(() => line.declared.delete(what));
  return mine;
}

function send(line: Line, publication: Publication): Promise<Fate> {
  const { exchange, key, body, mandatory, expirationMs } = publication;
  const pending: Pending = { publication, isReturned: false };
  line.pending.add(pending);
  return new Promise<Fate>((resolve, reject) => {
    const options = {
      contentType: 'application/json',
      contentEncoding: 'utf-8',
      deliveryMode: 2,
      priority: 0,
      headers: {},
      mandatory: mandatory ?? false,
      ...(expirationMs === undefined ? {} : { expiration: String(Math.max(1, Math.round(expirationMs))) }),
    };
    line.channel.publish(exchange?.name ?? '', key, body, options, (err: unknown) => {
      if (err === null || err === undefined) resolve(pending.isReturned ? 'returned' : 'routed');
      else reject(err instanceof Error ? err : new Error('the broker did not take the message'));
    });
  }).finally(() => line.pending.delete(pending));
}

/** A return comes before the confirm of its message and names no message: bodies are compared. */
function markReturned(line: Line, message: Message): void {
  for (const pending of line.pending) {
    const { publication } = pending;
    if (pending.isReturned || publication.key !== message.fields.routingKey) continue;
    if (!publication.body.equals(message.content)) continue;
    pending.isReturned = true;
    return;
  }
}
