/** What is sent to the cloud, beside what nova-compute was seen to send, and what is made of the answers. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { serviceContext } from '../../driver/cloud/call-context.ts';
import { hostInventories } from '../../driver/cloud/host-inventory.ts';
import { buildNetworkInfo } from '../../driver/cloud/network-info.ts';
import { PortAllocation } from '../../driver/cloud/port-allocation.ts';
import { SILENT } from '../../process/log.ts';
import { cloudServices, userContext, type CloudServices } from '../support/cloud-services.ts';
import { FakeCloud, type Asked } from '../support/fake-cloud.ts';

interface Captured {
  readonly method: string;
  readonly path: string;
  readonly version: string | null;
  readonly service_token: boolean;
  readonly body: unknown;
  readonly status: number;
  readonly answer: unknown;
}

type Fixtures = Readonly<Record<string, readonly Captured[]>> & { readonly network_info: readonly unknown[] };

const FIXTURES = JSON.parse(
  readFileSync(new URL('../fixtures/cloud-requests.json', import.meta.url), 'utf8'),
) as Fixtures; // the shape of the file

function captured(operation: string): readonly Captured[] {
  const found = FIXTURES[operation];
  assert.ok(found);
  return found;
}

function lineOf(one: { method: string; path: string }): string {
  return `${one.method} ${one.path}`;
}

/** A cloud that answers as the recorded one; what was asked must be in the record, with the same body. */
async function replay(
  operation: string,
  act: (cloud: FakeCloud, services: CloudServices) => Promise<void>,
): Promise<{ cloud: FakeCloud; sent: Asked[] }> {
  const record = captured(operation);
  const cloud = await FakeCloud.start();
  const services = cloudServices(cloud);
  for (const one of record) {
    const literal = new RegExp(`^${one.path.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`);
    cloud.on(one.method, literal, {
      status: one.status,
      ...(one.answer === null ? {} : { body: one.answer }),
    });
  }
  try {
    await act(cloud, services);
  } finally {
    services.session.close();
    await cloud.stop();
  }
  const sent = cloud.asked.filter((one) => !one.path.endsWith('/auth/tokens'));
  for (const asked of sent) {
    const match = record.find((one) => lineOf(one) === lineOf(asked) && same(one.body, asked.body));
    assert.ok(match, `${lineOf(asked)} ${JSON.stringify(asked.body)} was never sent by nova-compute`);
    assert.equal(asked.headers['openstack-api-version'] ?? null, match.version, lineOf(asked));
    assert.equal(typeof asked.headers['x-service-token'] === 'string', match.service_token, lineOf(asked));
    assert.equal(asked.headers['x-openstack-request-id'], 'req-1');
  }
  return { cloud, sent };
}

function same(a: unknown, b: unknown): boolean {
  try {
    assert.deepEqual(a, b);
    return true;
  } catch {
    return false;
  }
}

const INSTANCE = '135877f5-8316-4b41-9393-8113e5898d9f';
const PROJECT = '5ccfe1286d214b1db624c8bc22d9c64c';
const NETWORK = 'b1dc3dc4-f119-45ad-88c1-22ed9b9798c3';

test('a port for a build is asked for as nova-compute does, and makes the same network_info', async () => {
  let info: unknown;
  const { sent } = await replay('boot', async (cloud, { neutron, placement }) => {
    const context = userContext(cloud, PROJECT);
    const allocations = await placement.allocations(context, INSTANCE);
    assert.equal(allocations.consumerGeneration, 1);
    const owner = {
      instance: INSTANCE,
      project: PROJECT,
      hostname: 'cap1',
      availabilityZone: 'nova',
      host: 'vm',
    };
    const wanted = { networkId: NETWORK, portId: null, address: null, tag: null };
    const ports = await new PortAllocation(neutron, SILENT).allocate(context, owner, [wanted], ['open']);
    assert.deepEqual(
      ports.map((one) => [one.id, one.isPreserved]),
      [['0fd0776f-418c-4b7f-bd82-ccb54bb335f5', false]],
    );
    info = await buildNetworkInfo(neutron, context, {
      instance: INSTANCE,
      project: PROJECT,
      before: [],
      ovsBridge: 'br-int',
    });
  });
  assert.deepEqual(info, FIXTURES.network_info);
  const own = captured('boot').map(lineOf);
  const missing = own.filter((line) => !sent.some((one) => lineOf(one) === line));
  // The allocations of the whole host belong to another task.
  assert.deepEqual(
    missing.filter((line) => !line.includes('/resource_providers/')),
    [],
  );
  const create = sent.find((one) => one.method === 'POST');
  const bind = sent.find((one) => one.method === 'PUT');
  assert.equal(create?.headers['x-auth-token'], 'user-token');
  assert.match(String(bind?.headers['x-auth-token']), /^service-token-/);
});

