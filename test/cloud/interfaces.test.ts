/** Network cards of a running server come and go, and security groups hold. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { awaitTcp, reaches } from '../../tempest/cloud/first-server.ts';
import { eventually, type Json } from '../../tempest/cloud/openstack.ts';
import { RunningCloud } from '../support/running-cloud.ts';

let cloud: RunningCloud;
let server = '';
let network = '';
const CIDR = '192.168.145.0/24';
const SSH = 22;

before(async () => {
  cloud = await RunningCloud.open();
  server = await cloud.boot('test-cards', { image: 'debian-13', flavor: 'small' });
  const body = { network: { name: 'test-second-network' } };
  network = String((await cloud.demo.one('network', 'POST', '/networks', 'network', body))['id']);
  const subnet = { network_id: network, ip_version: 4, cidr: CIDR, name: 'test-second-network' };
  await cloud.demo.request('network', 'POST', '/subnets', { subnet });
});

after(async () => {
  try {
    await cloud.remove(server);
    await cloud.demo.request('network', 'DELETE', `/networks/${network}`);
  } finally {
    await cloud.cleanUp();
  }
});

async function cards(): Promise<string[]> {
  const seen = await cloud.inside(server, ['ls', '/sys/class/net']);
  return seen.split('\n').filter((name) => name !== '' && name !== 'lo');
}

/** Waits until one card is left, for Nova and in the guest: the port goes last. */
async function awaitOneCard(): Promise<void> {
  await eventually('the card is gone', 30_000, async () => {
    const left = await cloud.demo.list('compute', `/servers/${server}/os-interface`, 'interfaceAttachments');
    return left.length === 1 && (await cards()).length === 1 ? true : null;
  });
}

/** Asks for one more card, on the second network. */
function attach(): Promise<Json> {
  const body = { interfaceAttachment: { net_id: network } };
  return cloud.demo.one('compute', 'POST', `/servers/${server}/os-interface`, 'interfaceAttachment', body);
}

test('a card is attached to a running server and detached again', async () => {
  const attached = await attach();
  const port = String(attached['port_id']);
  assert.match(JSON.stringify(attached['fixed_ips']), /192\.168\.145\./);
  await eventually('the guest has two cards', 30_000, async () =>
    (await cards()).length === 2 ? true : null,
  );
  await eventually('Neutron sees the port ACTIVE', 30_000, async () => {
    const shown = await cloud.demo.one('network', 'GET', `/ports/${port}`, 'port');
    return shown['status'] === 'ACTIVE' ? true : null;
  });
  await cloud.demo.request('compute', 'DELETE', `/servers/${server}/os-interface/${port}`);
  await awaitOneCard();
  assert.deepEqual(await cloud.demo.list('network', `/ports?id=${port}`, 'ports'), []);
});

test('a card that stays is there after a hard reboot', async () => {
  const attached = await attach();
  await cloud.act(server, { reboot: { type: 'HARD' } });
  await cloud.status(server, 'ACTIVE');
  assert.equal((await cards()).length, 2);
  await cloud.demo.request(
    'compute',
    'DELETE',
    `/servers/${server}/os-interface/${String(attached['port_id'])}`,
  );
  await awaitOneCard();
});

test('a security group without rules keeps everybody out', async () => {
  const { status } = await cloud.server(server);
  assert.equal(status, 'ACTIVE', 'the server is not what the tests before should leave');
  const address = await cloud.floating(server);
  await awaitTcp(address, SSH);
  const made = await cloud.demo.one('network', 'POST', '/security-groups', 'security_group', {
    security_group: { name: 'test-closed' },
  });
  const ports = await cloud.demo.list('network', `/ports?device_id=${server}`, 'ports');
  const port = ports.find((one) => one['network_id'] !== network);
  assert.ok(port !== undefined);
  const put = (groups: unknown): Promise<Json> =>
    cloud.demo.request('network', 'PUT', `/ports/${String(port['id'])}`, {
      port: { security_groups: groups },
    });
  await put([made['id']]);
  await eventually('nobody gets in', 30_000, async () => ((await reaches(address, SSH)) ? null : true));
  await put(port['security_groups']);
  await awaitTcp(address, SSH);
  await cloud.demo.request('network', 'DELETE', `/security-groups/${String(made['id'])}`);
});
