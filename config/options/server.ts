/**
 * The keys of `GET/PUT/PATCH /1.0`: what each is and what a value must look
 * like. They live in the database, not in a file. `user.*` is accepted beside
 * them. Names, types and defaults are LXD's; the last group is ours.
 */

export type ServerKeyKind =
  | 'text'
  /** `unix:/path` or `tcp:host:port`. */
  | 'ovsdb'
  /** An http URL. */
  | 'proxy'
  | 'bool'
  | 'integer'
  | 'bytes'
  /** `host[:port]`; the port is filled in. */
  | 'address'
  /** IP addresses, parted by commas. */
  | 'ip-list'
  | 'ipv4'
  /** `3H`, `1d`, `1w 2d`. */
  | 'span'
  /** A compressor, with its options: `zstd -3`. */
  | 'compression'
  /** Kept as a salted hash and shown as `true`. */
  | 'password'
  /** Kept as it is and shown as `true`. */
  | 'secret';

export interface ServerKey {
  readonly kind: ServerKeyKind;
  /** What get() gives while the key is not set. */
  readonly fallback: string;
  readonly help: string;
  /** Bounds of an integer. */
  readonly min?: number;
  readonly max?: number;
  /** Port of an address without one. */
  readonly port?: number;
  /** Why a value is refused for now: what it would do is not there. */
  readonly refused?: string;
}

function key(kind: ServerKeyKind, fallback: string, help: string, more: Partial<ServerKey> = {}): ServerKey {
  return { kind, fallback, help, ...more };
}

const IGNORED = 'Accepted for clients that set it; has no effect on a server that is not clustered.';
const OTHER_LOGIN = 'Accepted for clients that set it; this way of logging in is not offered.';
const NO_SOURCES =
  'Accepted for clients that set it; images come from files and URLs here, and such have no newer versions.';
const NO_PUBLISHING =
  'Accepted for clients that set it; publishing and exporting instances is not available yet.';
const NO_BGP = 'Accepted for clients that set it; BGP is not spoken.';
const NO_VOLUMES = 'custom storage volumes are not available yet';
const NO_LISTENER = 'this listener is not available';

const CORE: Readonly<Record<string, ServerKey>> = {
  'core.https_address': key('address', '', 'Address of the HTTPS listener; unset: none.', { port: 8443 }),
  'core.metrics_address': key('address', '', 'Address of a listener that serves metrics alone.', {
    port: 9100,
  }),
  'core.metrics_authentication': key(
    'bool',
    'true',
    'Ask for a trusted certificate on the metrics listener.',
  ),
  'core.trust_password': key('password', '', 'Password with which a client may add its own certificate.'),
  'core.trust_ca_certificates': key(
    'bool',
    'false',
    'Trust every client certificate that server.ca has signed.',
    { refused: 'trust by a certificate authority is not available yet' },
  ),
  'core.https_allowed_origin': key('text', '', 'Access-Control-Allow-Origin of every answer.'),
  'core.https_allowed_methods': key('text', '', 'Access-Control-Allow-Methods of every answer.'),
  'core.https_allowed_headers': key('text', '', 'Access-Control-Allow-Headers of every answer.'),
  'core.https_allowed_credentials': key('bool', 'false', 'Access-Control-Allow-Credentials of every answer.'),
  'core.https_trusted_proxy': key(
    'ip-list',
    '',
    'Proxies that may tell the client address by the PROXY protocol.',
    {
      refused: 'the PROXY protocol is not available yet',
    },
  ),
  'core.proxy_http': key('proxy', '', 'Proxy for images fetched over HTTP, an http URL; unset: none.'),
  'core.proxy_https': key('proxy', '', 'Proxy for images fetched over HTTPS, an http URL; unset: none.'),
  'core.proxy_ignore_hosts': key(
    'text',
    '',
    'Hosts fetched from without a proxy, with those below them, parted by commas; *: all.',
  ),
  'core.remote_token_expiry': key(
    'span',
    '',
    'How long a token that adds a certificate is good; unset: for ever.',
  ),
  'core.shutdown_timeout': key(
    'integer',
    '5',
    'Minutes to wait for running operations, but commands, when the host is shut down.',
    {
      min: 0,
    },
  ),
  'core.debug_address': key('address', '', 'Address of the profiler.', { port: 8444, refused: NO_LISTENER }),
  'core.dns_address': key('address', '', 'Address of the DNS server of zones.', {
    port: 53,
    refused: NO_LISTENER,
  }),
  'core.bgp_address': key('address', '', 'Address of the BGP server.', { port: 179, refused: NO_LISTENER }),
  'core.bgp_asn': key('integer', '0', NO_BGP, {
    min: 0,
    max: 4_294_967_294,
  }),
  'core.bgp_routerid': key('ipv4', '', NO_BGP),
};

