/** The volumes of a pool as the API names them: those of instances, and unpacked images. */
import { Fault } from '../../process/fault.ts';
import type { PoolAdmin } from './pools.ts';
import type { RootVolume } from './types.ts';

export const VOLUME_TYPES = ['container', 'virtual-machine', 'image', 'custom'] as const;
export type VolumeType = (typeof VOLUME_TYPES)[number];

export interface ListedVolume {
  readonly type: VolumeType;
  readonly name: string;
  readonly project: string;
}

/** Fault bad_request with LXD's text. */
export function volumeType(text: string): VolumeType {
  const found = VOLUME_TYPES.find((type) => type === text);
  if (found === undefined) {
    throw new Fault('bad_request', `Invalid storage volume type name ${JSON.stringify(text.slice(0, 80))}`);
  }
  return found;
}

/** Images belong to no project; they are shown in `default`, as LXD does. */
export async function listVolumes(
  pools: PoolAdmin,
  pool: string,
  project: string | null,
): Promise<ListedVolume[]> {
  const found: ListedVolume[] = [];
  for (const volume of await pools.volumes(pool)) {
    if (project === null || volume.project === project) {
      found.push({ type: 'container', name: volume.instance, project: volume.project });
    }
  }
  if (project === null || project === 'default') {
    for (const name of await pools.unpackedImages(pool))
      found.push({ type: 'image', name, project: 'default' });
  }
  return found;
}

/** Fault not_found with LXD's text. */
export async function findVolume(
  pools: PoolAdmin,
  pool: string,
  wanted: ListedVolume,
): Promise<ListedVolume> {
  const volumes = await listVolumes(pools, pool, wanted.project);
  const found = volumes.find(({ type, name }) => type === wanted.type && name === wanted.name);
  if (found === undefined) throw new Fault('not_found', 'Storage volume not found');
  return found;
}

export function rootVolume(volume: ListedVolume): RootVolume {
  return { project: volume.project, instance: volume.name };
}

function inProject(url: string, project: string): string {
  return project === 'default' ? url : `${url}?project=${encodeURIComponent(project)}`;
}

export function volumeUrl(pool: string, volume: ListedVolume): string {
  const path = [pool, 'volumes', volume.type, volume.name].map(encodeURIComponent).join('/');
  return inProject(`/1.0/storage-pools/${path}`, volume.project);
}

export function renderVolume(volume: ListedVolume): Readonly<Record<string, unknown>> {
  const kind = volume.type === 'image' ? 'images' : 'instances';
  return {
    config: {},
    description: '',
    name: volume.name,
    type: volume.type,
    used_by: [inProject(`/1.0/${kind}/${encodeURIComponent(volume.name)}`, volume.project)],
    location: 'none',
    content_type: 'filesystem',
    project: volume.project,
    created_at: '0001-01-01T00:00:00Z',
  };
}
