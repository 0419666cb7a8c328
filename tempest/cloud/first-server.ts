/** The first server: made, given a floating address, and asked for over TCP. */
import { connect } from 'node:net';
import type { StepReport } from '../../api/setup/progress.ts';
import { Fault, isFault } from '../../process/fault.ts';
import { eventually, type Json, type OpenStack } from './openstack.ts';
import { KEYPAIR, PUBLIC_NETWORK } from './seed.ts';

export const FIRST_SERVER = 'first';
const ACTIVE_MS = 180_000;
const GONE_MS = 120_000;
const TCP_MS = 120_000;
const CONNECT_MS = 2000;

export interface ServerWish {
  readonly name: string;
  readonly image: string;
  readonly flavor: string;
  readonly network: string;
}

/** The tenant's server of this name; null when there is none. */
export async function findServer(tenant: OpenStack, name: string): Promise<Json | null> {
  const servers = await tenant.list('compute', `/servers/detail?name=^${name}$`, 'servers');
  return servers[0] ?? null;
}

/** Makes the server unless it is there, and waits until it is ACTIVE. Returns its id. */
export async function ensureServer(tenant: OpenStack, wish: ServerWish, report: StepReport): Promise<string> {
  const there = await usable(tenant, await findServer(tenant, wish.name), report);
  const id = there === null ? await createServer(tenant, wish) : String(there['id']);
  if (there?.['status'] === 'SHUTOFF') {
    await tenant.request('compute', 'POST', `/servers/${id}/action`, { 'os-start': null });
  }
  await awaitActive(tenant, id, report);
  report.result(there === null ? `ACTIVE, ${id}` : 'there already');
  return id;
}

/** A server of an attempt that failed is no help: it goes. */
async function usable(tenant: OpenStack, server: Json | null, report: StepReport): Promise<Json | null> {
  if (server?.['status'] !== 'ERROR') return server;
  report.detail('removing the one that is in ERROR');
  await deleteServer(tenant, String(server['id']));
  return null;
}

/** Deletes a server and waits until Nova does not know it. Fault not_found when it never did. */
export async function deleteServer(tenant: OpenStack, id: string): Promise<void> {
  await tenant.request('compute', 'DELETE', `/servers/${id}`);
  await eventually(`server ${id} is gone`, GONE_MS, async () =>
    tenant.get('compute', `/servers/${id}`).then(
      () => null,
      (err: unknown) => {
        if (isFault(err, 'not_found')) return true;
        throw err;
      },
    ),
  );
}

async function createServer(tenant: OpenStack, wish: ServerWish): Promise<string> {
  const flavors = await tenant.list('compute', '/flavors', 'flavors');
  const flavor = flavors.find((one) => one['name'] === wish.flavor)?.['id'];
  const server = await tenant.one('compute', 'POST', '/servers', 'server', {
    server: {
      name: wish.name,
      imageRef: wish.image,
      flavorRef: flavor,
      key_name: KEYPAIR,
      config_drive: true,
      networks: [{ uuid: wish.network }],
    },
  });
  return String(server['id']);
}

/** Waits for ACTIVE. Fault tool_failed with Nova's own fault when the server ends in ERROR. */
export async function awaitActive(tenant: OpenStack, id: string, report?: StepReport): Promise<Json> {
  return eventually(`server ${id} becomes ACTIVE`, ACTIVE_MS, async () => {
    const server = await tenant.one('compute', 'GET', `/servers/${id}`, 'server');
    report?.detail(`${String(server['status'])}, ${String(server['OS-EXT-STS:task_state'] ?? 'no task')}`);
    if (server['status'] === 'ERROR') {
      // Nova adds it to servers in ERROR.
      const fault = server['fault'] as Json | undefined;
      throw new Fault(
        'tool_failed',
        `server ${id} is in ERROR: ${String(fault?.['message'] ?? 'no fault is told')}`,
      );
    }
    const isDone = server['status'] === 'ACTIVE' && server['OS-EXT-STS:task_state'] === null;
    return isDone ? server : null;
  });
}

/** The port of a server's first card. */
export async function portOf(tenant: OpenStack, server: string): Promise<Json> {
  const [port] = await tenant.list('network', `/ports?device_id=${server}`, 'ports');
  if (port === undefined) throw new Fault('not_found', `server ${server} has no port`);
  return port;
}

/** The floating address of a server; given to it when it has none. */
export async function ensureFloating(tenant: OpenStack, server: string): Promise<string> {
  const port = String((await portOf(tenant, server))['id']);
  const [there] = await tenant.list('network', `/floatingips?port_id=${port}`, 'floatingips');
  if (there !== undefined) return String(there['floating_ip_address']);
  const [outside] = await tenant.list('network', `/networks?name=${PUBLIC_NETWORK}`, 'networks');
  const made = await tenant.one('network', 'POST', '/floatingips', 'floatingip', {
    floatingip: { floating_network_id: outside?.['id'], port_id: port },
  });
  return String(made['floating_ip_address']);
}

/** Waits until something accepts a connection. */
export async function awaitTcp(address: string, port: number): Promise<void> {
  const what = `${address} answers on TCP port ${String(port)}`;
  await eventually(what, TCP_MS, async () => ((await reaches(address, port)) ? true : null));
}

export function reaches(address: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port, timeout: CONNECT_MS });
    const end = (answer: boolean) => () => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', end(true)).once('error', end(false)).once('timeout', end(false));
  });
}
