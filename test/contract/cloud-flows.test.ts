/** Flows over several calls, and what happens when one of them fails. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, test } from 'node:test';
import { serviceContext } from '../../driver/cloud/call-context.ts';
import { imageOf } from '../../driver/cloud/glance.ts';
import { ImageCache } from '../../driver/cloud/image-cache.ts';
import { ImageFault } from '../../driver/cloud/image-format.ts';
import { NetworkFault } from '../../driver/cloud/network-fault.ts';
import { PortAllocation } from '../../driver/cloud/port-allocation.ts';
import { isFault } from '../../process/fault.ts';
import { SILENT } from '../../process/log.ts';
import { cloudServices, userContext, type CloudServices } from '../support/cloud-services.ts';
import { FakeCloud } from '../support/fake-cloud.ts';

let cloud: FakeCloud;
let services: CloudServices;

beforeEach(async () => {
  cloud = await FakeCloud.start();
  services = cloudServices(cloud);
});

afterEach(async () => {
  services.session.close();
  await cloud.stop();
});

const context = serviceContext('req-1');
const conflict = {
  status: 409,
  body: { errors: [{ status: 409, code: 'placement.concurrent_update', detail: 'generation conflict' }] },
};
const inventory = { total: 4, reserved: 0, min_unit: 1, max_unit: 4, step_size: 1, allocation_ratio: 1 };

test('inventories are written again with the new generation after a conflict', async () => {
  const generations: unknown[] = [];
  let generation = 6;
  cloud
    .on('GET', /inventories$/, () => ({
      body: { resource_provider_generation: (generation += 1), inventories: {} },
    }))
    .on('PUT', /inventories$/, (asked) => {
      generations.push((asked.body as { resource_provider_generation: number }).resource_provider_generation); // as sent
      return generations.length < 3 ? conflict : {};
    });
  await services.placement.setInventories(context, 'rp', () => ({ VCPU: inventory }));
  assert.deepEqual(generations, [7, 8, 9]);
});

test('after four conflicts the next cycle has to do it', async () => {
  cloud
    .on('GET', /inventories$/, { body: { resource_provider_generation: 1, inventories: {} } })
    .on('PUT', /inventories$/, conflict);
  await assert.rejects(
    services.placement.setInventories(context, 'rp', () => ({ VCPU: inventory })),
    (err) => isFault(err, 'conflict'),
  );
  assert.equal(cloud.lines().filter((line) => line.startsWith('PUT')).length, 4);
});

test('inventories that are as they should be are not written', async () => {
  cloud.on('GET', /inventories$/, {
    body: { resource_provider_generation: 1, inventories: { VCPU: inventory } },
  });
  await services.placement.setInventories(context, 'rp', () => ({ VCPU: inventory }));
  assert.equal(cloud.lines().length, 1);
});

test('traits of operators stay, custom ones are made, unknown ones are left out', async () => {
  let body: unknown;
  cloud
    .on('GET', /traits\?name/, { body: { traits: ['COMPUTE_NODE'] } })
    .on('PUT', /traits\/CUSTOM_X$/, { status: 201 })
    .on('GET', /rp\/traits$/, {
      body: { resource_provider_generation: 3, traits: ['CUSTOM_OPERATOR', 'COMPUTE_STATUS_DISABLED'] },
    })
    .on('PUT', /rp\/traits$/, (asked) => {
      body = asked.body;
      return { body: {} };
    });
  const unknown = await services.placement.setTraits(context, 'rp', {
    own: ['COMPUTE_NODE', 'CUSTOM_X', 'OWNER_NOVA'],
    not: ['COMPUTE_STATUS_DISABLED'],
  });
  assert.deepEqual(unknown, ['OWNER_NOVA']);
  assert.deepEqual(body, {
    resource_provider_generation: 3,
    traits: ['COMPUTE_NODE', 'CUSTOM_OPERATOR', 'CUSTOM_X'],
  });
});

test('a provider of another host with the same name is named as the problem', async () => {
  cloud
    .on('GET', /in_tree/, { body: { resource_providers: [] } })
    .on('GET', /name=h$/, { body: { resource_providers: [{ uuid: 'other', name: 'h', generation: 1 }] } })
    .on('POST', /resource_providers$/, {
      status: 409,
      body: { errors: [{ detail: 'Conflicting resource provider name: h already exists.' }] },
    });
  await assert.rejects(
    services.placement.ensureProvider(context, 'u', 'h'),
    (err) => isFault(err, 'already_exists') && err.message.includes('other'),
  );
});

test('when a second port cannot be had the first one is deleted', async () => {
  cloud
    .on('GET', /networks/, { body: { networks: [{ id: 'n', subnets: ['s'] }] } })
    .on(
      'POST',
      /ports$/,
      { status: 201, body: { port: { id: 'port-1' } } },
      {
        status: 409,
        body: { NeutronError: { type: 'OverQuota', message: 'Quota exceeded for resources: port' } },
      },
    )
    .on('DELETE', /ports\/port-1$/, { status: 204 });
  const wanted = { networkId: 'n', portId: null, address: null, tag: null };
  const owner = { instance: 'i', project: 'p', hostname: 'h', availabilityZone: null, host: 'vm' };
  const allocation = new PortAllocation(services.neutron, SILENT);
  await assert.rejects(
    allocation.allocate(userContext(cloud, 'p'), owner, [wanted, wanted], ['default']),
    (err) => err instanceof NetworkFault && err.problem === 'PortLimitExceeded',
  );
  assert.equal(cloud.lines().at(-1), 'DELETE /network/v2.0/ports/port-1');
});

test('ports of the user are given back, the others deleted', async () => {
  cloud
    .on('GET', /ports\?device_id=i/, { body: { ports: [{ id: 'mine' }, { id: 'theirs' }] } })
    .on('GET', /ports\/theirs/, { body: { port: { 'binding:profile': { pci_slot: '1', keep: 'x' } } } })
    .on('GET', /extensions/, { body: { extensions: [{ alias: 'dns-integration' }] } })
    .on('PUT', /ports\/theirs/, (asked) => {
      assert.deepEqual(asked.body, {
        port: {
          device_id: '',
          device_owner: '',
          'binding:host_id': null,
          'binding:profile': { keep: 'x' },
          dns_name: '',
        },
      });
      return { body: { port: {} } };
    })
    .on('DELETE', /ports\/mine/, { status: 404 });
  const owner = { instance: 'i', project: 'p', hostname: 'h', availabilityZone: null, host: 'vm' };
  await new PortAllocation(services.neutron, SILENT).deallocate(userContext(cloud, 'p'), owner, ['theirs']);
  assert.ok(cloud.lines().includes('DELETE /network/v2.0/ports/mine'));
  assert.ok(cloud.lines().includes('PUT /network/v2.0/ports/theirs'));
});

test('a port whose binding fails is refused, with Nova’s name of the problem', async () => {
  cloud
    .on('GET', /networks/, { body: { networks: [{ id: 'n', subnets: ['s'] }] } })
    .on('GET', /extensions/, { body: { extensions: [] } })
    .on('POST', /ports$/, { status: 201, body: { port: { id: 'port-1' } } })
    .on('PUT', /ports\/port-1$/, { body: { port: { id: 'port-1', 'binding:vif_type': 'binding_failed' } } })
    .on('DELETE', /ports\/port-1$/, { status: 204 });
  const owner = { instance: 'i', project: 'p', hostname: 'h', availabilityZone: null, host: 'vm' };
  await assert.rejects(
    new PortAllocation(services.neutron, SILENT).allocate(userContext(cloud, 'p'), owner, [], []),
    (err) => err instanceof NetworkFault && err.problem === 'NetworkAmbiguous',
  );
  const wanted = { networkId: 'n', portId: null, address: null, tag: null };
  await assert.rejects(
    new PortAllocation(services.neutron, SILENT).allocate(userContext(cloud, 'p'), owner, [wanted], []),
    (err) => err instanceof NetworkFault && err.problem === 'PortBindingFailed',
  );
  assert.equal(cloud.lines().at(-1), 'DELETE /network/v2.0/ports/port-1');
});

const content = Buffer.alloc(70_000, 7);
const image = (value: string) =>
  imageOf({ id: 'i', status: 'active', size: content.length, os_hash_algo: 'sha256', os_hash_value: value });

test('a download is checked while it is read', async () => {
  cloud.on('GET', /images\/i\/file/, { body: content });
  const good = image(createHash('sha256').update(content).digest('hex'));
  const user = userContext(cloud, 'p');
  const { body } = await services.glance.download(user, good);
  assert.ok((await buffer(body)).equals(content));
  const wrong = await services.glance.download(user, image('00'));
  await assert.rejects(buffer(wrong.body), (err) => isFault(err, 'conflict'));
});

test('Glance is asked again while it is busy', async () => {
  cloud.on('GET', /images\/i$/, { status: 503 }, { status: 503 }, { body: { id: 'i', status: 'active' } });
  assert.equal((await services.glance.show(userContext(cloud, 'p'), 'i')).status, 'active');
});

test('a snapshot gets its formats before its content', async () => {
  cloud.on('PATCH', /images\/s$/, { body: {} }).on('PUT', /images\/s\/file$/, { status: 204 });
  const properties = { disk_format: 'raw', container_format: 'bare' };
  await services.glance.upload(userContext(cloud, 'p'), 's', properties, Readable.from([Buffer.from('abc')]));
  const sent = cloud.asked.filter((one) => one.path.startsWith('/image/'));
  assert.deepEqual(sent[0]?.body, [
    { op: 'add', path: '/disk_format', value: 'raw' },
    { op: 'add', path: '/container_format', value: 'bare' },
  ]);
  assert.equal(sent[0].headers['content-type'], 'application/openstack-images-v2.1-json-patch');
  assert.equal(sent[1]?.body, 'abc');
});

test('no image is used while signatures are wanted, and nothing is downloaded', async () => {
  const store = {
    images: () => Promise.resolve([]),
    importImage: () => Promise.reject(new Error('must not be imported')),
    deleteImage: () => Promise.resolve(),
  };
  const glance = { download: () => Promise.reject(new Error('must not be downloaded')) };
  const cache = new ImageCache({ glance, store, log: SILENT, wantsSignatures: true });
  for (const [properties, words] of [
    [{}, /no signature/],
    [{ img_signature: 'c2ln', img_signature_certificate_uuid: 'u' }, /cannot be verified/],
  ] as const) {
    await assert.rejects(
      cache.ensure(userContext(cloud, 'p'), imageOf({ id: 'i', status: 'active', ...properties })),
      (err) =>
        err instanceof ImageFault && err.problem === 'SignatureVerificationError' && words.test(err.message),
    );
  }
});

test('a disk of another hypervisor is refused before it is imported', async () => {
  const disk = Buffer.concat([Buffer.from('KDMV', 'latin1'), content]);
  cloud.on('GET', /images\/i\/file/, { body: disk });
  const store = {
    images: () => Promise.resolve([]),
    importImage: () => Promise.reject(new Error('must not be imported')),
    deleteImage: () => Promise.resolve(),
  };
  const cache = new ImageCache({ glance: services.glance, store, log: SILENT });
  await assert.rejects(
    cache.ensure(userContext(cloud, 'p'), imageOf({ id: 'i', status: 'active' })),
    (err) => err instanceof ImageFault && err.problem === 'ImageUnacceptable',
  );
});
