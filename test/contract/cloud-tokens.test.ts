/** Tokens, broken connections and refusals, at a fake cloud. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { serviceContext } from '../../driver/cloud/call-context.ts';
import { isCloudFault } from '../../driver/cloud/cloud-fault.ts';
import { describeChain, isFault } from '../../process/fault.ts';
import { cloudServices, userContext, type CloudServices } from '../support/cloud-services.ts';
import { FakeCloud } from '../support/fake-cloud.ts';

let cloud: FakeCloud;
let services: CloudServices;

beforeEach(async () => {
  cloud = await FakeCloud.start();
  services = cloudServices(cloud);
  cloud.on('GET', /ports/, { body: { ports: [] } });
});

afterEach(async () => {
  services.session.close();
  await cloud.stop();
});

const context = serviceContext('req-1');

test('many that wait for a token ask for one', async () => {
  await Promise.all(Array.from({ length: 10 }, () => services.neutron.ports(context, [])));
  assert.equal(cloud.tokens.length, 1);
});

test('a token is renewed shortly before it ends', async () => {
  cloud.tokenLifeMs = 20_000;
  await services.keystone.token();
  await services.keystone.token();
  assert.equal(cloud.tokens.length, 2);
});

test('a token that is refused is renewed once for all, and the requests are sent again', async () => {
  await services.neutron.ports(context, []);
  cloud.revoked.add('service-token-1');
  await Promise.all(Array.from({ length: 5 }, () => services.neutron.ports(context, [])));
  assert.equal(cloud.tokens.length, 2);
});

test('a token that is refused again is a fault, and no token is in its text', async () => {
  cloud.on('GET', /ports/, (asked) => ({
    status: 401,
    body: { error: { message: `bad token ${String(asked.headers['x-auth-token'])}` } },
  }));
  await assert.rejects(services.neutron.ports(context, []), (err) => {
    assert.ok(isCloudFault(err, 401));
    assert.doesNotMatch(describeChain(err), /service-token/);
    return true;
  });
  assert.equal(cloud.lines().length, 2);
});

test('a wrong password says which section to correct', async () => {
  cloud.password = 'another';
  await assert.rejects(services.neutron.ports(context, []), (err) => {
    assert.ok(isFault(err, 'not_trusted'));
    assert.match(err.message, /\[service_user\]/);
    assert.doesNotMatch(describeChain(err), /secret/);
    return true;
  });
});

test('a call for a user carries the token of the user and of the service', async () => {
  await services.neutron.ports(userContext(cloud, 'p'), [], 'user');
  const [asked] = cloud.asked.filter((one) => one.path.startsWith('/network'));
  assert.equal(asked?.headers['x-auth-token'], 'user-token');
  assert.equal(asked.headers['x-service-token'], 'service-token-1');
});

test('a kept connection that was closed is replaced without anybody noticing', async () => {
  await services.neutron.ports(context, []);
  cloud.on('GET', /ports/, { isBroken: true }, { body: { ports: [{ id: 'a' }] } });
  assert.deepEqual(await services.neutron.ports(context, []), [{ id: 'a' }]);
});

test('a service that breaks every connection is a fault', async () => {
  await services.neutron.ports(context, []);
  cloud.on('GET', /ports/, { isBroken: true });
  await assert.rejects(services.neutron.ports(context, []), (err) => isFault(err, 'unavailable'));
});

test('work that is given up ends its request', async () => {
  const reason = new Error('given up');
  await assert.rejects(
    services.neutron.ports(serviceContext('req-1', AbortSignal.abort(reason)), []),
    (err) => err === reason,
  );
});

test("what the catalog of a context lacks is looked up in the account's own", async () => {
  const noVolumes = { ...userContext(cloud, 'p'), catalog: [] };
  await services.neutron.ports(noVolumes, [], 'user');
  assert.equal(cloud.lines().length, 1);
});
