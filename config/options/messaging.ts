/** Options of oslo.messaging and of Nova's notifications, by the names they have in nova.conf. */
import {
  booleanOption,
  choiceOption,
  integerOption,
  listOption,
  manyOption,
  numberOption,
  pathOption,
  textOption,
} from './option.ts';

const DAY_S = 86_400;
const MOST = Number.MAX_SAFE_INTEGER;

/** What every peer must have set alike: queues are refused by the broker when their arguments differ. */
const TOPOLOGY = {
  amqp_durable_queues: booleanOption({
    fallback: false,
    help: 'Topic queues and the control exchange survive a restart of the broker.',
  }),
  amqp_auto_delete: booleanOption({
    fallback: false,
    help: 'Topic queues and the control exchange go away with their last user.',
  }),
  rabbit_quorum_queue: booleanOption({
    fallback: false,
    help: 'Topic queues are quorum queues, and durable. Not together with rabbit_ha_queues.',
  }),
  rabbit_transient_quorum_queue: booleanOption({
    fallback: false,
    help: 'Reply and fanout queues are quorum queues too.',
  }),
  rabbit_quorum_delivery_limit: integerOption({
    fallback: 0,
    min: 0,
    max: MOST,
    help: 'How often a quorum queue delivers a message before it drops it; 0 leaves it to the broker.',
  }),
  rabbit_quorum_max_memory_length: integerOption({
    fallback: 0,
    min: 0,
    max: MOST,
    help: 'Messages of a quorum queue kept in memory; 0 leaves it to the broker.',
  }),
  rabbit_quorum_max_memory_bytes: integerOption({
    fallback: 0,
    min: 0,
    max: MOST,
    help: 'Bytes of a quorum queue kept in memory; 0 leaves it to the broker.',
  }),
  // The names as OpenStack Zed and older write them.
  rabbit_quroum_max_memory_length: integerOption({
    fallback: 0,
    min: 0,
    max: MOST,
    help: 'Old spelling of rabbit_quorum_max_memory_length.',
  }),
  rabbit_quroum_max_memory_bytes: integerOption({
    fallback: 0,
    min: 0,
    max: MOST,
    help: 'Old spelling of rabbit_quorum_max_memory_bytes.',
  }),
  rabbit_ha_queues: booleanOption({
    fallback: false,
    help: 'Ask for mirrored queues (RabbitMQ up to 3.x).',
  }),
  rabbit_transient_queues_ttl: integerOption({
    fallback: 1800,
    min: 0,
    max: 365 * DAY_S,
    help: 'Seconds after which an unused reply or fanout queue is removed; 0 means never.',
  }),
  rabbit_stream_fanout: booleanOption({
    fallback: false,
    help: 'One stream for each topic in place of a fanout queue for each service.',
  }),
  use_queue_manager: booleanOption({
    fallback: false,
    help: 'Names of reply and fanout queues are made of hostname and processname, not of chance.',
  }),
  hostname: textOption({
    fallback: '',
    shown: 'the name of this host',
    help: 'Part of the names of queues with use_queue_manager.',
  }),
  processname: textOption({
    fallback: 'slipway-compute',
    help: 'Part of the names of queues with use_queue_manager.',
  }),
  enable_cancel_on_failover: booleanOption({
    fallback: false,
    help: 'Be told when a mirrored queue moves to another broker.',
  }),
} as const;

const CONNECTION = {
  ssl: booleanOption({ fallback: false, help: 'Speak TLS to the brokers.' }),
  ssl_version: textOption({
    fallback: '',
    help: 'The one TLS version to use: TLSv1, TLSv1_1, TLSv1_2 or TLSv1_3. Empty: the newest both know.',
  }),
  ssl_key_file: pathOption({ fallback: '', help: 'Private key (PEM) to show to the broker.' }),
  ssl_cert_file: pathOption({ fallback: '', help: 'Certificate (PEM) to show to the broker.' }),
  ssl_ca_file: pathOption({
    fallback: '',
    help: "Authorities (PEM) the broker's certificate is checked against. It is not checked without.",
  }),
  ssl_enforce_hostname_verification: booleanOption({
    fallback: false,
    help: "The broker's certificate must also be for the name it is reached by.",
  }),
  heartbeat_timeout_threshold: integerOption({
    fallback: 60,
    min: 0,
    max: 3600,
    help: 'Seconds without a sign of life after which a broker is taken for dead; 0: never.',
  }),
  rabbit_login_method: choiceOption(['plain', 'amqplain', 'external', 'rabbit-cr-demo'], {
    fallback: 'amqplain',
    help: 'How to log in to the broker.',
  }),
  rabbit_retry_interval: numberOption({
    fallback: 1,
    min: 0.01,
    max: DAY_S,
    help: 'Seconds to wait before the first new try to connect.',
  }),
  rabbit_retry_backoff: numberOption({
    fallback: 2,
    min: 0,
    max: DAY_S,
    help: 'Seconds each further wait is longer than the one before.',
  }),
  rabbit_interval_max: numberOption({
    fallback: 30,
    min: 0.01,
    max: DAY_S,
    help: 'Longest wait between two tries to connect, seconds.',
  }),
  kombu_failover_strategy: choiceOption(['round-robin', 'shuffle'], {
    fallback: 'round-robin',
    help: 'Which broker of several is tried next.',
  }),
  kombu_missing_consumer_retry_timeout: numberOption({
    fallback: 60,
    min: 0,
    max: DAY_S,
    help: 'Seconds a reply is tried again while the queue of the caller is missing.',
  }),
  rabbit_qos_prefetch_count: integerOption({
    fallback: 0,
    min: 0,
    max: 65_535,
    help: 'Messages the broker sends ahead; 0: as many as there are.',
  }),
} as const;

export const MESSAGING_OPTIONS = {
  oslo_messaging_rabbit: { ...TOPOLOGY, ...CONNECTION },
  oslo_messaging_notifications: {
    driver: manyOption(textOption({ fallback: '', help: '' }), {
      fallback: [],
      help: 'messagingv2 or messaging sends notifications; none or noop does not.',
    }),
    transport_url: textOption({
      fallback: '',
      shown: '[DEFAULT] transport_url',
      secret: true,
      help: 'Brokers of the notifications.',
    }),
    topics: listOption({ fallback: ['notifications'], help: 'Topics of the legacy notifications.' }),
  },
  notifications: {
    notification_format: choiceOption(['unversioned', 'versioned', 'both'], {
      fallback: 'unversioned',
      help: 'Which form of notifications is sent.',
    }),
    versioned_notifications_topics: listOption({
      fallback: ['versioned_notifications'],
      help: 'Topics of the versioned notifications.',
    }),
    notify_on_state_change: choiceOption(['', 'vm_state', 'vm_and_task_state'], {
      fallback: '',
      help: 'Which change of state of an instance sends compute.instance.update.',
    }),
    default_level: choiceOption(['debug', 'info', 'warn', 'error', 'critical'], {
      fallback: 'info',
      help: 'Priority of notifications that have none of their own.',
    }),
  },
} as const;
