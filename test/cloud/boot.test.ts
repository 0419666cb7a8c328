/** A tenant boots servers: what they get from the cloud, and that they are reached. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { cpus, totalmem } from 'node:os';
import { after, before, test } from 'node:test';
import { awaitActive, awaitTcp } from '../../tempest/cloud/first-server.ts';
import { eventually, type Json } from '../../tempest/cloud/openstack.ts';
import { RunningCloud } from '../support/running-cloud.ts';

let cloud: RunningCloud;
let server = '';
let address = '';
const SSH = 22;
const BULK = 20 * 1024 * 1024;
const MANY = 8;

before(async () => {
  cloud = await RunningCloud.open();
  const hello = Buffer.from('#cloud-config\nwrite_files:\n- path: /etc/told\n  content: from user data\n');
  server = await cloud.boot('test-boot', {
    image: 'debian-13',
    flavor: 'small',
    body: { config_drive: true, user_data: hello.toString('base64'), metadata: { purpose: 'test' } },
  });
  address = await cloud.floating(server);
  await awaitTcp(address, SSH);
  // Written at its end, whether all went well or not.
  const look = 'if test -e /run/cloud-init/result.json; then echo ended; fi';
  await eventually('cloud-init ends', 180_000, async () =>
    (await cloud.inside(server, ['sh', '-c', look])) === '' ? null : true,
  );
});

after(() => cloud.cleanUp());

test('cloud-init takes name, key and user data from the config drive', async () => {
  const name = await cloud.ssh(address, 'hostname; sudo cat /etc/told; echo; cloud-id');
  assert.equal(name, 'test-boot\nfrom user data\nconfigdrive\n');
});

test('the metadata service knows the server that asks', async () => {
  const url = 'http://169.254.169.254/openstack/latest/meta_data.json';
  const text = await eventually('the metadata service answers', 60_000, async () => {
    // Half an answer is none.
    const said = await cloud.ssh(address, `said=$(curl -sf -m 20 ${url}) && echo "$said" || true`);
    return said === '' ? null : said;
  });
  // Nova's format.
  const told = JSON.parse(text) as { uuid: string; meta: Json; hostname: string };
  assert.equal(told.uuid, server);
  assert.deepEqual(told.meta, { purpose: 'test' });
});

test('large transfers pass in both directions', async () => {
  const bytes = randomBytes(BULK);
  assert.equal((await cloud.ssh(address, 'wc -c', bytes)).trim(), String(BULK));
  assert.equal((await cloud.ssh(address, `head -c ${String(BULK)} /dev/zero | tr '\\0' x`)).length, BULK);
});

test('the flavor is what the guest sees', async () => {
  const seen = await cloud.ssh(
    address,
    "nproc; awk '/MemTotal/ {print $2}' /proc/meminfo; df -k --output=size / | tail -n 1",
  );
  const [processors = 0, kibibytes = 0, root = 0] = seen.trim().split(/\s+/).map(Number);
  assert.equal(processors, 1);
  assert.equal(kibibytes, 512 * 1024);
  assert.ok(root > 2.5 * 1024 ** 2 && root <= 3 * 1024 ** 2, `${String(root)} KiB of root disk for 3 GiB`);
});

test('two servers of one network reach each other over TCP', async () => {
  const second = await cloud.boot('test-second', { image: 'debian-13', flavor: 'small' });
  const port = (await cloud.demo.list('network', `/ports?device_id=${second}`, 'ports'))[0];
  // Neutron's list of addresses of a port.
  const [fixed] = port?.['fixed_ips'] as readonly { ip_address: string }[];
  const greeting = await eventually('the second server answers the first', 180_000, async () => {
    const said = await cloud.ssh(
      address,
      `timeout 3 bash -c 'head -c 4 </dev/tcp/${fixed?.ip_address ?? ''}/22' || true`,
    );
    return said === '' ? null : said;
  });
  assert.equal(greeting, 'SSH-');
});

test('the unmodified client makes a server, shows it and deletes it', async () => {
  const made = await cloud.openstack([
    ...['server', 'create', '--image', 'busybox', '--flavor', 'tiny', '--network', 'private'],
    ...['--property', 'who=client', '--wait', '-f', 'json', 'test-client'],
  ]);
  // The client's own table.
  const { id } = made as { id: string };
  const shown = (await cloud.openstack(['server', 'show', '-f', 'json', id])) as Json;
  assert.equal(shown['status'], 'ACTIVE');
  assert.deepEqual(shown['properties'], { who: 'client' });
  await cloud.openstack(['server', 'delete', '--wait', id]);
  await cloud.leavesNothing(id);
});

test('a deleted server leaves nothing behind', async () => {
  const id = await cloud.boot('test-delete', { body: { config_drive: true } });
  const container = await cloud.container(id);
  assert.equal(container?.status, 'Running');
  await cloud.remove(id);
  await cloud.leavesNothing(id);
});

test('many servers at once all become ACTIVE', async () => {
  const names = Array.from({ length: MANY }, (_, number) => `test-many-${String(number)}`);
  const ids = await Promise.all(names.map((name) => cloud.request(name)));
  const servers = await Promise.all(ids.map((id) => awaitActive(cloud.demo, id)));
  assert.deepEqual(
    servers.map((one) => one['status']),
    names.map(() => 'ACTIVE'),
  );
  await Promise.all(ids.map((id) => cloud.remove(id)));
  await Promise.all(ids.map((id) => cloud.leavesNothing(id)));
});

test('the hypervisor is shown as it is', async () => {
  const host = cloud.cloud.facts.host;
  const [shown] = await cloud.admin.list(
    'compute',
    `/os-hypervisors/detail?hypervisor_hostname_pattern=${host}`,
    'hypervisors',
  );
  assert.equal(shown?.['hypervisor_type'], 'LXC');
  assert.equal(shown['state'], 'up');
  assert.match(String(shown['uptime']), /up .*load average/);
  const id = String(shown['id']);
  // An object with one entry for each class of resources.
  const inventories = (await cloud.admin.get('placement', `/resource_providers/${id}/inventories`))[
    'inventories'
  ] as Readonly<Record<string, { total: number }>>;
  assert.equal(inventories['VCPU']?.total, cpus().length);
  const memory = inventories['MEMORY_MB']?.total ?? 0;
  assert.ok(Math.abs(memory - totalmem() / 1024 ** 2) <= 1, `${String(memory)} MiB`);
});
