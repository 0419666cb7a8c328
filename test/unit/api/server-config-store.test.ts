import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isTrustPassword } from '../../../api/certificates/trust-password.ts';
import { createServerConfig } from '../../../api/server-config-store.ts';
import { SERVER_KEYS } from '../../../config/options/server.ts';
import { Fault, describeChain, isFault } from '../../../process/fault.ts';
import { SILENT } from '../../../process/log.ts';
import { memoryDatabase } from '../../support/fake-tables.ts';

async function opened(database = memoryDatabase()) {
  return { database, config: await createServerConfig({ database, log: SILENT }) };
}

const KEPT: readonly (readonly [key: string, given: unknown, kept: string])[] = [
  ['core.https_address', '127.0.0.1', '127.0.0.1:8443'],
  ['core.https_address', '[::]', '[::]:8443'],
  ['core.https_address', '::1', '[::1]:8443'],
  ['core.https_address', ':9443', ':9443'],
  ['core.metrics_address', '127.0.0.1', '127.0.0.1:9100'],
  ['core.https_allowed_credentials', true, 'true'],
  ['core.https_allowed_credentials', 'ON', 'true'],
  ['core.https_allowed_credentials', 0, 'false'],
  ['core.shutdown_timeout', 7, '7'],
  ['core.remote_token_expiry', '1d 3H', '1d 3H'],
  ['core.bgp_routerid', '192.0.2.1', '192.0.2.1'],
  ['images.compression_algorithm', 'zstd -19 -T0', 'zstd -19 -T0'],
  ['images.max_unpacked_size', '20GiB', '20GiB'],
  ['user.anything.at all', 'Ω', 'Ω'],
  ['user.number', 1.5, '1.5'],
  ['core.proxy_http', 'proxy.example.org:3128', 'proxy.example.org:3128'],
  ['core.trust_ca_certificates', false, 'false'],
  ['maas.api.url', 'http://example.org', 'http://example.org'],
];

for (const [key, given, kept] of KEPT) {
  test(`${key} ${JSON.stringify(given)} is kept as ${kept}, also over a restart`, async () => {
    const { database, config } = await opened();
    await config.merge({ [key]: given });
    assert.equal(config.get(key), kept);
    const again = await opened(database);
    assert.equal(again.config.get(key), kept);
    assert.deepEqual(again.config.all(), { [key]: kept });
  });
}

const REFUSED: readonly (readonly [key: string, given: unknown])[] = [
  ['core.nonsense', 'x'],
  ['__proto__x', 'x'],
  ['toString', 'x'],
  ['user.', 'x'],
  ['volatile.x', 'x'],
  ['core.https_address', 'a b'],
  ['core.https_address', '127.0.0.1:70000'],
  ['core.https_allowed_credentials', 'maybe'],
  ['core.shutdown_timeout', -1],
  ['core.shutdown_timeout', '1e3'],
  ['core.remote_token_expiry', 'soon'],
  ['core.bgp_routerid', '::1'],
  ['images.compression_algorithm', 'rm'],
  ['images.compression_algorithm', 'gzip --suffix=/etc'],
  ['images.compression_algorithm', 'xz -9 /etc/shadow'],
  ['images.max_unpacked_size', 'much'],
  ['storage.images_volume', 'default/images'],
  ['cluster.https_address', '127.0.0.1:8443'],
  ['core.trust_ca_certificates', 'true'],
  ['core.proxy_http', 'ftp://proxy.example.org'],
  ['core.proxy_https', 'a b'],
  ['core.proxy_http', { a: 1 }],
  ['core.proxy_http', ['a']],
  ['core.proxy_http', 'a\0b'],
];

for (const [key, given] of REFUSED) {
  test(`${key} ${JSON.stringify(given)} is refused by name and changes nothing`, async () => {
    const { config } = await opened();
    await assert.rejects(config.merge({ 'user.good': '1', [key]: given }), (err) => {
      assert.ok(isFault(err, 'bad_request'));
      assert.ok(err.message.includes(key), err.message);
      return true;
    });
    assert.deepEqual(config.all(), {});
  });
}

