/** The definition of an instance that is to be made from an image or from nothing. */
import { Fault } from '../../process/fault.ts';
import type { DeviceMap, StringMap } from '../db/rows.ts';
import type { FoundImage } from '../images/types.ts';
import type { VolumeSource } from '../storage/types.ts';
import type { InstancesPostWire } from '../wire/instances.ts';
import { decodeArchitecture, decodeConfig, decodeDevices } from './definition.ts';
import { limitsOfType } from './instance-types.ts';
import type { InstanceParts } from './parts.ts';
import { hasControlCharacter } from './values.ts';
import { keepForNew } from './volatile-keys.ts';

export type CreateParts = Pick<
  InstanceParts,
  'store' | 'runtime' | 'pools' | 'networks' | 'images' | 'events' | 'lanes' | 'log'
>;

/** What is to be made, before it has a name and its volatile keys. */
export interface Draft {
  readonly architecture: string;
  readonly profiles: readonly string[];
  readonly config: StringMap;
  readonly devices: DeviceMap;
  readonly ephemeral: boolean;
  readonly description: string;
  /** Templates to render at the first start. */
  readonly trigger: 'create' | 'copy';
  readonly baseImage: string | null;
  readonly volume: VolumeSource;
  readonly image: FoundImage | null;
  /** Runs `work` while the source holds still. */
  readonly around: (work: () => Promise<void>) => Promise<void>;
  /** Key of the operation's metadata that shows progress. */
  readonly progressKey: string;
  /** Pool the source forces; null for any. */
  readonly pool: string | null;
}

/** Faults not_found (no such image), bad_request, not_implemented (images of other servers). */
export async function draftFromImage(
  parts: CreateParts,
  project: string,
  body: InstancesPostWire,
): Promise<Draft> {
  const source = body.source ?? {};
  if ((source.server ?? '') !== '') {
    throw new Fault(
      'not_implemented',
      'creating from an image of another server is not done yet; import the image first',
    );
  }
  const properties = decodeConfig(source.properties);
  if (
    (source.alias ?? '') === '' &&
    (source.fingerprint ?? '') === '' &&
    Object.keys(properties).length === 0
  ) {
    throw new Fault('bad_request', 'the source needs an alias, a fingerprint or properties of an image');
  }
  const image = await parts.images.find({
    project,
    ...((source.alias ?? '') === '' ? {} : { alias: source.alias ?? '' }),
    ...((source.fingerprint ?? '') === '' ? {} : { fingerprint: source.fingerprint ?? '' }),
    ...(Object.keys(properties).length === 0 ? {} : { properties }),
  });
  if ((body.architecture ?? '') !== '') decodeArchitecture(body.architecture ?? '');
  return {
    ...common(body),
    architecture: decodeArchitecture(image.row.architecture),
    profiles: body.profiles ?? image.row.profiles ?? ['default'],
    config: { ...ownConfig(body), ...imageConfig(image.row.properties) },
    baseImage: image.fingerprint,
    volume: { kind: 'image', image },
    image,
    progressKey: 'create_instance_from_image_unpack_progress',
  };
}

/** An empty root file system, to be filled by hand. */
export function draftEmpty(body: InstancesPostWire): Draft {
  return {
    ...common(body),
    architecture: decodeArchitecture(body.architecture ?? ''),
    profiles: body.profiles ?? ['default'],
    config: ownConfig(body),
    baseImage: null,
    volume: { kind: 'empty' },
    image: null,
    progressKey: 'instance_progress',
  };
}

function common(body: InstancesPostWire) {
  return {
    devices: decodeDevices(body.devices),
    ephemeral: body.ephemeral ?? false,
    description: body.description ?? '',
    trigger: 'create' as const,
    around: (work: () => Promise<void>) => work(),
    pool: null,
  };
}

/** The request's own keys, over the limits its instance type stands for. */
export function ownConfig(body: InstancesPostWire): StringMap {
  const type = body.instance_type ?? '';
  return { ...(type === '' ? {} : limitsOfType(type)), ...keepForNew(decodeConfig(body.config)) };
}

/** Properties of an image as `image.*` keys, without those that are no keys. */
function imageConfig(properties: StringMap): StringMap {
  const entries = Object.entries(properties)
    .filter(
      ([key, value]) => key !== '' && !hasControlCharacter(key) && value !== '' && !value.includes('\0'),
    )
    .map(([key, value]) => [`image.${key}`, value] as const);
  return Object.fromEntries(entries);
}
