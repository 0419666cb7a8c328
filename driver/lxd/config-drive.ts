/** The files of a config drive, as Nova lays them out. Pure. */
import { type Vif } from '../cloud/vif.ts';
import { networkData } from './network-data.ts';
import { type NovaInstance } from './nova-instance.ts';

/** What goes into a config drive beside the instance itself. */
export interface DriveOptions {
  /** `[api] dhcp_domain`; '' for bare names. */
  readonly dhcpDomain: string;
  readonly adminPassword: string | null;
  /** Files the user sent along: path in the guest, bytes. */
  readonly files: readonly { readonly path: string; readonly content: Buffer }[];
  /** Base64 of 512 random bytes. */
  readonly randomSeed: string;
  /** Content of `[api] vendordata_jsonfile_path`. */
  readonly vendorData: Readonly<Record<string, unknown>>;
}

/** Path below the drive -> content. */
export type FileTree = ReadonlyMap<string, Buffer>;

const LATEST = 'latest';
/** Release of metadata, newest last, with what it brought. */
const RELEASES = [
  '2012-08-10',
  '2013-04-04',
  '2013-10-17',
  '2015-10-15',
  '2016-06-30',
  '2016-10-06',
  '2017-02-22',
  '2018-08-27',
  '2020-10-14',
  LATEST,
] as const;
const EC2_RELEASES = ['2009-04-04', LATEST];

export function configDrive(instance: NovaInstance, vifs: readonly Vif[], options: DriveOptions): FileTree {
  const tree = new Map<string, Buffer>();
  const userData = instance.userData === null ? null : Buffer.from(instance.userData, 'base64');
  for (const release of RELEASES) {
    const at = (file: string): string => `openstack/${release}/${file}`;
    tree.set(at('meta_data.json'), json(metaData(instance, options, release)));
    if (userData !== null) tree.set(at('user_data'), userData);
    if (has(release, '2013-10-17')) tree.set(at('vendor_data.json'), json(options.vendorData));
    if (has(release, '2015-10-15')) tree.set(at('network_data.json'), json(networkData(vifs)));
    if (has(release, '2016-10-06')) tree.set(at('vendor_data2.json'), json({ static: options.vendorData }));
  }
  for (const [index, file] of options.files.entries())
    tree.set(`openstack${contentPath(index)}`, file.content);
  for (const release of EC2_RELEASES) {
    tree.set(`ec2/${release}/meta-data.json`, json(ec2Data(instance, vifs, options)));
    if (userData !== null) tree.set(`ec2/${release}/user-data`, userData);
  }
  return tree;
}

/** True when a config drive is required: by the server, by the option for every new one, or by its image. */
export function needsConfigDrive(asked: {
  readonly configDrive: unknown;
  readonly isForced: boolean;
  readonly isNew: boolean;
  readonly systemMetadata: Readonly<Record<string, string>>;
}): boolean {
  const { configDrive: wanted } = asked;
  const isWanted = wanted === true || (typeof wanted === 'string' && /^(true|1|yes|on|t|y)$/i.test(wanted));
  return (
    isWanted ||
    (asked.isForced && asked.isNew) ||
    asked.systemMetadata['image_img_config_drive'] === 'mandatory'
  );
}

function metaData(instance: NovaInstance, options: DriveOptions, release: string): Record<string, unknown> {
  const { keys } = instance;
  const out: Record<string, unknown> = { uuid: instance.uuid };
  if (Object.keys(instance.metadata).length > 0) out['meta'] = instance.metadata;
  if (keys.length > 0) {
    out['public_keys'] = Object.fromEntries(keys.map((key) => [key.name, key.publicKey]));
    if (has(release, '2013-10-17')) {
      out['keys'] = keys.map((key) => ({ name: key.name, type: key.type, data: key.publicKey }));
    }
  }
  if (options.files.length > 0) {
    out['files'] = options.files.map((file, index) => ({
      path: file.path,
      content_path: contentPath(index),
    }));
  }
  out['hostname'] = fullName(instance, options);
  out['name'] = instance.displayName;
  out['launch_index'] = instance.launchIndex;
  out['availability_zone'] = instance.availabilityZone;
  if (options.adminPassword !== null) out['admin_pass'] = options.adminPassword;
  if (has(release, '2013-04-04')) out['random_seed'] = options.randomSeed;
  if (has(release, '2015-10-15')) out['project_id'] = instance.projectId;
  if (has(release, '2016-06-30')) out['devices'] = [];
  if (has(release, '2020-10-14')) out['dedicated_cpus'] = [];
  return out;
}

function ec2Data(
  instance: NovaInstance,
  vifs: readonly Vif[],
  options: DriveOptions,
): Record<string, unknown> {
  const ips = vifs.flatMap((vif) => vif.network.subnets.flatMap((subnet) => subnet.ips));
  const fixed = ips.find((ip) => ip.version === 4);
  const hostname = fullName(instance, options);
  return {
    'instance-id': `i-${instance.id.toString(16).padStart(8, '0')}`,
    'instance-type': instance.flavor.name,
    hostname,
    'local-hostname': hostname,
    'local-ipv4': fixed?.address ?? '',
    'public-ipv4': fixed?.floating_ips[0]?.address ?? '',
    placement: { 'availability-zone': instance.availabilityZone },
    'public-keys': Object.fromEntries(
      instance.keys.map((key, index) => [
        String(index),
        { _name: `${String(index)}=${key.name}`, 'openssh-key': key.publicKey },
      ]),
    ),
  };
}

function fullName(instance: NovaInstance, options: DriveOptions): string {
  return options.dhcpDomain === '' ? instance.hostname : `${instance.hostname}.${options.dhcpDomain}`;
}

function contentPath(index: number): string {
  return `/content/${String(index).padStart(4, '0')}`;
}

/** Releases are dates, and dates sort as text. */
function has(release: string, since: string): boolean {
  return release === LATEST || release >= since;
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}
