/** A server of Nova's as the definition of a container, and changes of it. Pure. */
import { isUtf8 } from 'node:buffer';
import type { NetworkInfo, Vif } from '../cloud/vif.ts';
import { UUID_KEY, type LxdInstance } from './client.ts';
import { flavorLimits } from './flavor-limits.ts';
import {
  freeNicName,
  instanceBody,
  nicConfig,
  nicDevice,
  type DeviceConfig,
  type InstanceBody,
  type SpecOptions,
} from './instance-spec.ts';
import type { NovaInstance } from './nova-instance.ts';

/** In place of the uuid: the guest this one was put aside for while it is rescued. */
export const KEPT_KEY = 'user.nova.kept_for';
/** User whose password Nova sets. */
export const ADMIN_KEY = 'user.nova.admin_user';
/** Limits of nics that come later, as JSON. */
const NIC_LIMITS_KEY = 'user.nova.nic_limits';
const EPHEMERAL_DEVICE = 'ephemeral0';
const RESCUED_DEVICE = 'rescued';
/** Where the root of a server under rescue is found inside. */
export const RESCUED_PATH = '/mnt/rescued';
/** Where cloud-init, and Nova's own documents, expect it. */
const EPHEMERAL_PATH = '/mnt';

/** What a change of an instance's definition sends. */
export interface Definition {
  readonly architecture: string;
  readonly description: string;
  readonly ephemeral: false;
  readonly profiles: readonly string[];
  readonly config: Readonly<Record<string, string>>;
  readonly devices: Readonly<Record<string, DeviceConfig>>;
}

/**
 * What every guest of Nova's has. By the variable of its init cloud-init knows
 * that there is a metadata service; the guest API of LXD would lead it elsewhere.
 */
const FIXED_CONFIG = {
  'environment.product_name': 'OpenStack Nova',
  'security.devlxd': 'false',
};

/** The body that makes the guest of a server. */
export function guestBody(instance: NovaInstance, vifs: NetworkInfo, options: SpecOptions): InstanceBody {
  const body = instanceBody(instance, vifs, options);
  const { nic } = flavorLimits(instance.flavor);
  const adminUser = instance.systemMetadata['image_os_admin_user'] ?? '';
  const config = {
    ...body.config,
    ...FIXED_CONFIG,
    ...hostnameConfig(instance.hostname),
    ...(Object.keys(nic).length === 0 ? {} : { [NIC_LIMITS_KEY]: JSON.stringify(nic) }),
    ...(adminUser === '' ? {} : { [ADMIN_KEY]: adminUser }),
  };
  return { ...body, config, devices: { ...body.devices, ...ephemeralDisk(instance) } };
}

/** The same with what templates of LXD's images make a NoCloud seed of, which cloud-init would believe first. */
export function withSeeds(body: InstanceBody, instance: NovaInstance): InstanceBody {
  const userData = instance.userData === null ? '' : seedText(Buffer.from(instance.userData, 'base64'));
  const meta = [
    `instance-id: ${instance.uuid}`,
    `local-hostname: ${JSON.stringify(instance.hostname)}`,
    'public-keys:',
    // JSON is YAML.
    ...instance.keys.map((key) => `  - ${JSON.stringify(key.publicKey.trim())}`),
  ];
  if (instance.keys.length === 0) meta.pop();
  const seeds = {
    'user.meta-data': `${meta.join('\n')}\n`,
    ...(userData === '' ? {} : { 'user.user-data': userData }),
  };
  return { ...body, config: { ...seeds, ...body.config } };
}

/** A key holds text: what is none (user data are often compressed) is a message of MIME, which cloud-init opens. */
function seedText(userData: Buffer): string {
  if (isUtf8(userData)) return userData.toString('utf8');
  const isGzip = userData[0] === 0x1f && userData[1] === 0x8b;
  return [
    'MIME-Version: 1.0',
    `Content-Type: application/${isGzip ? 'gzip' : 'octet-stream'}`,
    'Content-Transfer-Encoding: base64',
    '',
    ...(userData.toString('base64').match(/.{1,76}/g) ?? []),
    '',
  ].join('\n');
}

/** The body of the guest that looks after another one, which is called `kept` meanwhile. */
export function rescueBody(
  instance: NovaInstance,
  vifs: NetworkInfo,
  options: SpecOptions & { readonly kept: string },
): InstanceBody {
  const body = guestBody(instance, vifs, options);
  const devices = Object.entries(body.devices).filter(([name]) => name !== EPHEMERAL_DEVICE);
  const rescued = { type: 'disk', source: `root:${options.kept}`, path: RESCUED_PATH };
  return { ...body, devices: { ...Object.fromEntries(devices), [RESCUED_DEVICE]: rescued } };
}

/** True for the guest that was started to rescue another. */
export function isRescuer(found: Pick<LxdInstance, 'devices'>): boolean {
  return found.devices[RESCUED_DEVICE] !== undefined;
}

