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
