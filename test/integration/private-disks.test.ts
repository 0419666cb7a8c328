/** Disks an instance has of its own, and roots of others, through a real daemon. */
import assert from 'node:assert/strict';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { LxdClient, type Caller } from '../../driver/lxd/client.ts';
import { isFault } from '../../process/fault.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

const caller: Caller = { requestId: 'req-d15c' };
const TIMEOUT = { timeout: 120_000 };
const MNT = { type: 'disk', source: 'empty:', path: '/mnt', size: '64MiB' };

let daemon: SlipwayDaemon;
let client: LxdClient;
let fingerprint: string;

before(async () => {
  daemon = await SlipwayDaemon.start();
  for (const driver of ['overlay', 'dir']) {
    await daemon.done('POST', '/1.0/storage-pools', { name: driver, driver });
  }
  fingerprint = await daemon.importImage(await buildTinyImage(daemon.dir), 'tiny');
  client = new LxdClient(daemon.socket);
});

after(async () => {
  client.close();
  await daemon.destroy();
});

interface Wanted {
  readonly pool?: string;
  readonly config?: Readonly<Record<string, string>>;
  readonly devices?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly start?: boolean;
}

async function make(name: string, { pool = 'overlay', config = {}, devices = {}, start = true }: Wanted) {
  const root = { type: 'disk', path: '/', pool };
  const source = { type: 'image', fingerprint };
  await client.create(caller, { name, source, profiles: [], config, devices: { root, ...devices }, start });
}

async function inside(name: string, script: string): Promise<string> {
  const ran = await client.exec(caller, name, ['sh', '-c', script]);
  assert.equal(ran.exitCode, 0, ran.stderr);
  return ran.stdout;
}

async function setDevice(name: string, device: string, config: Readonly<Record<string, string>> | null) {
  const found = await client.instance(caller, name);
  assert.ok(found !== null);
  const others = Object.entries(found.devices).filter(([key]) => key !== device);
  const devices = { ...Object.fromEntries(others), ...(config === null ? {} : { [device]: config }) };
  await client.put(caller, name, { ...found, devices });
}

const stop = (name: string) => client.changeState(caller, name, { action: 'stop', force: true });
const start = (name: string) => client.changeState(caller, name, { action: 'start' });
const megabytes = (name: string) =>
  inside(name, 'df -m /mnt | tail -n 1 | tr -s " " | cut -d " " -f 2').then(Number);

for (const pool of ['overlay', 'dir']) {
  test(`a disk of its own is kept, grows, and goes (${pool})`, TIMEOUT, async () => {
    const name = `pd-${pool}`;
    const files = () => readdir(join(daemon.state, 'storage-pools', pool, 'containers', name));
    await make(name, { pool, devices: { data: MNT } });
    assert.ok((await megabytes(name)) <= 64);
    await inside(name, 'echo kept > /mnt/file && chown 100 /mnt/file');
    await stop(name);
    await client.rename(caller, name, `${name}-moved`);
    await client.rename(caller, `${name}-moved`, name);
    await setDevice(name, 'data', { ...MNT, size: '128MiB' });
    // A root that gets its first size is made anew; what lies beside it stays.
    await setDevice(name, 'root', { type: 'disk', path: '/', pool, size: '256MiB' });
    await start(name);
    assert.ok((await megabytes(name)) > 100);
    assert.equal(await inside(name, 'stat -c %u /mnt/file; cat /mnt/file'), '100\nkept\n');

    await stop(name);
    await setDevice(name, 'data', { ...MNT, size: '32MiB' });
    await assert.rejects(start(name), /cannot be made smaller/);
    await setDevice(name, 'data', { ...MNT, size: '128MiB', readonly: 'true' });
    await start(name);
    assert.notEqual((await client.exec(caller, name, ['touch', '/mnt/no'])).exitCode, 0);
    await stop(name);
    assert.ok((await files()).includes('disk-data.img'));
    await setDevice(name, 'data', null);
    await start(name);
    assert.ok(!(await files()).includes('disk-data.img'));
    await stop(name);
    await client.delete(caller, name);
  });
}