/** A definition as it is. */
export function definitionOf(found: LxdInstance): Definition {
  const { architecture, description, profiles, config, devices } = found;
  return { architecture, description, ephemeral: false, profiles, config, devices };
}

/** As it is but for its nics; null when it has these already. */
export function withNics(found: LxdInstance, vifs: NetworkInfo): Definition | null {
  const uuid = found.config[UUID_KEY] ?? '';
  const devices: Record<string, DeviceConfig> = {};
  for (const [name, device] of Object.entries(found.devices)) {
    if (device['type'] !== 'nic') devices[name] = device;
  }
  const taken = vifs.flatMap((vif) => guestName(found, vif) ?? []);
  for (const vif of vifs) {
    const known = guestName(found, vif);
    const name = known ?? freeNicName(taken);
    if (known === null) taken.push(name);
    devices[nicDevice(vif)] = nicConfig(vif, uuid, name, nicLimits(found));
  }
  return areSame(devices, found.devices) ? null : { ...definitionOf(found), devices };
}

/** One nic more; null when it is there. */
export function withNic(found: LxdInstance, vif: Vif): Readonly<Record<string, DeviceConfig>> | null {
  if (found.devices[nicDevice(vif)] !== undefined) return null;
  const taken = Object.values(found.devices).flatMap((device) => device['name'] ?? []);
  const uuid = found.config[UUID_KEY] ?? '';
  return { [nicDevice(vif)]: nicConfig(vif, uuid, freeNicName(taken), nicLimits(found)) };
}

/** One nic less; null when there is none of that name. */
export function withoutNic(found: LxdInstance, device: string): Definition | null {
  if (found.devices[device]?.['type'] !== 'nic') return null;
  const devices = Object.entries(found.devices).filter(([name]) => name !== device);
  return { ...definitionOf(found), devices: Object.fromEntries(devices) };
}

/**
 * The definition made anew from what Nova knows. The root disk's size, which
 * cannot be changed in passing, and what the daemon itself noted, stay.
 */
export function renewed(
  found: LxdInstance,
  instance: NovaInstance,
  vifs: NetworkInfo,
  pool: string,
): Definition {
  const options = { name: found.name, fingerprint: '', pool, start: false };
  const kept = found.devices[RESCUED_DEVICE]?.['source']?.replace(/^root:/, '');
  const body =
    kept === undefined
      ? guestBody(instance, vifs, options)
      : rescueBody(instance, vifs, { ...options, kept });
  const own = Object.entries(found.config).filter(([key]) =>
    /^(?:volatile|image)\.|^user\.(?:meta|user)-data$/.test(key),
  );
  return {
    ...definitionOf(found),
    description: body.description,
    config: { ...Object.fromEntries(own), ...body.config },
    devices: { ...body.devices, ...others(found, body) },
  };
}

/** Devices that are not made of the flavor and the ports, and the root as it is. */
function others(found: LxdInstance, body: InstanceBody): Record<string, DeviceConfig> {
  const out: Record<string, DeviceConfig> = {};
  for (const [name, device] of Object.entries(found.devices)) {
    if (device['type'] === 'nic') continue;
    if (body.devices[name] === undefined || device['path'] === '/') out[name] = device;
  }
  return out;
}

function guestName(found: LxdInstance, vif: Vif): string | null {
  return found.devices[nicDevice(vif)]?.['name'] ?? null;
}

function nicLimits(found: LxdInstance): DeviceConfig {
  const value: unknown = JSON.parse(found.config[NIC_LIMITS_KEY] ?? '{}');
  if (typeof value !== 'object' || value === null) return {};
  return Object.fromEntries(Object.entries(value).map(([key, limit]) => [key, String(limit)]));
}

/** Without it a guest that has no cloud-init would be called after its container. */
function hostnameConfig(hostname: string): Record<string, string> {
  const isName = /^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,62}[A-Za-z0-9])?$/.test(hostname);
  return isName ? { 'slipway.hostname': hostname } : {};
}

function ephemeralDisk(instance: NovaInstance): Record<string, DeviceConfig> {
  const { ephemeralGb } = instance.flavor;
  if (ephemeralGb === 0) return {};
  const size = `${String(ephemeralGb)}GiB`;
  return { [EPHEMERAL_DEVICE]: { type: 'disk', source: 'empty:', size, path: EPHEMERAL_PATH } };
}

function areSame(
  a: Readonly<Record<string, DeviceConfig>>,
  b: Readonly<Record<string, DeviceConfig>>,
): boolean {
  const names = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...names].every((name) => {
    const [one, other] = [a[name], b[name]];
    if (one === undefined || other === undefined) return false;
    const keys = new Set([...Object.keys(one), ...Object.keys(other)]);
    return [...keys].every((key) => (one[key] ?? '') === (other[key] ?? ''));
  });
}
