/** A change of a running container that is refused leaves the container as it was. Needs root. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { runTool } from '../../api/tools.ts';
import { LxdClient, type Caller } from '../../driver/lxd/client.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

const PID = String(process.pid % 100_000);
const PARENT = `hrp${PID}`;
const MISSING = `hrm${PID}`;
const END = `hre${PID}`;
const NAME = `refused-${PID}`;
const PATH = `/1.0/instances/${NAME}`;
const caller: Caller = { requestId: 'req-0a1e' };

/** Only a start can mount it. */
const RAW = { type: 'disk', source: '/usr/share', path: '/raw', 'raw.mount.options': 'noexec' };

type Devices = Record<string, Record<string, string>>;

let daemon: SlipwayDaemon;
let client: LxdClient;

before(async () => {
  await runTool('ip', ['link', 'add', PARENT, 'type', 'veth', 'peer', 'name', `${PARENT}p`]);
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
      own: { type: 'nic', nictype: 'p2p' },
      raw: RAW,
    },
    source: { type: 'image', alias: 'tiny' },
    start: true,
  });
  await inside('mkdir /mine && mount -t tmpfs none /mine && touch /file');
});

after(async () => {
  client.close();
  await daemon.destroy();
  await runTool('ip', ['link', 'delete', PARENT]);
});

async function inside(command: string): Promise<string> {
  const { exitCode, stdout, stderr } = await client.exec(caller, NAME, ['sh', '-c', command]);
  assert.equal(exitCode, 0, stderr);
  return stdout;
}

function isOnHost(link: string): boolean {
  return existsSync(`/sys/class/net/${link}`);
}

/** What a change could leave behind, or take away. */
async function trace(): Promise<unknown> {
  const { config, devices } = (await daemon.done('GET', PATH)) as { config: unknown; devices: unknown };
  const nics = await inside('cd /sys/class/net; for nic in *; do echo $nic $(cat $nic/ifindex); done');
  return { config, devices, nics, mounts: await inside('cat /proc/mounts') };
}

async function assertRefused(devices: Devices, reason: RegExp): Promise<void> {
  const was = await trace();
  await assert.rejects(daemon.done('PATCH', PATH, { devices }), reason);
  assert.deepEqual(await trace(), was);
}

test('a card that the host does not have: the nic of the guest stays in the guest', async () => {
  await assertRefused({ n: { type: 'nic', nictype: 'physical', parent: MISSING } }, /no interface/);
  assert.ok(!isOnHost(MISSING));
});

test('a macvlan that cannot be made: the nic of the guest stays', async () => {
  await assertRefused({ n: { type: 'nic', nictype: 'macvlan', parent: MISSING } }, /add nic "n"/);
});

test('a nic under a name that the guest has: the nic of the guest stays, the new one goes', async () => {
  for (const nictype of ['macvlan', 'physical', 'p2p']) {
    const on = nictype === 'p2p' ? { host_name: END } : { parent: PARENT };
    await assertRefused({ n: { type: 'nic', nictype, name: 'eth0', ...on } }, /add nic "n"/);
    assert.ok(!isOnHost(END) && isOnHost(PARENT));
  }
});

test('a disk that cannot be mounted: what the guest has mounted there stays', async () => {
  await assertRefused({ d: { type: 'disk', source: '/no/such/folder', path: '/mine' } }, /is not there/);
});

test('a nic goes again when a later device of the same change is refused', async () => {
  const refused = { type: 'disk', source: daemon.dir, path: '/file' };
  const nics = [
    { type: 'nic', nictype: 'p2p', host_name: END },
    { type: 'nic', nictype: 'p2p' },
    { type: 'nic', nictype: 'macvlan', parent: PARENT },
    { type: 'nic', nictype: 'physical', parent: PARENT },
  ];
  for (const n of nics) await assertRefused({ n, z: refused }, /add disk "z"/);
  assert.ok(!isOnHost(END) && isOnHost(PARENT));
});

test('nothing is unmounted for an optional disk that was not there', async () => {
  await assertRefused(
    {
      a: { type: 'disk', source: '/no/such/folder', path: '/mine', required: 'false' },
      z: { type: 'disk', source: daemon.dir, path: '/file' },
    },
    /add disk "z"/,
  );
});

test('a disk that only a start can mount is not unmounted by a change of it', async () => {
  assert.match(await inside('cat /proc/mounts'), / \/raw /);
  for (const change of [{ readonly: 'true' }, { path: '/other' }]) {
    await assertRefused({ raw: { ...RAW, ...change } }, /while the instance is stopped/);
  }
});