const IMAGES: Readonly<Record<string, ServerKey>> = {
  'images.auto_update_cached': key('bool', 'true', NO_SOURCES),
  'images.auto_update_interval': key('integer', '6', NO_SOURCES, {
    min: 0,
  }),
  'images.compression_algorithm': key('compression', 'gzip', NO_PUBLISHING),
  'images.default_architecture': key('text', '', NO_SOURCES),
  'images.remote_cache_expiry': key('integer', '10', NO_SOURCES, {
    min: 0,
  }),
  'backups.compression_algorithm': key('compression', 'gzip', NO_PUBLISHING),
  'storage.backups_volume': key('text', '', 'Pool and volume that holds backups.', { refused: NO_VOLUMES }),
  'storage.images_volume': key('text', '', 'Pool and volume that holds images.', { refused: NO_VOLUMES }),
};

const CLUSTER: Readonly<Record<string, ServerKey>> = {
  'cluster.https_address': key('address', '', 'Address of this server in a cluster.', {
    port: 8443,
    refused: 'clustering is not available',
  }),
  'cluster.offline_threshold': key('integer', '20', IGNORED, { min: 10 }),
  'cluster.images_minimal_replica': key('integer', '3', IGNORED, { min: -1 }),
  'cluster.join_token_expiry': key('span', '3H', IGNORED),
  'cluster.max_voters': key('integer', '3', IGNORED, { min: 3 }),
  'cluster.max_standby': key('integer', '2', IGNORED, { min: 0, max: 5 }),
  'network.ovn.integration_bridge': key(
    'text',
    'br-int',
    'Accepted; networks of type ovn are not available.',
  ),
  'network.ovn.northbound_connection': key(
    'text',
    'unix:/var/run/ovn/ovnnb_db.sock',
    'Accepted; networks of type ovn are not available.',
  ),
};

const LOGIN: Readonly<Record<string, ServerKey>> = {
  'candid.api.key': key('text', '', OTHER_LOGIN),
  'candid.api.url': key('text', '', OTHER_LOGIN),
  'candid.domains': key('text', '', OTHER_LOGIN),
  'candid.expiry': key('integer', '3600', OTHER_LOGIN, { min: 0 }),
  'rbac.agent.private_key': key('secret', '', OTHER_LOGIN),
  'rbac.agent.public_key': key('text', '', OTHER_LOGIN),
  'rbac.agent.url': key('text', '', OTHER_LOGIN),
  'rbac.agent.username': key('text', '', OTHER_LOGIN),
  'rbac.api.expiry': key('integer', '3600', OTHER_LOGIN, { min: 0 }),
  'rbac.api.key': key('text', '', OTHER_LOGIN),
  'rbac.api.url': key('text', '', OTHER_LOGIN),
  'rbac.expiry': key('integer', '3600', OTHER_LOGIN, { min: 0 }),
  'maas.api.key': key('secret', '', 'Accepted; MAAS is not spoken to.'),
  'maas.api.url': key('text', '', 'Accepted; MAAS is not spoken to.'),
  'maas.machine': key('text', '', 'Accepted; MAAS is not spoken to.'),
};

/** Keys that LXD does not have; docs/api-extensions.md tells of them. */
const OURS: Readonly<Record<string, ServerKey>> = {
  'core.start_concurrency': key(
    'integer',
    '0',
    'Starts and creations that may be under way at once; 0: decided from the number of processors.',
    { min: 0, max: 1024 },
  ),
  'network.ovs.connection': key(
    'ovsdb',
    'unix:/run/openvswitch/db.sock',
    'Where the database of Open vSwitch listens, for nics of type ovs: unix:/path or tcp:host:port.',
  ),
  'images.max_unpacked_size': key(
    'bytes',
    '64GiB',
    'Largest total size of the files in an image; a larger one is refused when it is imported.',
  ),
};

export const SERVER_KEYS: Readonly<Record<string, ServerKey>> = {
  ...CORE,
  ...IMAGES,
  ...CLUSTER,
  ...LOGIN,
  ...OURS,
};