test('every key has its default, a help text, and takes its own default', async () => {
  const { config } = await opened();
  for (const [name, key] of Object.entries(SERVER_KEYS)) {
    assert.equal(config.get(name), key.fallback, name);
    assert.match(key.help, /\.$/, name);
    await config.merge({ [name]: key.fallback });
  }
});

test('PUT removes what is absent, PATCH leaves it, and an empty value or null unsets', async () => {
  const { config } = await opened();
  await config.replace({ 'user.a': '1', 'user.b': '2', 'core.proxy_http': 'http://p' });
  await config.merge({ 'user.a': '3', 'user.b': '', 'core.proxy_http': null });
  assert.deepEqual(config.all(), { 'user.a': '3' });
  await config.replace({ 'user.c': '4' });
  assert.deepEqual(config.all(), { 'user.c': '4' });
});

test('the trust password is kept as a hash, shown as true, and survives being sent back', async () => {
  const { database, config } = await opened();
  await config.merge({ 'core.trust_password': 'opensesame' });
  assert.deepEqual(config.render(), { 'core.trust_password': true });
  assert.deepEqual(config.all(), { 'core.trust_password': 'true' });
  const stored = config.get('core.trust_password');
  assert.match(stored, /^[0-9a-f]{192}$/);
  assert.ok(await isTrustPassword(stored, 'opensesame'));
  assert.ok(!(await isTrustPassword(stored, 'true')));
  assert.ok(!JSON.stringify(await database.tables.config.all()).includes('opensesame'));
  await config.replace({ ...config.render(), 'user.a': '1' });
  assert.equal(config.get('core.trust_password'), stored);
  await config.replace({ 'user.a': '1' });
  assert.equal(config.get('core.trust_password'), '');
});

test('a listener hears each of its keys that changed, after the value is there', async () => {
  const { config } = await opened();
  const heard: string[] = [];
  config.onChange(['core.https_address', 'core.metrics_address'], async (key) => {
    heard.push(`${key}=${config.get(key)}`);
  });
  await config.merge({ 'core.https_address': ':8443', 'core.proxy_http': 'x' });
  await config.merge({ 'core.https_address': ':8443' });
  await config.replace({ 'core.metrics_address': ':9100' });
  assert.deepEqual(heard, ['core.https_address=:8443', 'core.https_address=', 'core.metrics_address=:9100']);
});

test('when a listener fails, the old values hold again and the listeners are told so', async () => {
  const { database, config } = await opened();
  await config.merge({ 'core.https_address': ':8443' });
  const heard: string[] = [];
  config.onChange(['core.https_address'], async (key) => {
    heard.push(config.get(key));
    if (config.get(key) === ':1') throw new Fault('bad_request', 'the port is taken');
  });
  const change = config.merge({ 'core.https_address': ':1', 'user.a': '1' });
  await assert.rejects(change, (err) => describeChain(err).includes('the port is taken'));
  assert.deepEqual(heard, [':1', ':8443']);
  assert.deepEqual(config.all(), { 'core.https_address': ':8443' });
  assert.deepEqual(await database.tables.config.all(), [{ key: 'core.https_address', value: ':8443' }]);
});

test('what the database refuses is not in memory, and no listener hears of it', async () => {
  const { database, config } = await opened();
  let heard = 0;
  config.onChange(['core.https_address'], async () => {
    heard += 1;
  });
  database.failWritesWith(new Fault('storage_full', 'no space'));
  await assert.rejects(config.merge({ 'core.https_address': ':8443' }), (err) =>
    isFault(err, 'storage_full'),
  );
  assert.equal(config.get('core.https_address'), '');
  assert.equal(heard, 0);
});
