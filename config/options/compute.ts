/**
 * What `slipway compute` reads of nova.conf: Nova's own sections, names and
 * defaults, so that one file serves both. What is not Nova's is in [slipway].
 */
import { CLOUD_OPTIONS } from './cloud.ts';
import { MESSAGING_OPTIONS } from './messaging.ts';
import {
  booleanOption,
  integerOption,
  listOption,
  numberOption,
  pathOption,
  textOption,
  type ValuesOf,
} from './option.ts';

const MOST_S = 10 * 365 * 86_400;

function seconds(fallback: number, help: string, min = 0) {
  return integerOption({ fallback, min, max: MOST_S, help });
}

/** An allocation ratio; 0 means that Placement's own value is kept. */
function ratio(fallback: number, help: string) {
  return numberOption({ fallback, min: 0, max: 1_000_000, help });
}

const HOST = {
  host: textOption({
    fallback: '',
    shown: 'the name of this host',
    help: 'Name of this compute service in Nova. It must never change.',
  }),
  my_ip: textOption({
    fallback: '',
    shown: 'the address of the default route',
    help: 'Address of this host on the management network.',
  }),
  state_path: pathOption({
    fallback: '/var/lib/nova',
    help: 'Folder of what the service keeps; the identity of the node is in its file compute_id.',
  }),
  debug: booleanOption({ fallback: false, restart: false, help: 'Write the log at level debug.' }),
  log_dir: pathOption({ fallback: '', help: 'Folder of log_file.' }),
  log_file: textOption({
    fallback: '',
    shown: 'standard error',
    help: 'File the log is appended to.',
  }),
  instance_name_template: textOption({
    fallback: 'instance-%08x',
    help: 'Name of an instance on this host, made of its number in the database or of %(uuid)s.',
  }),
  graceful_shutdown_timeout: seconds(
    60,
    'Seconds a stopping service waits for work that is under way; 0: for ever.',
  ),
} as const;

const RPC = {
  transport_url: textOption({
    fallback: 'rabbit://',
    secret: true,
    help: 'The brokers: rabbit://user:password@host:port,user:password@host:port/vhost?option=value.',
  }),
  control_exchange: textOption({ fallback: 'nova', help: 'Exchange the messages of this cloud go through.' }),
  rpc_response_timeout: seconds(60, 'Seconds to wait for the answer to a call.', 1),
  long_rpc_timeout: seconds(1800, 'Seconds to wait for the answer to a call that may take long.', 1),
  executor_thread_pool_size: integerOption({
    fallback: 64,
    min: 1,
    max: 100_000,
    help: 'Messages worked on at the same time.',
  }),
  rpc_ping_enabled: booleanOption({ fallback: false, help: 'Answer oslo_rpc_server_ping.' }),
} as const;

const RESOURCES = {
  reserved_host_cpus: integerOption({
    fallback: 0,
    min: 0,
    max: 1_000_000,
    help: 'CPUs kept from instances.',
  }),
  reserved_host_memory_mb: integerOption({
    fallback: 512,
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    help: 'Memory kept from instances, MiB.',
  }),
  reserved_host_disk_mb: integerOption({
    fallback: 0,
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    help: 'Disk kept from instances, MiB.',
  }),
  cpu_allocation_ratio: ratio(
    0,
    "vCPUs for each CPU; 0: Placement's value, at first initial_cpu_allocation_ratio.",
  ),
  ram_allocation_ratio: ratio(0, "Memory sold for memory there is; 0: Placement's value."),
  disk_allocation_ratio: ratio(0, "Disk sold for disk there is; 0: Placement's value."),
  initial_cpu_allocation_ratio: ratio(4, 'The ratio a new host starts with.'),
  initial_ram_allocation_ratio: ratio(1, 'The ratio a new host starts with.'),
  initial_disk_allocation_ratio: ratio(1, 'The ratio a new host starts with.'),
} as const;

