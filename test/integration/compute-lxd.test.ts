/** The compute service's client at a real daemon: a server of Nova's from its image to its end. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { after, before, test } from 'node:test';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { ImageCache } from '../../driver/cloud/image-cache.ts';
import { imageOf } from '../../driver/cloud/glance.ts';
import { readNetworkInfo } from '../../driver/cloud/vif.ts';
import { configDrive } from '../../driver/lxd/config-drive.ts';
import { pushDrive } from '../../driver/lxd/push-drive.ts';
import { LxdClient, type Caller } from '../../driver/lxd/client.ts';
import { instanceBody } from '../../driver/lxd/instance-spec.ts';
import { instanceName } from '../../driver/lxd/nova-instance.ts';
import { isFault } from '../../process/fault.ts';
import { SILENT } from '../../process/log.ts';
import { novaInstance, novaVif } from '../support/nova-objects.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

const caller: Caller = { requestId: 'req-7d0c' };
const instance = novaInstance({ uuid: '135877f5-8316-4b41-9393-8113e5898d9f', id: 0xc1d });
const name = instanceName('instance-%08x', instance);

let daemon: SlipwayDaemon;
let client: LxdClient;
let imageFile: string;

before(async () => {
  daemon = await SlipwayDaemon.start();
  await daemon.done('POST', '/1.0/storage-pools', { name: 'default', driver: 'overlay' });
  imageFile = await buildTinyImage(daemon.dir);
  client = new LxdClient(daemon.socket);
});

after(async () => {
  client.close();
  await daemon.destroy();
});

test('a server lives from its image to its end', { timeout: 120_000 }, async () => {
  const info = await client.server(caller);
  assert.equal(info.auth, 'trusted');
  let downloads = 0;
  const glance = {
    download: () => {
      downloads += 1;
      return Promise.resolve({ body: createReadStream(imageFile), size: null });
    },
  };
  const cache = new ImageCache({ glance, store: client, log: SILENT });
  const image = imageOf({ id: 'glance-1', status: 'active', os_hash_value: 'h1' });
  const context = { ...caller, authToken: null, projectId: '', userId: '', isAdmin: true, catalog: [] };
  const [first, second] = await Promise.all([cache.ensure(context, image), cache.ensure(context, image)]);
  assert.equal(first.fingerprint, second.fingerprint);
  assert.equal(downloads, 1);

  const vifs = readNetworkInfo(JSON.stringify([novaVif({ type: 'tap' })]));
  await client.create(
    caller,
    instanceBody(instance, vifs, { name, fingerprint: first.fingerprint, pool: 'default', start: false }),
  );
  const options = {
    dhcpDomain: 'novalocal',
    adminPassword: 'pw',
    files: [],
    randomSeed: 'AA==',
    vendorData: {},
  };
  await pushDrive(client, caller, name, configDrive(instance, vifs, options));
  await client.changeState(caller, name, { action: 'start' });

  assert.equal((await client.state(caller, name)).status, 'Running');
  const made = await client.byUuid(caller, instance.uuid);
  assert.equal(made?.name, name);
  assert.equal(made.config['security.idmap.isolated'], 'true');
  assert.deepEqual(
    (await client.novaInstances(caller)).map((one) => one.name),
    [name],
  );
  const ran = await client.exec(caller, name, ['cat', '/config-drive/openstack/latest/meta_data.json']);
  assert.equal(ran.exitCode, 0);
  assert.match(ran.stdout, /"hostname":"cap1\.novalocal"/);
  const nics = await client.exec(caller, name, [
    'cat',
    '/sys/class/net/eth0/address',
    '/sys/class/net/eth0/mtu',
  ]);
  assert.equal(nics.stdout, 'fa:16:3e:8c:52:49\n1400\n');
  const hidden = await client.exec(caller, name, ['stat', '-c', '%a %u', '/config-drive']);
  assert.equal(hidden.stdout, '500 0\n');
  const changed = await client.exec(caller, name, [
    'sh',
    '-c',
    'mount -o remount,rw,bind /config-drive; touch /config-drive/x',
  ]);
  assert.notEqual(changed.exitCode, 0, 'not even root inside writes to it');
  const [owner] = execFileSync('stat', ['-c', '%u %a', `${daemon.state}/config-drives/${name}`], {
    encoding: 'utf8',
  }).split('\n');
  assert.equal(owner, '0 500');

  await client.changeState(caller, name, { action: 'freeze' });
  assert.equal((await client.state(caller, name)).status, 'Frozen');
  await client.changeState(caller, name, { action: 'unfreeze' });
  assert.ok(Buffer.isBuffer(await client.consoleLog(caller, name)));
  await client.changeState(caller, name, { action: 'stop', force: true });
  assert.equal((await client.state(caller, name)).status, 'Stopped');
  assert.equal(await cache.age(caller, new Set(['glance-1']), 0), 0);
  await client.delete(caller, name);
  assert.equal(await client.instance(caller, name), null);
  assert.equal(await client.byUuid(caller, instance.uuid), null);
  assert.equal(await cache.age(caller, new Set(), 0), 1);
  assert.deepEqual(await client.images(caller), []);
});

test('errors of the daemon are faults with its text', async () => {
  await assert.rejects(client.state(caller, 'nothing'), (err) => isFault(err, 'not_found'));
  await assert.rejects(client.create(caller, { name: 'bad name' }), (err) => isFault(err, 'bad_request'));
});

test('a daemon that was started again is reached again', async () => {
  await client.server(caller);
  await daemon.kill();
  await assert.rejects(
    client.server(caller),
    (err) => isFault(err, 'unavailable') && /slipway serve/.test(err.message),
  );
  await daemon.restart();
  assert.equal((await client.server(caller)).auth, 'trusted');
});