test('what is mounted inside a disk is seen', TIMEOUT, async () => {
  const shared = join(daemon.dir, 'shared');
  await mkdir(shared, { mode: 0o755 });
  await writeFile(join(shared, 'file'), 'from the host\n');
  const inner = { type: 'disk', source: shared, path: '/mnt/inner' };
  await make('pd-inner', { devices: { a: inner, b: MNT } });
  assert.equal(await inside('pd-inner', 'cat /mnt/inner/file'), 'from the host\n');
  assert.ok((await megabytes('pd-inner')) <= 64);
  await stop('pd-inner');
  await client.delete(caller, 'pd-inner');
});

test('a disk of its own cannot come to a running instance', TIMEOUT, async () => {
  await make('pd-runs', {});
  await assert.rejects(
    setDevice('pd-runs', 'data', MNT),
    (err) => isFault(err) && /while the instance is stopped/.test(err.message),
  );
  await stop('pd-runs');
  await client.delete(caller, 'pd-runs');
});

test('a copy has a disk of its own, which is empty', TIMEOUT, async () => {
  await make('pd-from', { devices: { data: MNT } });
  await inside('pd-from', 'echo mine > /mnt/file');
  await stop('pd-from');
  await client.create(caller, { name: 'pd-to', source: { type: 'copy', source: 'pd-from' } });
  await start('pd-to');
  assert.equal(await inside('pd-to', 'ls /mnt | grep -v lost; :'), '');
  await stop('pd-to');
  for (const name of ['pd-from', 'pd-to']) await client.delete(caller, name);
});

test('the root of a stopped instance is shown to one other, of another pool too', TIMEOUT, async () => {
  await make('pd-ill', { pool: 'dir', config: { 'security.idmap.isolated': 'true' } });
  await inside('pd-ill', 'echo ill > /root/state');
  const lent = { type: 'disk', source: 'root:pd-ill', path: '/mnt/ill' };
  const doctor = { config: { 'security.idmap.isolated': 'true' }, devices: { ill: lent }, start: false };
  await make('pd-doctor', doctor);
  await assert.rejects(start('pd-doctor'), /must be stopped to lend its root/);
  await stop('pd-ill');
  await start('pd-doctor');
  assert.equal(await inside('pd-doctor', 'cat /mnt/ill/root/state; stat -c %u /mnt/ill/root'), 'ill\n0\n');
  await inside('pd-doctor', 'echo well > /mnt/ill/root/state');
  for (const refused of [
    () => start('pd-ill'),
    () => client.delete(caller, 'pd-ill'),
    () => client.rename(caller, 'pd-ill', 'pd-well'),
    () => client.pullFile(caller, 'pd-ill', '/root/state'),
  ]) {
    await assert.rejects(refused(), /the root of instance "pd-ill" is a disk of "pd-doctor"/);
  }
  // The daemon knows it still when it was started again.
  await daemon.kill();
  await daemon.restart();
  await assert.rejects(start('pd-ill'), /is a disk of "pd-doctor"/);
  await stop('pd-doctor');
  assert.equal((await client.pullFile(caller, 'pd-ill', '/root/state')).toString(), 'well\n');
  // A look into its files holds its root for a while: the doctor waits for no one.
  await start('pd-doctor');
  await stop('pd-doctor');
  await start('pd-ill');
  assert.equal(await inside('pd-ill', 'cat /root/state'), 'well\n');
  await stop('pd-ill');
  await client.delete(caller, 'pd-ill');
  await assert.rejects(start('pd-doctor'), /not found/i);
  await client.delete(caller, 'pd-doctor');
});

test('roots are lent neither in circles nor by profiles', TIMEOUT, async () => {
  const lent = (name: string) => ({ other: { type: 'disk', source: `root:${name}`, path: '/mnt/other' } });
  await make('pd-one', { devices: lent('pd-two'), start: false });
  await make('pd-two', { devices: lent('pd-one'), start: false });
  await assert.rejects(start('pd-one'), /made of other roots itself/);
  await make('pd-self', { devices: lent('pd-self'), start: false });
  await assert.rejects(start('pd-self'), /made of other roots itself/);
  const profile = await daemon.request('POST', '/1.0/profiles', { name: 'pd', devices: lent('pd-one') });
  assert.equal(profile.error_code, 400);
  for (const name of ['pd-one', 'pd-two', 'pd-self']) await client.delete(caller, name);
});