const WORK = {
  report_interval: seconds(10, 'Seconds between two signs of life in the database.', 1),
  service_down_time: seconds(60, 'Seconds of silence after which a service counts as down.', 1),
  update_resources_interval: integerOption({
    fallback: 0,
    min: -1,
    max: MOST_S,
    help: 'Seconds between two reports of what the host has; 0: 60 seconds; -1: never.',
  }),
  sync_power_state_interval: integerOption({
    fallback: 600,
    min: -1,
    max: MOST_S,
    help: 'Seconds between two comparisons of power states with the database; -1: never.',
  }),
  heal_instance_info_cache_interval: integerOption({
    fallback: 60,
    min: -1,
    max: MOST_S,
    help: "Seconds between two refreshes of an instance's network information; -1: never.",
  }),
  periodic_fuzzy_delay: seconds(
    60,
    'Longest time, seconds, the periodic tasks wait after the start; how long is left to chance, so that the hosts ' +
      'of a cloud do not come all at once.',
  ),
  instance_build_timeout: seconds(0, 'Seconds after which a build counts as failed; 0: never.'),
  reclaim_instance_interval: integerOption({
    fallback: 0,
    min: -1,
    max: MOST_S,
    help: 'Seconds a deleted instance can be restored; 0: it cannot.',
  }),
  running_deleted_instance_action: textOption({
    fallback: 'reap',
    help: 'What is done with instances that run although they are deleted: noop, log, shutdown or reap.',
  }),
  running_deleted_instance_poll_interval: seconds(
    1800,
    'Seconds between two searches for them; 0: never.',
    -1,
  ),
  running_deleted_instance_timeout: seconds(0, 'Seconds after the deletion before something is done.'),
  instance_delete_interval: seconds(
    300,
    'Seconds between two searches for what deleted instances and ended consoles left behind; 0: never.',
    -1,
  ),
  reboot_timeout: seconds(0, 'Seconds after which a reboot counts as hung; 0: never.'),
  rescue_timeout: seconds(0, 'Seconds after which a rescue is ended; 0: never.'),
  resize_confirm_window: seconds(0, 'Seconds after which a resize is confirmed by itself; 0: never.'),
  shutdown_timeout: seconds(60, 'Seconds an instance has to shut down before it is stopped by force.'),
  vif_plugging_timeout: seconds(300, 'Seconds to wait for network-vif-plugged.'),
  vif_plugging_is_fatal: booleanOption({
    fallback: true,
    help: 'A build fails when network-vif-plugged does not come.',
  }),
  max_concurrent_builds: integerOption({
    fallback: 10,
    min: 0,
    max: 100_000,
    help: 'Builds at a time; 0: no limit.',
  }),
  max_concurrent_snapshots: integerOption({
    fallback: 5,
    min: 0,
    max: 100_000,
    help: 'Snapshots at a time; 0: no limit.',
  }),
  network_allocate_retries: integerOption({
    fallback: 0,
    min: 0,
    max: 1000,
    help: 'How often the allocation of networks is tried again.',
  }),
  resume_guests_state_on_host_boot: booleanOption({
    fallback: false,
    help: 'Start the instances that ran before the host was rebooted.',
  }),
  default_access_ip_network_name: textOption({
    fallback: '',
    help: 'Network whose addresses become access_ip_v4 and access_ip_v6.',
  }),
  force_config_drive: booleanOption({ fallback: false, help: 'Give every instance a config drive.' }),
  password_length: integerOption({ fallback: 12, min: 1, max: 255, help: 'Length of passwords made here.' }),
} as const;

export const COMPUTE_OPTIONS = {
  DEFAULT: { ...HOST, ...RPC, ...RESOURCES, ...WORK },
  ...MESSAGING_OPTIONS,
  ...CLOUD_OPTIONS,
  image_cache: {
    manager_interval: integerOption({
      fallback: 2400,
      formerly: ['DEFAULT', 'image_cache_manager_interval'],
      min: -1,
      max: MOST_S,
      help: 'Seconds between two searches for images nobody uses; -1: never.',
    }),
    remove_unused_base_images: booleanOption({
      fallback: true,
      formerly: ['DEFAULT', 'remove_unused_base_images'],
      help: 'Delete images from this host that no instance uses.',
    }),
    remove_unused_original_minimum_age_seconds: integerOption({
      fallback: 86_400,
      min: 0,
      max: MOST_S,
      formerly: ['DEFAULT', 'remove_unused_original_minimum_age_seconds'],
      help: 'Seconds an image is kept after its last use.',
    }),
  },
  api: {
    dhcp_domain: textOption({
      fallback: 'novalocal',
      formerly: ['DEFAULT', 'dhcp_domain'],
      help: 'Domain of the names in the metadata of a config drive; empty: bare names.',
    }),
    vendordata_jsonfile_path: pathOption({
      fallback: '',
      formerly: ['DEFAULT', 'vendordata_jsonfile_path'],
      help: "File of JSON that is a config drive's vendor data.",
    }),
  },
  upgrade_levels: {
    compute: textOption({ fallback: '', help: 'Read for the log only: every 6.x is accepted.' }),
  },
  compute: {
    consecutive_build_service_disable_threshold: integerOption({
      fallback: 10,
      min: 0,
      max: 1_000_000,
      help: 'Failed builds in a row that count against this host.',
    }),
    resource_provider_association_refresh: seconds(300, "Seconds Placement's answers are kept; 0: for ever."),
    provider_config_location: pathOption({
      fallback: '/etc/nova/provider_config/',
      help: 'Folder of further inventories and traits, *.yaml.',
    }),
    image_type_exclude_list: listOption({
      fallback: [],
      help: 'Disk formats of images that this host does not say it takes: raw, qcow2.',
    }),
    max_disk_devices_to_attach: integerOption({
      fallback: -1,
      min: -1,
      max: 100_000,
      help: 'Most disks of an instance; -1: no limit.',
    }),
  },
  workarounds: {
    disable_group_policy_check_upcall: booleanOption({
      fallback: false,
      help: 'Do not look at the policies of server groups again on the host: for cells that cannot reach the API database.',
    }),
  },
  slipway: {
    socket: pathOption({
      fallback: '/var/lib/slipway/unix.socket',
      help: 'Socket of the REST daemon of this host.',
    }),
    storage_pool: textOption({
      fallback: 'default',
      help: 'Storage pool of the REST daemon that instances are kept in.',
    }),
    service_version: integerOption({
      fallback: 0,
      min: 0,
      max: 1000,
      help: "Version this service reports to Nova; 0: the conductor's, within what is known here.",
    }),
  },
} as const;

export type ComputeOptions = ValuesOf<typeof COMPUTE_OPTIONS>;