test('a new host appears in Placement with its inventories', async () => {
  const uuid = 'fe0b5e5a-1f9e-4154-989f-bf0200f04538';
  let body: unknown;
  const cloud = await FakeCloud.start();
  const services = cloudServices(cloud);
  const record = captured('service-startup-new-host');
  const made = record.find((one) => one.method === 'POST');
  const put = record.find((one) => one.path.endsWith('/inventories'));
  assert.ok(made && put);
  cloud
    .on('GET', /in_tree/, { body: { resource_providers: [] } })
    .on('POST', /resource_providers$/, (asked) => {
      assert.deepEqual(asked.body, made.body);
      assert.equal(asked.headers['openstack-api-version'], made.version);
      return { body: made.answer };
    })
    .on('GET', /inventories$/, { body: { resource_provider_generation: 0, inventories: {} } })
    .on('PUT', /inventories$/, (asked) => {
      body = asked.body;
      return { body: put.answer };
    });
  const context = serviceContext('req-1');
  await services.placement.ensureProvider(context, uuid, 'newhost');
  await services.placement.setInventories(context, uuid, (now) =>
    hostInventories({ vcpus: 1000, memoryMb: 800_000, diskGb: 600_000 }, RATIOS, now),
  );
  services.session.close();
  await cloud.stop();
  assert.deepEqual(body, put.body);
});

const RATIOS = {
  reserved_host_cpus: 0,
  reserved_host_memory_mb: 512,
  reserved_host_disk_mb: 0,
  cpu_allocation_ratio: 0,
  ram_allocation_ratio: 0,
  disk_allocation_ratio: 0,
  initial_cpu_allocation_ratio: 16,
  initial_ram_allocation_ratio: 1.5,
  initial_disk_allocation_ratio: 1,
};

test('an interface is released as nova-compute does', async () => {
  await replay('interface-detach', async (cloud, { neutron }) => {
    const vif = { id: 'cc506380-2429-4306-9eb6-6c4fd1f05153', preserve_on_delete: false };
    await new PortAllocation(neutron, SILENT).release(userContext(cloud, PROJECT), vif);
  });
});

test('allocations end with the instance', async () => {
  const { sent } = await replay('delete', async (_cloud, { placement }) => {
    await placement.deleteAllocations(serviceContext('req-1'), INSTANCE);
  });
  assert.deepEqual(sent.map(lineOf), [`DELETE /placement/allocations/${INSTANCE}`]);
});

test('backups are listed as nova-compute does', async () => {
  await replay('backup', async (cloud, { glance }) => {
    await glance.backups(userContext(cloud, PROJECT), INSTANCE, 'daily');
  });
});

test('a volume is made, attached and completed as nova-compute does', async () => {
  const instance = '5824745f-18df-4f9e-abbb-82d52c4bc4c9';
  const record = captured('boot-from-volume').filter((one) => one.path.startsWith('/volumev3/'));
  const cloud = await FakeCloud.start();
  const { session, cinder } = cloudServices(cloud);
  const bodies: unknown[] = [];
  for (const one of record) {
    // The catalog here has no project in its address.
    const path = one.path.replace(/^\/volumev3\/v3\/[^/]+/, '/volumev3');
    cloud.on(one.method, new RegExp(`^${path}$`), (asked) => {
      if (asked.body !== null) bodies.push([asked.body, asked.headers['openstack-api-version'] ?? null]);
      return { status: one.status, ...(one.answer === null ? {} : { body: one.answer }) };
    });
  }
  const context = userContext(cloud, PROJECT);
  const volume = await cinder.create(context, { size: 1, name: `${instance}-blank-vol` });
  const attachment = await cinder.createAttachment(context, { volume: volume.id, instance, connector: null });
  const connector = { ip: '127.0.0.1', initiator: 'fake', host: 'vm' };
  const connected = await cinder.updateAttachment(context, attachment.id, connector, '/dev/sda');
  await cinder.completeAttachment(context, attachment.id);
  session.close();
  await cloud.stop();
  assert.deepEqual(
    bodies,
    record.filter((one) => one.body !== null).map((one) => [one.body, one.version]),
  );
  assert.equal(connected.connectionInfo['serial'], volume.id);
});
