/** What a tenant needs before the first server: flavors, networks, rules, a key, images. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { StepReport } from '../../api/setup/progress.ts';
import { runTool } from '../../api/tools.ts';
import type { Json, OpenStack, ServiceName } from './openstack.ts';
import { PHYSICAL_NETWORK, type Cloud } from './setting.ts';

export const FLAVORS: readonly Json[] = [
  { name: 'tiny', ram: 128, vcpus: 1, disk: 1 },
  { name: 'small', ram: 512, vcpus: 1, disk: 3 },
  { name: 'medium', ram: 2048, vcpus: 2, disk: 10 },
];
export const PUBLIC_NETWORK = 'public';
export const PRIVATE_NETWORK = 'private';
export const KEYPAIR = 'cloud';
const PRIVATE_CIDR = '192.168.144.0/24';

/** Where the key of the first server is. */
export function keyFile(home: string): string {
  return join(home, 'key');
}

/** The thing of this name, or the one that is made now. */
async function ensure(
  api: OpenStack,
  service: ServiceName,
  collection: string,
  kind: string,
  body: Json,
): Promise<string> {
  const plural = collection.split('/').at(-1) ?? '';
  const name = String(body['name']);
  const all = await api.list(service, `/${collection}`, plural.replaceAll('-', '_'));
  const there = all.find((one) => one['name'] === name);
  const found = there ?? (await api.one(service, 'POST', `/${collection}`, kind, { [kind]: body }));
  return String(found['id']);
}

/** Flavors and the network of floating addresses: the operator's part. */
export async function seedAsAdmin(cloud: Cloud, admin: OpenStack): Promise<void> {
  for (const flavor of FLAVORS) await ensure(admin, 'compute', 'flavors', 'flavor', flavor);
  const network = await ensure(admin, 'network', 'networks', 'network', {
    name: PUBLIC_NETWORK,
    'router:external': true,
    'provider:network_type': 'flat',
    'provider:physical_network': PHYSICAL_NETWORK,
  });
  const { floating } = cloud.facts;
  await ensure(admin, 'network', 'subnets', 'subnet', {
    name: PUBLIC_NETWORK,
    network_id: network,
    ip_version: 4,
    cidr: `${floating}.0/24`,
    gateway_ip: `${floating}.1`,
    enable_dhcp: false,
    allocation_pools: [{ start: `${floating}.10`, end: `${floating}.250` }],
  });
}

/** Network, router, rules and key of a tenant. Returns the id of the network servers go on. */
export async function seedAsTenant(cloud: Cloud, tenant: OpenStack): Promise<string> {
  const network = await ensure(tenant, 'network', 'networks', 'network', { name: PRIVATE_NETWORK });
  const subnet = await ensure(tenant, 'network', 'subnets', 'subnet', {
    name: PRIVATE_NETWORK,
    network_id: network,
    ip_version: 4,
    cidr: PRIVATE_CIDR,
  });
  await ensureRouter(tenant, subnet);
  await openGroup(tenant);
  await ensureKey(cloud, tenant);
  return network;
}

async function ensureRouter(tenant: OpenStack, subnet: string): Promise<void> {
  const outside = await tenant.list('network', `/networks?name=${PUBLIC_NETWORK}`, 'networks');
  const router = await ensure(tenant, 'network', 'routers', 'router', {
    name: PRIVATE_NETWORK,
    external_gateway_info: { network_id: outside[0]?.['id'] },
  });
  const ports = await tenant.list('network', `/ports?device_id=${router}`, 'ports');
  const isThere = ports.some((port) => JSON.stringify(port['fixed_ips']).includes(subnet));
  if (isThere) return;
  await tenant.request('network', 'PUT', `/routers/${router}/add_router_interface`, { subnet_id: subnet });
}

/** Everything may come in to servers of the group `default`: this is a cloud to try things on. */
async function openGroup(tenant: OpenStack): Promise<void> {
  // An admin would see the groups of every project.
  const project = await projectOf(tenant);
  const groups = await tenant.list(
    'network',
    `/security-groups?name=default&project_id=${project}`,
    'security_groups',
  );
  const group = String(groups[0]?.['id']);
  const query = `/security-group-rules?security_group_id=${group}&direction=ingress`;
  const rules = await tenant.list('network', query, 'security_group_rules');
  if (rules.some((rule) => rule['remote_ip_prefix'] === '0.0.0.0/0')) return;
  await tenant.request('network', 'POST', '/security-group-rules', {
    security_group_rule: {
      security_group_id: group,
      direction: 'ingress',
      ethertype: 'IPv4',
      remote_ip_prefix: '0.0.0.0/0',
    },
  });
}

async function projectOf(tenant: OpenStack): Promise<string> {
  const [project] = await tenant.list('identity', '/auth/projects', 'projects');
  return String(project?.['id']);
}

async function ensureKey(cloud: Cloud, tenant: OpenStack): Promise<void> {
  const file = keyFile(cloud.home);
  if (!existsSync(file)) {
    await runTool('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'slipway-cloud', '-f', file]);
  }
  const text = (await readFile(`${file}.pub`, 'utf8')).trim();
  const known = await tenant.list('compute', '/os-keypairs', 'keypairs');
  // Each entry wraps the one object it is about.
  const pairs = known.map((one) => one['keypair'] as Json);
  if (pairs.some((pair) => pair['name'] === KEYPAIR)) return;
  const keypair = { name: KEYPAIR, type: 'ssh', public_key: text };
  await tenant.request('compute', 'POST', '/os-keypairs', { keypair });
}

/** Uploads a file as a public image, unless one of this name is there. Returns its id. */
export async function ensureImage(
  admin: OpenStack,
  name: string,
  properties: Json,
  makeFile: () => Promise<string>,
  report: StepReport,
): Promise<string> {
  const known = await admin.list('image', `/images?name=${encodeURIComponent(name)}&status=active`, 'images');
  const there = known[0]?.['id'];
  if (typeof there === 'string') {
    report.result('there already');
    return there;
  }
  const file = await makeFile();
  const body = { name, visibility: 'public', container_format: 'bare', disk_format: 'raw', ...properties };
  report.detail('uploading');
  const made = await admin.request('image', 'POST', '/images', body);
  const id = String(made['id']);
  await admin.upload(id, file);
  report.result(`uploaded, ${id}`);
  return id;
}
