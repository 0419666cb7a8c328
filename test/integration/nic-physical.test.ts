/** Interfaces of the host that a container has for as long as it runs, and macvlan beside them. Needs root. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { runTool } from '../../api/tools.ts';
import { LxdClient, type Caller } from '../../driver/lxd/client.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

const PID = String(process.pid % 100_000);
/** A veth ends with the namespace it is in, unlike hardware: if it is back, somebody has brought it. */
const CARD = `phy${PID}`;
const PARENT = `phm${PID}`;
const NAME = `physical-${PID}`;
const PATH = `/1.0/instances/${NAME}`;
const HWADDR = '02:00:00:0a:1d:00';
const CARD_NIC = { type: 'nic', nictype: 'physical', parent: CARD, name: 'lan0' };
const MACVLAN_NIC = { type: 'nic', nictype: 'macvlan', parent: PARENT, name: 'mac0' };
const NONE = { type: 'none' };
const caller: Caller = { requestId: 'req-0a1d' };

let daemon: SlipwayDaemon;
let client: LxdClient;

before(async () => {
  for (const link of [CARD, PARENT])
    await runTool('ip', ['link', 'add', link, 'type', 'veth', 'peer', 'name', `${link}p`]);
  await runTool('ip', ['link', 'set', CARD, 'mtu', '1400', 'address', HWADDR]);
  await runTool('ip', ['link', 'set', PARENT, 'up']);
  daemon = await SlipwayDaemon.start();
  client = new LxdClient(daemon.socket);
  await daemon.done('POST', '/1.0/storage-pools', { name: 'default', driver: 'overlay' });
  await daemon.importImage(await buildTinyImage(daemon.dir), 'tiny');
  await daemon.done('POST', '/1.0/instances', {
    name: NAME,
    profiles: [],
    devices: {
      root: { type: 'disk', path: '/', pool: 'default' },
      card: { ...CARD_NIC, mtu: '1300', hwaddr: '02:00:00:0a:1d:01' },
      mac: MACVLAN_NIC,
    },
    source: { type: 'image', alias: 'tiny' },
    start: true,
  });
});

after(async () => {
  client.close();
  await daemon.destroy();
  for (const link of [CARD, PARENT]) await runTool('ip', ['link', 'delete', link]);
});

function isOnHost(link: string): boolean {
  return existsSync(`/sys/class/net/${link}`);
}

function assertAsItWas(): void {
  assert.equal(readFileSync(`/sys/class/net/${CARD}/mtu`, 'utf8'), '1400\n');
  assert.equal(readFileSync(`/sys/class/net/${CARD}/address`, 'utf8'), `${HWADDR}\n`);
}

async function inside(): Promise<string[]> {
  const { stdout } = await client.exec(caller, NAME, ['ls', '/sys/class/net']);
  return stdout.split('\n').filter((name) => name !== '' && name !== 'lo');
}

function change(action: string): Promise<unknown> {
  return daemon.done('PUT', `${PATH}/state`, { action, force: true });
}

function devices(wanted: Record<string, Record<string, string>>): Promise<unknown> {
  return daemon.done('PATCH', PATH, { devices: wanted });
}

test('a card of the host is in the container while it runs, and back after it', async () => {
  assert.deepEqual(await inside(), ['lan0', 'mac0']);
  assert.ok(!isOnHost(CARD));
  await change('restart');
  assert.deepEqual(await inside(), ['lan0', 'mac0']);
  await change('stop');
  assertAsItWas();
});

test('a card that is added and taken away while it runs is back under its name', async () => {
  await devices({ card: NONE, mac: NONE });
  await change('start');
  assert.deepEqual(await inside(), []);
  await devices({ card: { ...CARD_NIC, mtu: '1300' }, mac: MACVLAN_NIC });
  assert.deepEqual(await inside(), ['lan0', 'mac0']);
  assert.ok(!isOnHost(CARD));
  await client.exec(caller, NAME, ['sh', '-c', 'ip link set lan0 down && ip link set lan0 name mine']);
  assert.deepEqual(await inside(), ['mac0', 'mine']);
  await devices({ card: NONE, mac: NONE });
  assert.deepEqual(await inside(), []);
  assertAsItWas();
});

test('a card that was added while it ran is there after a restart, and back after a stop', async () => {
  await devices({ card: { ...CARD_NIC, mtu: '1300' }, mac: MACVLAN_NIC });
  await change('restart');
  assert.deepEqual(await inside(), ['lan0', 'mac0']);
  await devices({ card: NONE, mac: NONE });
  await devices({ card: { ...CARD_NIC, mtu: '1300' }, mac: MACVLAN_NIC });
  await daemon.kill();
  await daemon.restart();
  await change('stop');
  assertAsItWas();
  const { config } = (await daemon.done('GET', PATH)) as { config: Record<string, string> };
  assert.deepEqual(
    Object.keys(config).filter((key) => key.includes('last_state.mtu')),
    [],
  );
});

test('a card that is not there, or cannot be given, stays where it is', async () => {
  await devices({ card: { ...CARD_NIC, parent: 'nosuchcard' }, mac: NONE });
  await assert.rejects(change('start'), /nosuchcard/);
  await devices({ card: NONE });
  await change('start');
  await assert.rejects(devices({ card: { ...CARD_NIC, parent: 'nosuchcard' } }), /no interface "nosuchcard"/);
  await assert.rejects(devices({ card: { ...CARD_NIC, name: 'lo' } }), /add nic "card"/);
  assertAsItWas();
});
