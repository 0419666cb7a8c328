/** The neighbours as nova.conf describes them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serviceContext } from '../../driver/cloud/call-context.ts';
import { openCloud, type Section } from '../../driver/cloud/cloud.ts';
import { isFault } from '../../process/fault.ts';
import { SILENT } from '../../process/log.ts';
import { userContext } from '../support/cloud-services.ts';
import { FakeCloud } from '../support/fake-cloud.ts';

const readFile = (path: string): string => path;
const empty: Section = {};

test('sections of nova.conf make clients that reach their services', async () => {
  const fake = await FakeCloud.start();
  fake
    .on('GET', /placement.*in_tree/, { body: { resource_providers: [] } })
    .on('GET', /image-public\/v2\/images\/i$|^\/image\/v2\/images\/i$/, {
      body: { id: 'i', status: 'active' },
    });
  const account = {
    auth_url: `${fake.url}/identity`,
    username: 'nova',
    password: 'secret',
    project_name: 'service',
    region_name: 'RegionOne',
  };
  const cloud = openCloud({
    log: SILENT,
    readFile,
    sections: {
      placement: account,
      neutron: account,
      glance: empty,
      cinder: empty,
      service_user: { ...account, send_service_user_token: 'True' },
    },
  });
  try {
    assert.equal(cloud.hasServiceUser, true);
    assert.equal(await cloud.placement.provider(serviceContext('req-1'), 'u'), null);
    assert.equal((await cloud.glance.show(userContext(fake, 'p'), 'i')).status, 'active');
    const asked = fake.asked.find((one) => one.path === '/image/v2/images/i');
    assert.equal(asked?.headers['x-auth-token'], 'user-token');
    assert.match(String(asked.headers['x-service-token']), /^service-token/);
    // Glance has no account of its own.
    await assert.rejects(cloud.cinder.show(serviceContext('req-1'), 'v'), (err) =>
      isFault(err, 'not_trusted'),
    );
  } finally {
    cloud.close();
    await fake.stop();
  }
});

test('without an account for Placement the service cannot be', () => {
  const sections = { placement: empty, neutron: empty, glance: empty, cinder: empty, service_user: empty };
  assert.throws(
    () => openCloud({ log: SILENT, readFile, sections }),
    (err) => isFault(err, 'bad_request') && err.message.includes('[placement]'),
  );
});

/** Neighbours that are reached by these sections; what is not given is the account alone. */
function cloudOf(fake: FakeCloud, given: Readonly<Record<string, Section>>) {
  const account = {
    auth_url: `${fake.url}/identity`,
    username: 'nova',
    password: 'secret',
    project_name: 'service',
  };
  const of = (name: string): Section => ({ ...account, ...given[name] });
  return openCloud({
    log: SILENT,
    readFile,
    sections: {
      placement: of('placement'),
      neutron: of('neutron'),
      glance: given['glance'] ?? empty,
      cinder: of('cinder'),
      service_user: empty,
    },
  });
}

test('what did not reach Neutron is asked again, as often as http_retries says', async () => {
  const fake = await FakeCloud.start();
  const broken = { isBroken: true };
  fake
    .on('GET', /\/ports\//, broken, broken, broken, { body: { port: { id: 'p' } } })
    .on('PUT', /\/ports\//, broken)
    .on('POST', /\/ports$/, broken);
  const cloud = cloudOf(fake, { neutron: { http_retries: '2' } });
  const context = serviceContext('req-1');
  try {
    assert.equal((await cloud.neutron.port(context, 'p'))['id'], 'p');
    await assert.rejects(cloud.neutron.updatePort(context, 'p', {}), (err) => isFault(err, 'unavailable'));
    // It may have been made all the same: nobody would know of the first one.
    await assert.rejects(cloud.neutron.createPort(context, {}), (err) => isFault(err, 'unavailable'));
    const times = (method: string) => fake.lines().filter((line) => line.startsWith(method)).length;
    assert.ok(times('PUT') >= 3);
    // Once more for a kept connection that was closed meanwhile.
    assert.ok(times('POST') <= 2);
  } finally {
    cloud.close();
    await fake.stop();
  }
});

test('a port is made all the same when Neutron was only away for a moment', async () => {
  const fake = await FakeCloud.start();
  fake.on('POST', /\/ports$/, { status: 201, body: { port: { id: 'p' } } });
  const cloud = cloudOf(fake, {});
  const { url } = fake;
  const context = userContext(fake, 'p');
  await fake.stop();
  const made = cloud.neutron.createPort(context, {});
  try {
    // By then the request before was refused too.
    await assert.rejects(fetch(url));
    await fake.listen(Number(new URL(url).port));
    assert.equal((await made)['id'], 'p');
  } finally {
    cloud.close();
    await fake.stop();
  }
});

test('timeout = 0 is the limit of this service, not none at all', async () => {
  const fake = await FakeCloud.start();
  fake.on('GET', /\/ports\//, { body: { port: { id: 'p' } } });
  const cloud = cloudOf(fake, { neutron: { timeout: '0' } });
  try {
    assert.equal((await cloud.neutron.port(serviceContext('req-1'), 'p'))['id'], 'p');
  } finally {
    cloud.close();
    await fake.stop();
  }
});

test('Glance is where api_servers says, and a service is of the type its section says', async () => {
  const fake = await FakeCloud.start();
  fake
    .on('GET', /^\/elsewhere\/v2\/images\/i$/, { body: { id: 'i', status: 'active' } })
    .on('GET', /^\/image\/v2\.0\/ports\//, { body: { port: { id: 'p' } } });
  const cloud = cloudOf(fake, {
    glance: { api_servers: `${fake.url}/elsewhere, http://192.0.2.1:9292` },
    // Of all the types of this catalog none is Neutron's usual one.
    neutron: { service_type: 'image' },
  });
  try {
    assert.equal((await cloud.glance.show(userContext(fake, 'p'), 'i')).status, 'active');
    assert.equal((await cloud.neutron.port(serviceContext('req-1'), 'p'))['id'], 'p');
  } finally {
    cloud.close();
    await fake.stop();
  }
});
