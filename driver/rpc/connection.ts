/**
 * Keeps one connection to one of the brokers open until it is closed here.
 *
 * A broker that is gone is replaced by the next of the list at once; a pause is
 * made only after each of them was tried, and it grows from retry.firstMs by
 * retry.stepMs to retry.mostMs.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, credentials, type ChannelModel } from 'amqplib';
import { describeChain, Fault } from '../../process/fault.ts';
import type { Log } from '../../process/log.ts';
import { Current } from './current.ts';
import { quietly } from './quietly.ts';
import type { RabbitSettings, TlsSettings } from './settings.ts';
import type { Broker } from './transport-url.ts';

/** A broker that accepts a socket and then says nothing is given up. */
const HANDSHAKE_MS = 10_000;
/** A connection that lasts shorter counts as a failed try. */
const SHORT_LIVED_MS = 1000;

export class BrokerConnection {
  private readonly settings: RabbitSettings;
  private readonly name: string;
  private readonly log: Log;
  private readonly stopping = new AbortController();
  private readonly current = new Current<ChannelModel>();
  private readonly brokers: readonly Broker[];
  private next = 0;
  private running: Promise<void> | null = null;

  /** `purpose` is for the log and for the broker's list of connections. */
  constructor(settings: RabbitSettings, purpose: string, log: Log) {
    this.settings = settings;
    this.name = `slipway-compute:${String(process.pid)}:${randomUUID()}`;
    this.log = log.with({ connection: purpose });
    // Many services with one list of brokers must not all meet at the first.
    this.brokers = shuffled(settings.brokers);
  }

  get isConnected(): boolean {
    return this.current.now !== null;
  }

  get retry(): RabbitSettings['retry'] {
    return this.settings.retry;
  }

  /** Begins to connect; does not wait for it. */
  start(): void {
    this.running ??= this.keep();
  }

  /** The open connection; waits for one. Rejects with the signal's reason, or Fault unavailable once closed. */
  model(signal?: AbortSignal): Promise<ChannelModel> {
    return this.current.get(signal);
  }

  async close(): Promise<void> {
    const model = this.current.now;
    this.stopping.abort();
    this.current.finish(new Fault('unavailable', 'the connection to the message broker is closed'));
    if (model !== null) await quietly(model.close());
    // A peer that is dead never confirms the end; its socket goes with the next heartbeat.
    if (this.running !== null) await quietly(this.running);
  }

  private async keep(): Promise<void> {
    let failures = 0;
    while (!this.hasStopped()) {
      const broker = this.choose();
      const began = Date.now();
      try {
        await this.useOne(broker);
        if (Date.now() - began > SHORT_LIVED_MS) failures = 0;
        else failures += 1;
      } catch (err) {
        if (this.hasStopped()) return;
        failures += 1;
        this.log.warn('no connection to the message broker', {
          broker: `${broker.host}:${String(broker.port)}`,
          error: describeChain(err),
        });
      }
      await this.pause(failures);
    }
  }

  /** Returns when the connection has ended. */
  private async useOne(broker: Broker): Promise<void> {
    const model = await this.open(broker);
    const closed = new Promise<void>((resolve) => {
      model.once('close', resolve);
    });
    model.on('error', (err) => {
      this.log.warn('the connection to the message broker broke', { error: describeChain(err) });
    });
    model.on('blocked', (reason) => {
      this.log.warn('the message broker takes no messages', { reason });
    });
    model.on('unblocked', () => {
      this.log.info('the message broker takes messages again');
    });
    if (this.hasStopped()) {
      await quietly(model.close());
      return;
    }
    this.log.info('connected to the message broker', { broker: `${broker.host}:${String(broker.port)}` });
    this.current.set(model);
    await closed;
    this.current.clear();
    if (!this.hasStopped()) this.log.warn('the connection to the message broker has ended');
  }

  private open(broker: Broker): Promise<ChannelModel> {
    const { heartbeatS, loginMethod, tls, vhost } = this.settings;
    const { user, password } = broker;
    const login =
      loginMethod === 'external'
        ? credentials.external()
        : loginMethod === 'amqplain'
          ? credentials.amqplain(user, password)
          : credentials.plain(user, password);
    return connect(
      {
        protocol: tls === null ? 'amqp' : 'amqps',
        hostname: broker.host,
        port: broker.port,
        // amqplib takes percent signs for encoding here too.
        vhost: encodeURIComponent(vhost),
        heartbeat: heartbeatS,
      },
      {
        credentials: login,
        // Nagle's algorithm makes each round trip 40 ms longer.
        noDelay: true,
        keepAlive: true,
        timeout: HANDSHAKE_MS,
        clientProperties: { connection_name: this.name },
        ...(tls === null ? {} : tlsOptions(tls)),
      },
    );
  }

  private hasStopped(): boolean {
    return this.stopping.signal.aborted;
  }

  private choose(): Broker {
    const at =
      this.settings.failover === 'shuffle' ? Math.floor(Math.random() * this.brokers.length) : this.next;
    this.next = (this.next + 1) % this.brokers.length;
    const broker = this.brokers[at];
    if (broker === undefined) throw new Error('a transport URL has at least one broker');
    return broker;
  }

  private async pause(failures: number): Promise<void> {
    if (failures === 0 || failures % this.brokers.length !== 0) return;
    const { firstMs, stepMs, mostMs } = this.settings.retry;
    const rounds = failures / this.brokers.length - 1;
    const waitMs = Math.min(firstMs + stepMs * rounds, mostMs);
    await sleep(waitMs, undefined, { signal: this.stopping.signal }).catch(() => undefined);
  }
}

function tlsOptions(tls: TlsSettings) {
  return {
    ...(tls.ca === null ? {} : { ca: [tls.ca] }),
    ...(tls.cert === null ? {} : { cert: tls.cert }),
    ...(tls.key === null ? {} : { key: tls.key }),
    ...(tls.version === null ? {} : { minVersion: tls.version, maxVersion: tls.version }),
    // As oslo.messaging: nothing is checked without authorities to check against.
    rejectUnauthorized: tls.ca !== null,
    ...(tls.checkHostName ? {} : { checkServerIdentity: () => undefined }),
  };
}

function shuffled(brokers: readonly Broker[]): readonly Broker[] {
  return brokers
    .map((broker) => ({ broker, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map((each) => each.broker);
}
