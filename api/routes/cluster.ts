/** `/1.0/cluster`: this server stands alone and says so. */
import { Fault } from '../../process/fault.ts';
import { answers, type Method, type Route } from '../http/route.ts';
import { cluster } from '../wire/server.ts';

export interface ClusterRouteParts {
  readonly poolNames: () => readonly string[];
}

/** What only makes sense in a cluster. */
const CLUSTER_ONLY: readonly (readonly [method: Method, path: string])[] = [
  ['PUT', '/1.0/cluster'],
  ['PUT', '/1.0/cluster/certificate'],
  ['GET', '/1.0/cluster/members'],
  ['POST', '/1.0/cluster/members'],
  ['GET', '/1.0/cluster/members/{name}'],
  ['GET', '/1.0/cluster/groups'],
  ['POST', '/1.0/cluster/groups'],
  ['GET', '/1.0/cluster/groups/{name}'],
];

export function clusterRoutes(parts: ClusterRouteParts): Route[] {
  return [
    {
      method: 'GET',
      path: '/1.0/cluster',
      access: 'trusted',
      summary: 'Tells that this server is in no cluster.',
      answer: cluster,
      handle: async () => {
        const shown = { server_name: '', enabled: false, member_config: memberConfig(parts.poolNames()) };
        return answers.sync(shown, shown);
      },
    },
    ...CLUSTER_ONLY.map(([method, path]): Route => ({
      method,
      path,
      access: method === 'GET' ? 'trusted' : 'admin',
      summary: 'Answers that this server is in no cluster.',
      handle: () => Promise.reject(refusal(method)),
    })),
  ];
}

function refusal(method: Method): Fault {
  return method === 'GET'
    ? new Fault('not_found', 'This server is not clustered')
    : new Fault('bad_request', 'This server is not clustered, and clustering is not supported');
}

/** What a joining member would have to say of its own pools. */
function memberConfig(pools: readonly string[]): readonly unknown[] {
  return pools.map((name) => ({
    entity: 'storage-pool',
    name,
    key: 'source',
    value: '',
    description: `"source" property for storage pool "${name}"`,
  }));
}
