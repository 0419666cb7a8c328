/** `/1.0/storage-pools`: the pools and their space. Volumes are in storage-volumes.ts. */
import type { Call, Route } from '../http/route.ts';
import { answers } from '../http/route.ts';
import type { Answer } from '../http/route.ts';
import type { PoolAdmin } from '../storage/pools.ts';
import type { PoolRecord } from '../storage/types.ts';
import {
  storagePool,
  storagePoolList,
  storagePoolPut,
  storagePoolResources,
  storagePoolsPost,
} from '../wire/storage.ts';
import { visibleUsers } from './visible-users.ts';

const LIST = '/1.0/storage-pools';
const ONE = '/1.0/storage-pools/{name}';

export function storageRoutes(pools: PoolAdmin): Route[] {
  return [...collection(pools), ...single(pools), resources(pools)];
}

const nameOf = (call: Call): string => call.params['name'] ?? '';

function collection(pools: PoolAdmin): Route[] {
  return [
    {
      method: 'GET',
      path: LIST,
      access: 'trusted',
      summary: 'Lists the storage pools.',
      answer: storagePoolList,
      handle: async (call) => {
        if (call.recursion > 0) {
          return answers.sync(
            await Promise.all(pools.records().map((record) => render(pools, record, call))),
          );
        }
        return answers.sync(pools.names().map((name) => `${LIST}/${encodeURIComponent(name)}`));
      },
    },
    {
      method: 'POST',
      path: LIST,
      access: 'admin',
      summary: 'Makes a storage pool.',
      body: storagePoolsPost,
      handle: async (call) => {
        const body = storagePoolsPost.parse(call.body);
        const name = body.name ?? '';
        const request = {
          name,
          driver: body.driver ?? '',
          description: body.description ?? '',
          config: clean(body.config),
        };
        await pools.create(request, call.caller.requestor);
        return answers.created(`${LIST}/${encodeURIComponent(name)}`);
      },
    },
  ];
}

function single(pools: PoolAdmin): Route[] {
  const change = async (call: Call, replace: boolean): Promise<Answer> => {
    const body = storagePoolPut.parse(call.body);
    const description = body.description;
    const wanted = {
      ...(description === null || description === undefined ? {} : { description }),
      config: clean(body.config),
      check: (pool: PoolRecord) => {
        call.checkEtag(etagOf(pool));
      },
    };
    await pools.update(nameOf(call), wanted, replace, call.caller.requestor);
    return answers.empty();
  };
  return [
    {
      method: 'GET',
      path: ONE,
      access: 'trusted',
      summary: 'Shows a storage pool.',
      answer: storagePool,
      handle: async (call) => {
        const record = pools.record(nameOf(call));
        return answers.sync(await render(pools, record, call), etagOf(record));
      },
    },
    {
      method: 'PUT',
      path: ONE,
      access: 'admin',
      summary: 'Replaces description and configuration of a storage pool.',
      body: storagePoolPut,
      handle: (call) => change(call, true),
    },
    {
      method: 'PATCH',
      path: ONE,
      access: 'admin',
      summary: 'Changes what is given of a storage pool.',
      body: storagePoolPut,
      handle: (call) => change(call, false),
    },
    {
      method: 'DELETE',
      path: ONE,
      access: 'admin',
      summary: 'Deletes a storage pool that nothing uses.',
      handle: async (call) => {
        await pools.remove(nameOf(call), call.caller.requestor);
        return answers.empty();
      },
    },
  ];
}

function resources(pools: PoolAdmin): Route {
  return {
    method: 'GET',
    path: `${ONE}/resources`,
    access: 'trusted',
    summary: 'Shows how full a storage pool is.',
    answer: storagePoolResources,
    handle: async (call) => {
      const { space, inodes } = await pools.resources(nameOf(call));
      // LXD leaves out a use of 0.
      const shown = space.used === 0 ? { total: space.total } : space;
      return answers.sync({ space: shown, inodes });
    },
  };
}

/** A null value is Go's zero value: the key goes. */
function clean(map: Readonly<Record<string, string | null>> | null | undefined): Record<string, string> {
  return Object.fromEntries(Object.entries(map ?? {}).map(([key, value]) => [key, value ?? '']));
}

function etagOf(record: PoolRecord): unknown {
  return [record.name, record.driver, record.config];
}

async function render(
  pools: PoolAdmin,
  record: PoolRecord,
  call: Call,
): Promise<Readonly<Record<string, unknown>>> {
  return {
    // It tells paths of the host.
    config: call.caller.admin ? record.config : {},
    description: record.description,
    name: record.name,
    driver: record.driver,
    used_by: visibleUsers(await pools.usedBy(record.name), call.caller),
    status: record.status,
    locations: ['none'],
  };
}
