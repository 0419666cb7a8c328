/** An instance that gets another range of ids keeps its files, and what it deleted of its image. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

let daemon: SlipwayDaemon;

before(async () => {
  daemon = await SlipwayDaemon.start();
  await daemon.done('POST', '/1.0/storage-pools', { name: 'default', driver: 'overlay' });
  await daemon.importImage(await buildTinyImage(daemon.dir), 'tiny');
});

after(async () => {
  await daemon.destroy();
});

const ISOLATED = { 'security.idmap.isolated': 'true' };
const SHARED = { 'security.idmap.isolated': '' };

for (const size of ['', '64MiB']) {
  test(`isolated and back, with a root disk of ${size === '' ? 'any size' : size}`, async () => {
    const name = `idm${size.toLowerCase()}`;
    const url = `/1.0/instances/${name}`;
    const root = { type: 'disk', path: '/', pool: 'default', ...(size === '' ? {} : { size }) };
    const source = { type: 'image', alias: 'tiny' };
    await daemon.done('POST', '/1.0/instances', { name, source, profiles: [], devices: { root } });
    const run = async (...command: string[]): Promise<number> => {
      const ended = await daemon.done('POST', `${url}/exec`, { command });
      return ended.metadata.return;
    };
    for (const config of [SHARED, ISOLATED, SHARED, ISOLATED]) {
      await daemon.done('PATCH', url, { config });
      await daemon.done('PUT', `${url}/state`, { action: 'start' });
      // The first time it is a file of the image; from then on it lies over the mark of its deletion.
      assert.equal(await run('rm', '-f', '/etc/shells', '/mine'), 0);
      assert.equal(await run('sh', '-c', 'test ! -e /etc/shells && echo new > /mine'), 0);
      assert.equal(await run('sh', '-c', 'echo x > /etc/shells && rm /etc/shells'), 0);
      assert.equal(await run('sh', '-c', 'test "$(stat -c %u:%g /mine /etc/passwd | sort -u)" = 0:0'), 0);
      await daemon.done('PUT', `${url}/state`, { action: 'stop', force: true });
    }
  });
}
