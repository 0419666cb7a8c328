/**
 * Sends replies. They are mandatory: a caller that reconnects has no queue for
 * a moment, so an unroutable reply is tried again for a while; a queue that
 * stays away is remembered, and replies to it are dropped at once.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { describeChain } from '../../process/fault.ts';
import type { Log } from '../../process/log.ts';
import { sealEnvelope, writeReply, type ReplyAddress } from './envelope.ts';
import { writeFailure } from './failures.ts';
import type { Publisher } from './publisher.ts';

const AGAIN_MS = 250;
const DEAD_MS = 60_000;
const MOST_DEAD = 200;

export type Outcome = { readonly result: unknown } | { readonly error: unknown };

export class Replies {
  private readonly publisher: Publisher;
  private readonly log: Log;
  private readonly missingMs: number;
  /** Queue -> time until which it counts as gone. */
  private readonly dead = new Map<string, number>();

  constructor(publisher: Publisher, missingMs: number, log: Log) {
    this.publisher = publisher;
    this.missingMs = missingMs;
    this.log = log;
  }

  /** The one answer to a call. Never throws: what cannot be sent is logged. */
  async answer(to: ReplyAddress, outcome: Outcome): Promise<void> {
    const facts = { msg_id: to.msgId, queue: to.queue };
    try {
      await this.deliver(to, this.body(to, outcome), this.missingMs);
    } catch (err) {
      this.log.warn('an answer was not sent', { ...facts, error: describeChain(err) });
    }
  }

  /** A sign of life for a caller that asked for it; one that is lost is followed by the next. */
  async beat(to: ReplyAddress): Promise<void> {
    const body = sealEnvelope(writeReply({ msgId: to.msgId, result: null, failure: null, ending: false }));
    try {
      await this.publisher.publish({ exchange: null, key: to.queue, body });
    } catch (err) {
      this.log.debug('a sign of life was not sent', { queue: to.queue, error: describeChain(err) });
    }
  }

  /** Built before anything is sent: a result that is no JSON becomes a failure. */
  private body(to: ReplyAddress, outcome: Outcome): Buffer {
    const reply = { msgId: to.msgId, ending: true };
    if ('error' in outcome) {
      return sealEnvelope(writeReply({ ...reply, result: null, failure: writeFailure(outcome.error) }));
    }
    try {
      return sealEnvelope(writeReply({ ...reply, result: outcome.result, failure: null }));
    } catch (cause) {
      this.log.error('a result cannot be written as JSON', { error: describeChain(cause) });
      return sealEnvelope(writeReply({ ...reply, result: null, failure: writeFailure(cause) }));
    }
  }

  private async deliver(to: ReplyAddress, body: Buffer, missingMs: number): Promise<void> {
    if (this.isDead(to.queue)) {
      this.log.info('an answer is dropped, its caller has gone', { msg_id: to.msgId, queue: to.queue });
      return;
    }
    let until: number | null = null;
    for (;;) {
      const fate = await this.publisher.publish({ exchange: null, key: to.queue, body, mandatory: true });
      if (fate === 'routed') {
        this.dead.delete(to.queue);
        return;
      }
      // Time without a connection does not count: the caller may be waiting for the same broker.
      until ??= Date.now() + missingMs;
      if (Date.now() >= until) break;
      await sleep(AGAIN_MS, undefined, { ref: false });
    }
    this.markDead(to.queue);
    this.log.warn('an answer is dropped, nobody reads the queue of its caller', {
      msg_id: to.msgId,
      queue: to.queue,
    });
  }

  private isDead(queue: string): boolean {
    const until = this.dead.get(queue);
    if (until === undefined) return false;
    if (Date.now() < until) return true;
    this.dead.delete(queue);
    return false;
  }

  private markDead(queue: string): void {
    this.dead.set(queue, Date.now() + DEAD_MS);
    const oldest = this.dead.keys().next();
    if (this.dead.size > MOST_DEAD && oldest.done !== true) this.dead.delete(oldest.value);
  }
}
