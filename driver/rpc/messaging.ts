/**
 * All that speaks to the brokers, put together: two connections (one consumes,
 * one publishes: a broker that holds back publishers must not hold back
 * consumers), the client, the servers, the notifications.
 */
import type { Log } from '../../process/log.ts';
import type { ComputeOptions } from '../../config/options/compute.ts';
import { BrokerConnection } from './connection.ts';
import { RpcClient } from './client.ts';
import { Gate } from './gate.ts';
import { Notifier, notifierSettings } from './notifier.ts';
import { Publisher } from './publisher.ts';
import { Replies } from './replies.ts';
import { RpcServer, type Endpoint, type RpcHandler } from './server.ts';
import { rabbitSettings, type RabbitSettings } from './settings.ts';
import { queueNames, type QueueNames } from './unique-id.ts';

export class Messaging {
  readonly client: RpcClient;
  readonly notifier: Notifier;
  private readonly options: ComputeOptions;
  private readonly settings: RabbitSettings;
  private readonly host: string;
  private readonly log: Log;
  private readonly names: QueueNames;
  private readonly consuming: BrokerConnection;
  private readonly publishing: BrokerConnection;
  private readonly publisher: Publisher;
  private readonly notifying: { readonly connection: BrokerConnection; readonly publisher: Publisher } | null;
  private readonly replies: Replies;
  private readonly gate: Gate;

  /** `host` is the name of the compute service. Fault bad_request names the option that is wrong. */
  constructor(options: ComputeOptions, host: string, log: Log) {
    const { transport_url: url, control_exchange: exchange } = options.DEFAULT;
    this.options = options;
    this.host = host;
    this.log = log;
    this.settings = rabbitSettings(url, options.oslo_messaging_rabbit, exchange);
    this.names = queueNames(this.settings.topology.namedQueues);
    this.consuming = new BrokerConnection(this.settings, 'consume', log);
    this.publishing = new BrokerConnection(this.settings, 'publish', log);
    this.publisher = new Publisher(this.publishing, log);
    this.replies = new Replies(this.publisher, this.settings.missingConsumerMs, log);
    this.gate = new Gate(options.DEFAULT.executor_thread_pool_size);
    this.client = new RpcClient({
      connection: this.consuming,
      publisher: this.publisher,
      topology: this.settings.topology,
      names: this.names,
      responseTimeoutMs: options.DEFAULT.rpc_response_timeout * 1000,
      log,
    });
    this.notifying = this.otherBrokers();
    this.notifier = new Notifier(notifierSettings(options), {
      publisher: this.notifying?.publisher ?? this.publisher,
      topology: this.settings.topology,
      host,
      log,
    });
  }

  /** Begins to connect; calls and casts may be made at once, they wait for the connection. */
  start(): void {
    this.consuming.start();
    this.publishing.start();
    this.notifying?.connection.start();
  }

  /** True when requests can be taken and answers sent. */
  get isConnected(): boolean {
    return this.consuming.isConnected && this.publishing.isConnected;
  }

  /** A server for one topic, with Nova's own `baseapi` beside the given endpoints; start() it. */
  server(topic: string, endpoints: readonly Endpoint[]): RpcServer {
    const parts = {
      connection: this.consuming,
      topology: this.settings.topology,
      names: this.names,
      replies: this.replies,
      gate: this.gate,
      log: this.log,
    };
    const own = this.options.DEFAULT.rpc_ping_enabled ? [baseApi(), pingEndpoint()] : [baseApi()];
    return new RpcServer(parts, { topic, host: this.host }, [...endpoints, ...own]);
  }

  /** After the servers have been stopped. */
  async close(): Promise<void> {
    await this.client.close();
    if (this.isConnected) await this.notifier.settled();
    await this.publisher.close();
    await this.notifying?.publisher.close();
    await Promise.all([this.consuming.close(), this.publishing.close(), this.notifying?.connection.close()]);
  }

  private otherBrokers() {
    const url = this.options.oslo_messaging_notifications.transport_url;
    if (url === '' || url === this.options.DEFAULT.transport_url) return null;
    const settings = rabbitSettings(
      url,
      this.options.oslo_messaging_rabbit,
      this.options.DEFAULT.control_exchange,
    );
    const connection = new BrokerConnection(settings, 'notify', this.log);
    return { connection, publisher: new Publisher(connection, this.log) };
  }
}

/** What every service of Nova answers beside its own methods. */
function baseApi(): Endpoint {
  return {
    namespace: 'baseapi',
    major: 1,
    methods: new Map<string, RpcHandler>([
      ['ping', (request) => Promise.resolve({ service: 'compute', arg: request.args['arg'] ?? null })],
      ['get_backdoor_port', () => Promise.resolve(null)],
    ]),
    unlimited: new Set(['ping', 'get_backdoor_port']),
  };
}

/** oslo.messaging's ping of a server, in the null namespace. */
function pingEndpoint(): Endpoint {
  return {
    namespace: null,
    major: 1,
    methods: new Map([['oslo_rpc_server_ping', () => Promise.resolve('pong')]]),
    unlimited: new Set(['oslo_rpc_server_ping']),
  };
}
