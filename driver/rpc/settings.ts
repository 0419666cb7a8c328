/** From the options of [oslo_messaging_rabbit] and the transport URL to what the connection needs. */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { Fault } from '../../process/fault.ts';
import { MESSAGING_OPTIONS } from '../../config/options/messaging.ts';
import type { Option, ValuesOf } from '../../config/options/option.ts';
import { parseTransportUrl, type Broker } from './transport-url.ts';

export type RabbitOptions = ValuesOf<typeof MESSAGING_OPTIONS>['oslo_messaging_rabbit'];

export interface TlsSettings {
  readonly ca: Buffer | null;
  readonly cert: Buffer | null;
  readonly key: Buffer | null;
  readonly checkHostName: boolean;
  /** The one version spoken, or null. */
  readonly version: 'TLSv1' | 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3' | null;
}

export interface RetrySettings {
  readonly firstMs: number;
  readonly stepMs: number;
  readonly mostMs: number;
}

/** What all peers of a cloud must have alike, or the broker refuses their declarations. */
export interface TopologySettings {
  readonly exchange: string;
  readonly durable: boolean;
  readonly autoDelete: boolean;
  readonly quorum: boolean;
  readonly transientQuorum: boolean;
  readonly streamFanout: boolean;
  readonly mirrored: boolean;
  /** Seconds; 0 for none. */
  readonly transientTtlS: number;
  /** Broker's own when 0. */
  readonly limits: {
    readonly deliveries: number;
    readonly memoryLength: number;
    readonly memoryBytes: number;
  };
  readonly cancelOnFailover: boolean;
  /** Names of queues come from the host and the process, not from chance. */
  readonly namedQueues: { readonly host: string; readonly process: string } | null;
  readonly prefetch: number;
}

export interface RabbitSettings {
  readonly brokers: readonly Broker[];
  readonly vhost: string;
  readonly loginMethod: RabbitOptions['rabbit_login_method'];
  /** null: no TLS. */
  readonly tls: TlsSettings | null;
  readonly heartbeatS: number;
  readonly retry: RetrySettings;
  readonly failover: RabbitOptions['kombu_failover_strategy'];
  readonly missingConsumerMs: number;
  readonly topology: TopologySettings;
}

/**
 * Fault bad_request names the option that is wrong or that cannot hold with
 * another one, or the file that cannot be read.
 */
export function rabbitSettings(url: string, given: RabbitOptions, exchange: string): RabbitSettings {
  const parsed = parseTransportUrl(url, given.ssl);
  const options = overridden(given, parsed.options);
  const prefetch = options.rabbit_qos_prefetch_count;
  if (options.rabbit_ha_queues && (options.rabbit_quorum_queue || options.rabbit_transient_quorum_queue)) {
    throw wrong('rabbit_quorum_queue and rabbit_ha_queues cannot both be set');
  }
  if (options.rabbit_stream_fanout && prefetch === 0) {
    throw wrong('rabbit_stream_fanout needs a rabbit_qos_prefetch_count above 0');
  }
  return {
    brokers: parsed.brokers,
    vhost: parsed.vhost,
    loginMethod: options.rabbit_login_method,
    tls: options.ssl ? tlsSettings(options) : null,
    heartbeatS: options.heartbeat_timeout_threshold,
    retry: {
      firstMs: options.rabbit_retry_interval * 1000,
      stepMs: options.rabbit_retry_backoff * 1000,
      mostMs: options.rabbit_interval_max * 1000,
    },
    failover: options.kombu_failover_strategy,
    missingConsumerMs: options.kombu_missing_consumer_retry_timeout * 1000,
    topology: topologySettings(options, exchange),
  };
}

function topologySettings(options: RabbitOptions, exchange: string): TopologySettings {
  return {
    exchange,
    durable: options.amqp_durable_queues || options.rabbit_quorum_queue,
    autoDelete: options.amqp_auto_delete,
    quorum: options.rabbit_quorum_queue,
    transientQuorum: options.rabbit_transient_quorum_queue,
    streamFanout: options.rabbit_stream_fanout,
    mirrored: options.rabbit_ha_queues,
    transientTtlS: options.rabbit_transient_queues_ttl,
    limits: {
      deliveries: options.rabbit_quorum_delivery_limit,
      memoryLength: options.rabbit_quorum_max_memory_length || options.rabbit_quroum_max_memory_length,
      memoryBytes: options.rabbit_quorum_max_memory_bytes || options.rabbit_quroum_max_memory_bytes,
    },
    cancelOnFailover: options.enable_cancel_on_failover,
    namedQueues: options.use_queue_manager
      ? { host: options.hostname === '' ? hostname() : options.hostname, process: options.processname }
      : null,
    prefetch: options.rabbit_qos_prefetch_count,
  };
}

function overridden(given: RabbitOptions, query: ReadonlyMap<string, string>): RabbitOptions {
  const table: Readonly<Record<string, Option<unknown>>> = MESSAGING_OPTIONS.oslo_messaging_rabbit;
  const changed: Record<string, unknown> = {};
  for (const [name, text] of query) {
    const option = table[name];
    // oslo.messaging ignores what it does not know: other drivers have options of their own.
    if (option === undefined) continue;
    try {
      changed[name] = option.parse(text);
    } catch (cause) {
      throw new Fault('bad_request', `read transport_url: option ${name}`, { cause });
    }
  }
  return { ...given, ...changed };
}

const TLS_VERSIONS: Readonly<Record<string, TlsSettings['version']>> = {
  '': null,
  SSLV23: null,
  TLSV1: 'TLSv1',
  TLSV1_1: 'TLSv1.1',
  TLSV1_2: 'TLSv1.2',
  TLSV1_3: 'TLSv1.3',
};

function tlsSettings(options: RabbitOptions): TlsSettings {
  const version = TLS_VERSIONS[options.ssl_version.toUpperCase()];
  if (version === undefined) throw wrong(`ssl_version "${options.ssl_version}" is not known`);
  return {
    ca: pem('ssl_ca_file', options.ssl_ca_file),
    cert: pem('ssl_cert_file', options.ssl_cert_file),
    key: pem('ssl_key_file', options.ssl_key_file),
    checkHostName: options.ssl_enforce_hostname_verification,
    version,
  };
}

function pem(option: string, file: string): Buffer | null {
  if (file === '') return null;
  try {
    return readFileSync(file);
  } catch (cause) {
    throw new Fault('bad_request', `option [oslo_messaging_rabbit] ${option}: read ${file}`, { cause });
  }
}

function wrong(what: string): Fault {
  return new Fault('bad_request', `options of [oslo_messaging_rabbit]: ${what}`);
}
