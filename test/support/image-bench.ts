/** A daemon's storage and images with a pool, and what tests of image imports do with them. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { StorageDaemon } from './storage-daemon.ts';

/** For one describe(): opens it before the tests in it and closes it after them. */
export function imageBench() {
  const daemon = new StorageDaemon();
  const scratch = join(daemon.state, 'scratch');
  before(async () => {
    await daemon.open();
    await daemon.pools.create({ name: 'default', driver: 'overlay', description: '', config: {} });
    mkdirSync(scratch);
  });
  after(() => daemon.close());

  return {
    daemon,
    scratch,
    fresh(name: string): string {
      const path = join(scratch, name);
      mkdirSync(path, { recursive: true });
      return path;
    },
    /** Unpacks an image and gives the path of its tree. */
    async unpacked(fingerprint: string): Promise<string> {
      const image = await daemon.images.find({ project: 'default', fingerprint });
      const { signal } = new AbortController();
      await daemon.pools.get('default').prepareImage(image, { sizeBytes: null, signal });
      return join(daemon.paths.pools, 'default', 'images', fingerprint);
    },
    async forget(fingerprint: string): Promise<void> {
      const row = daemon.images.rows.byPrefix('default', fingerprint);
      await daemon.images.remove(row, { username: 'root', protocol: 'unix', address: '@' }).finished;
    },
    assertNothingLeft(): void {
      assert.deepEqual(readdirSync(daemon.paths.images), []);
      assert.deepEqual(daemon.images.rows.all(), []);
      assert.deepEqual(readdirSync(join(daemon.paths.pools, 'default', '.new')), []);
      // The overlay driver's own.
      assert.deepEqual(readdirSync(join(daemon.paths.pools, 'default', 'images')), ['empty']);
    },
  };
}
