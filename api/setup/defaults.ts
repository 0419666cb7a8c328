/** The embedded defaults: one pool, one managed bridge, and a default profile that uses them. Only what is missing is made. */
import type { RestClient } from './rest-client.ts';

const POOL = 'default';
const PROFILE = 'default';

type Devices = Record<string, Record<string, string>>;

/** Each function returns what it made, or null when all was there. */
export async function ensurePool(client: RestClient, signal: AbortSignal): Promise<string | null> {
  const pools = names(await client.get('/1.0/storage-pools', signal));
  if (pools.length > 0) return null;
  await client.change('POST', '/1.0/storage-pools', { name: POOL, driver: 'overlay', config: {} }, signal);
  return `pool ${POOL} made, driver overlay`;
}

export async function ensureNetwork(client: RestClient, signal: AbortSignal): Promise<string | null> {
  const networks = await listNetworks(client, signal);
  if (networks.some(isOwnBridge)) return null;
  const name = freeBridgeName(networks.map((network) => network.name));
  await client.change('POST', '/1.0/networks', { name, type: 'bridge', config: {} }, signal);
  const made = await client.get(`/1.0/networks/${name}`, signal);
  // The shape is this program's own answer.
  const { config } = made as { config?: Record<string, string> };
  return `bridge ${name} made, ${config?.['ipv4.address'] ?? 'no IPv4'}`;
}

interface Network {
  readonly name: string;
  readonly type: string;
  readonly managed: boolean;
}

async function listNetworks(client: RestClient, signal: AbortSignal): Promise<Network[]> {
  // The shape is this program's own answer; interfaces of the host are in it, too.
  return (await client.get('/1.0/networks?recursion=1', signal)) as Network[];
}

function isOwnBridge(network: Network): boolean {
  return network.managed && network.type === 'bridge';
}

/** `slipbr0`, or the next one where another daemon on this host has that. */
export function freeBridgeName(taken: readonly string[]): string {
  let number = 0;
  while (taken.includes(`slipbr${String(number)}`)) number++;
  return `slipbr${String(number)}`;
}

export async function ensureProfile(client: RestClient, signal: AbortSignal): Promise<string | null> {
  const path = `/1.0/profiles/${PROFILE}`;
  // The shape is this program's own answer.
  const profile = (await client.get(path, signal)) as {
    description?: string;
    config?: Record<string, string>;
    devices?: Devices;
  };
  const devices = profile.devices ?? {};
  const added: Devices = {};
  if (!Object.values(devices).some((device) => device['type'] === 'disk' && device['path'] === '/')) {
    added['root'] = { type: 'disk', path: '/', pool: await firstPool(client, signal) };
  }
  if (!Object.values(devices).some((device) => device['type'] === 'nic')) {
    const bridge = (await listNetworks(client, signal)).find(isOwnBridge);
    if (bridge !== undefined) added['eth0'] = { type: 'nic', name: 'eth0', network: bridge.name };
  }
  if (Object.keys(added).length === 0) return null;
  const body = {
    description: profile.description ?? '',
    config: profile.config ?? {},
    devices: { ...devices, ...added },
  };
  await client.change('PUT', path, body, signal);
  return `${Object.keys(added).join(' and ')} added to profile ${PROFILE}`;
}

async function firstPool(client: RestClient, signal: AbortSignal): Promise<string> {
  const pools = names(await client.get('/1.0/storage-pools', signal));
  return pools.includes(POOL) ? POOL : (pools[0] ?? POOL);
}

/** The last parts of a list of URLs. */
function names(urls: unknown): string[] {
  if (!Array.isArray(urls)) return [];
  return urls.map((url) => decodeURIComponent(String(url).split('/').at(-1) ?? ''));
}
