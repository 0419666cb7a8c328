/** Ends of nics on the host: gone with their container at once, and never taken from somebody else. Needs root. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { runTool } from '../../api/tools.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

const PID = String(process.pid % 100_000);
const COLD = `hec${PID}`;
const HOT = `heh${PID}`;
const FOREIGN = `hef${PID}`;
const TAKEN = new RegExp(`"${FOREIGN}" exists on the host`);
const PATH = '/1.0/instances/ends';

let daemon: SlipwayDaemon;

before(async () => {
  daemon = await SlipwayDaemon.start();
  await daemon.done('POST', '/1.0/storage-pools', { name: 'default', driver: 'overlay' });
  await daemon.importImage(await buildTinyImage(daemon.dir), 'tiny');
  await runTool('ip', ['link', 'add', FOREIGN, 'type', 'veth', 'peer', 'name', `${FOREIGN}p`]);
  await daemon.done('POST', '/1.0/instances', {
    name: 'ends',
    profiles: [],
    devices: { root: { type: 'disk', path: '/', pool: 'default' }, cold: nic(COLD) },
    source: { type: 'image', alias: 'tiny' },
    start: true,
  });
  await daemon.done('PATCH', PATH, { devices: { hot: nic(HOT) } });
});

after(async () => {
  await daemon.destroy();
  await runTool('ip', ['link', 'delete', FOREIGN]);
});

function nic(hostName: string): Record<string, string> {
  return { type: 'nic', nictype: 'p2p', host_name: hostName };
}

function isOnHost(link: string): boolean {
  return existsSync(`/sys/class/net/${link}`);
}

/** While somebody holds the network of a container, the kernel keeps its links: as it does for a moment anyway. */
async function whileNetworkIsHeld(work: () => Promise<void>): Promise<void> {
  const { pid } = (await daemon.done('GET', `${PATH}/state`)) as { pid: number };
  const network = await open(`/proc/${String(pid)}/ns/net`);
  try {
    await work();
  } finally {
    await network.close();
  }
}

test('a nic that was added to the running container is there again after a forced restart', async () => {
  assert.ok(isOnHost(COLD) && isOnHost(HOT));
  await whileNetworkIsHeld(() => daemon.done('PUT', `${PATH}/state`, { action: 'restart', force: true }));
  assert.ok(isOnHost(COLD) && isOnHost(HOT));
});

test('a stop leaves no end on the host', async () => {
  await daemon.done('PATCH', PATH, { devices: { hot: { type: 'none' } } });
  await daemon.done('PATCH', PATH, { devices: { hot: nic(HOT) } });
  await whileNetworkIsHeld(async () => {
    await daemon.done('PUT', `${PATH}/state`, { action: 'stop', force: true });
    assert.ok(!isOnHost(COLD) && !isOnHost(HOT));
  });
});

test('an interface of somebody else is neither taken nor removed', async () => {
  await daemon.done('PATCH', PATH, { devices: { cold: nic(FOREIGN) } });
  await assert.rejects(daemon.done('PUT', `${PATH}/state`, { action: 'start' }), TAKEN);
  assert.ok(isOnHost(FOREIGN));

  await daemon.done('PATCH', PATH, { devices: { cold: nic(COLD) } });
  await daemon.done('PUT', `${PATH}/state`, { action: 'start' });
  await assert.rejects(daemon.done('PATCH', PATH, { devices: { more: nic(FOREIGN) } }), TAKEN);
  assert.ok(isOnHost(FOREIGN));
});
