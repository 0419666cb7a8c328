/** A guest whose cloud-init takes what Nova says from its config drive. Needs root and the mirror. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { readNetworkInfo } from '../../driver/cloud/vif.ts';
import { LxdClient, type Caller } from '../../driver/lxd/client.ts';
import { configDrive } from '../../driver/lxd/config-drive.ts';
import { instanceBody } from '../../driver/lxd/instance-spec.ts';
import { pushDrive } from '../../driver/lxd/push-drive.ts';
import { novaInstance, novaVif } from '../support/nova-objects.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';
import { systemImage } from '../support/system-images.ts';

const PACKAGES = ['cloud-init', 'openssh-server'];
const BUILD_MS = 900_000;
const BOOT_MS = 180_000;
const caller: Caller = { requestId: 'req-c10d' };
const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0ZGV4YW1wbGVrZXlvZmF0ZXN0b25seWZvcnRlc3Rz me';
const USER_DATA = '#cloud-config\nwrite_files:\n  - path: /run/told\n    content: by the user\n';

let daemon: SlipwayDaemon;
let client: LxdClient;

before(
  async () => {
    const image = await systemImage('bookworm', PACKAGES);
    daemon = await SlipwayDaemon.start();
    client = new LxdClient(daemon.socket);
    await daemon.done('POST', '/1.0/storage-pools', { name: 'default', driver: 'overlay' });
    await daemon.importImage(image, 'cloud');
  },
  { timeout: BUILD_MS },
);

after(async () => {
  client.close();
  await daemon.destroy();
});

async function sh(name: string, script: string): Promise<string> {
  const ran = await client.exec(caller, name, ['sh', '-c', script]);
  assert.equal(ran.exitCode, 0, `${script}: ${ran.stdout} ${ran.stderr}`);
  return ran.stdout.trim();
}

/** cloud-init's own word that it is through. */
async function booted(name: string): Promise<void> {
  const end = Date.now() + BOOT_MS;
  for (;;) {
    const ran = await client.exec(caller, name, ['test', '-e', '/run/cloud-init/result.json']);
    if (ran.exitCode === 0) return;
    if (Date.now() > end)
      throw new Error(`cloud-init did not end:\n${String(await client.consoleLog(caller, name))}`);
    await sleep(250);
  }
}

test(
  'cloud-init takes name, key, user data, addresses and password from the config drive',
  { timeout: BOOT_MS },
  async () => {
    const instance = novaInstance(
      {
        hostname: 'told-by-nova',
        user_data: Buffer.from(USER_DATA).toString('base64'),
        key_data: KEY,
      },
      { memory_mb: 512, root_gb: 0 },
    );
    const { network } = novaVif();
    // Without DHCP: the addresses are told by the drive alone.
    const subnets = network.subnets.map((subnet) => ({ ...subnet, meta: {} }));
    const vif = novaVif({ type: 'tap', network: { ...network, subnets } });
    const vifs = readNetworkInfo(JSON.stringify([vif]));
    const [fingerprint = ''] = (await client.images(caller)).map((one) => one.fingerprint);
    const name = 'cloud-init-one';
    await client.create(
      caller,
      instanceBody(instance, vifs, { name, fingerprint, pool: 'default', start: false }),
    );
    const drive = configDrive(instance, vifs, {
      dhcpDomain: '',
      adminPassword: 'opensesame',
      files: [],
      randomSeed: 'AA==',
      vendorData: {},
    });
    await pushDrive(client, caller, name, drive);
    await client.changeState(caller, name, { action: 'start' });
    await booted(name);
    const result = JSON.parse(await sh(name, 'cat /run/cloud-init/result.json')) as {
      v1: { datasource: string; errors: string[] };
    };
    assert.match(result.v1.datasource, /DataSourceConfigDrive .*\[source=\/config-drive\]/);
    assert.equal(await sh(name, 'hostname'), 'told-by-nova');
    assert.equal(await sh(name, 'cat /run/told'), 'by the user');
    assert.match(await sh(name, 'cat /home/debian/.ssh/authorized_keys'), /AAAAC3NzaC1lZDI1NTE5/);
    const card = await sh(name, 'cat /etc/systemd/network/10-cloud-init-eth0.network');
    assert.match(card, /Address=10\.77\.0\.76\/24/);
    assert.match(await sh(name, 'ip -4 -o address show dev eth0'), /10\.77\.0\.76\/24/);
    assert.equal(await sh(name, 'cloud-init query ds.meta_data.admin_pass'), 'opensesame');
    const others = 'su -s /bin/sh nobody -c "cat /config-drive/openstack/latest/meta_data.json"';
    assert.notEqual(
      (await client.exec(caller, name, ['sh', '-c', others])).exitCode,
      0,
      'only root may read it',
    );
  },
);
