/**
 * Keeps one channel of a connection open, with everything `setup` puts on it
 * (declarations, consumers). amqplib brings neither back: not a channel that
 * the broker closed while the connection lives, not a consumer it cancelled.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ChannelModel, ConfirmChannel } from 'amqplib';
import { describeChain, Fault } from '../../process/fault.ts';
import type { Log } from '../../process/log.ts';
import type { BrokerConnection } from './connection.ts';
import { Current } from './current.ts';
import { quietly } from './quietly.ts';

const SHORT_LIVED_MS = 1000;
const SHORT_PAUSE_MS = 100;

export interface OpenChannel {
  readonly channel: ConfirmChannel;
  readonly model: ChannelModel;
}

export interface ChannelParts {
  readonly connection: BrokerConnection;
  readonly log: Log;
  /** Runs on each new channel before anybody else gets it. */
  setup(open: OpenChannel): Promise<void>;
}

export class KeptChannel {
  private readonly parts: ChannelParts;
  private readonly stopping = new AbortController();
  private readonly current = new Current<OpenChannel>();
  private running: Promise<void> | null = null;

  constructor(parts: ChannelParts) {
    this.parts = parts;
  }

  start(): void {
    this.running ??= this.keep();
  }

  get now(): OpenChannel | null {
    return this.current.now;
  }

  /** The channel with its setup done; waits for one. */
  get(signal?: AbortSignal): Promise<OpenChannel> {
    this.start();
    return this.current.get(signal);
  }

  /** Throws the channel away and builds another one; for a consumer that the broker cancelled. */
  rebuild(open: OpenChannel, reason: string): void {
    if (this.hasStopped()) return;
    this.parts.log.warn('a channel of the message broker is built anew', { reason });
    if (this.current.now?.channel === open.channel) this.current.clear();
    void open.channel.close().catch(() => undefined);
  }

  async close(): Promise<void> {
    const open = this.current.now;
    this.stopping.abort();
    this.current.finish(new Fault('unavailable', 'the channel to the message broker is closed'));
    if (open !== null) await quietly(open.channel.close());
    // A peer that is dead never confirms the end; its socket goes with the next heartbeat.
    if (this.running !== null) await quietly(this.running);
  }

  private async keep(): Promise<void> {
    const { signal } = this.stopping;
    let failures = 0;
    while (!this.hasStopped()) {
      const began = Date.now();
      try {
        await this.useOne(await this.parts.connection.model(signal));
        failures = 0;
        if (Date.now() - began < SHORT_LIVED_MS) await pause(SHORT_PAUSE_MS, signal);
      } catch (err) {
        if (this.hasStopped() || closedForGood(err)) return;
        this.parts.log.warn('a channel of the message broker could not be set up', {
          error: describeChain(err),
        });
        const { firstMs, stepMs, mostMs } = this.parts.connection.retry;
        await pause(Math.min(firstMs + stepMs * failures, mostMs), signal);
        failures += 1;
      }
    }
  }

  private hasStopped(): boolean {
    return this.stopping.signal.aborted;
  }

  /** Returns when the channel has ended; throws when it could not be set up. */
  private async useOne(model: ChannelModel): Promise<void> {
    const channel = await model.createConfirmChannel();
    const closed = new Promise<void>((resolve) => {
      channel.once('close', resolve);
    });
    let broke: unknown = null;
    channel.on('error', (err) => {
      broke = err;
      this.parts.log.warn('the message broker closed a channel', { error: describeChain(err) });
    });
    const open = { channel, model };
    try {
      await this.parts.setup(open);
    } catch (err) {
      // It may be the channel that the broker no longer answers on.
      await quietly(channel.close());
      throw broke ?? err;
    }
    if (this.hasStopped()) {
      await channel.close().catch(() => undefined);
      return;
    }
    this.current.set(open);
    await closed;
    this.current.clear();
  }
}

/** The connection was closed on this side: there will be no other one. */
function closedForGood(err: unknown): boolean {
  return err instanceof Fault && err.code === 'unavailable';
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
}
