/**
 * `/1.0/storage-pools/{pool}/volumes`: what is in a pool.
 *
 * Volumes of instances and images come and go with them. Custom volumes are
 * not there yet: lists are empty, and making one is refused.
 */
import { Fault } from '../../process/fault.ts';
import { parseFilter } from '../filter.ts';
import type { Call, Route } from '../http/route.ts';
import { answers } from '../http/route.ts';
import type { Answer } from '../http/route.ts';
import type { PoolAdmin } from '../storage/pools.ts';
import {
  findVolume,
  listVolumes,
  renderVolume,
  rootVolume,
  volumeType,
  volumeUrl,
} from '../storage/volume-list.ts';
import type { ListedVolume } from '../storage/volume-list.ts';
import {
  storageVolume,
  storageVolumeList,
  storageVolumePost,
  storageVolumePut,
  storageVolumeState,
  storageVolumesPost,
} from '../wire/storage.ts';

const ALL = '/1.0/storage-pools/{pool}/volumes';
const TYPE = `${ALL}/{type}`;
const ONE = `${TYPE}/{name}`;

export function storageVolumeRoutes(pools: PoolAdmin): Route[] {
  return [...lists(pools), ...single(pools), ...creation(pools), ...changes(pools)];
}

const poolOf = (call: Call): string => call.params['pool'] ?? '';

function wanted(call: Call): ListedVolume {
  return {
    type: volumeType(call.params['type'] ?? ''),
    name: call.params['name'] ?? '',
    project: call.project,
  };
}

function lists(pools: PoolAdmin): Route[] {
  const list = async (call: Call, type: string | null): Promise<Answer> => {
    pools.record(poolOf(call));
    const only = type === null ? null : volumeType(type);
    const accepts = parseFilter(call.query.get('filter') ?? '');
    const isForAll = call.query.get('all-projects') === 'true' && call.caller.admin;
    const volumes = (await listVolumes(pools, poolOf(call), isForAll ? null : call.project))
      .filter((volume) => only === null || volume.type === only)
      .map((volume) => ({ volume, wire: renderVolume(volume) }))
      .filter(({ wire }) => accepts(wire));
    if (call.recursion > 0) return answers.sync(volumes.map(({ wire }) => wire));
    return answers.sync(volumes.map(({ volume }) => volumeUrl(poolOf(call), volume)));
  };
  return [
    {
      method: 'GET',
      path: ALL,
      access: 'project',
      summary: 'Lists the volumes of a pool.',
      answer: storageVolumeList,
      handle: (call) => list(call, null),
    },
    {
      method: 'GET',
      path: TYPE,
      access: 'project',
      summary: 'Lists the volumes of one type.',
      answer: storageVolumeList,
      handle: (call) => list(call, call.params['type'] ?? ''),
    },
  ];
}

function single(pools: PoolAdmin): Route[] {
  return [
    {
      method: 'GET',
      path: ONE,
      access: 'project',
      summary: 'Shows a volume.',
      answer: storageVolume,
      handle: async (call) => {
        const found = renderVolume(await findVolume(pools, poolOf(call), wanted(call)));
        return answers.sync(found, [found['name'], found['type'], found['config']]);
      },
    },
    {
      method: 'GET',
      path: `${ONE}/state`,
      access: 'project',
      summary: 'Shows how full a volume is, where its driver can tell.',
      answer: storageVolumeState,
      handle: async (call) => {
        const volume = await findVolume(pools, poolOf(call), wanted(call));
        const use =
          volume.type === 'container' ? await pools.volumeUse(poolOf(call), rootVolume(volume)) : null;
        // Differs: LXD answers 500 "Not supported"; no client looks at the number.
        if (use === null) throw new Fault('not_implemented', 'Not supported');
        return answers.sync({ usage: { used: use.used, total: use.total } });
      },
    },
  ];
}

function creation(pools: PoolAdmin): Route[] {
  const create = async (call: Call): Promise<Answer> => {
    pools.record(poolOf(call));
    const body = storageVolumesPost.parse(call.body);
    const type = volumeType(call.params['type'] ?? body.type ?? '');
    if (type !== 'custom')
      throw new Fault('bad_request', `Currently not allowed to create storage volumes of type ${type}`);
    throw new Fault('not_implemented', 'custom storage volumes are not implemented');
  };
  return [
    {
      method: 'POST',
      path: ALL,
      access: 'project',
      summary: 'Makes a custom volume (not implemented).',
      body: storageVolumesPost,
      handle: create,
    },
    {
      method: 'POST',
      path: TYPE,
      access: 'project',
      summary: 'Makes a custom volume (not implemented).',
      body: storageVolumesPost,
      handle: create,
    },
  ];
}

function changes(pools: PoolAdmin): Route[] {
  const refuse = async (call: Call, what: string): Promise<Answer> => {
    const volume = wanted(call);
    if (volume.type === 'custom') {
      pools.record(poolOf(call));
      throw new Fault('not_found', 'Storage volume not found');
    }
    await findVolume(pools, poolOf(call), volume);
    throw new Fault(
      'bad_request',
      `Storage volumes of type "${volume.type}" cannot be ${what} with the storage API`,
    );
  };
  return [
    {
      method: 'POST',
      path: ONE,
      access: 'project',
      summary: 'Renames a custom volume.',
      body: storageVolumePost,
      handle: (call) => refuse(call, 'renamed'),
    },
    {
      method: 'PUT',
      path: ONE,
      access: 'project',
      summary: 'Replaces the configuration of a custom volume.',
      body: storageVolumePut,
      handle: (call) => refuse(call, 'changed'),
    },
    {
      method: 'PATCH',
      path: ONE,
      access: 'project',
      summary: 'Changes the configuration of a custom volume.',
      body: storageVolumePut,
      handle: (call) => refuse(call, 'changed'),
    },
    {
      method: 'DELETE',
      path: ONE,
      access: 'project',
      summary: 'Deletes a custom volume.',
      handle: (call) => refuse(call, 'deleted'),
    },
  ];
}
