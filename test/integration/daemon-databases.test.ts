/** The life of an instance through the whole daemon, the same on both databases. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { postgresLacks, privatePostgres } from '../support/private-postgres.ts';
import type { PrivatePostgres } from '../support/private-postgres.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

const DATABASES = ['sqlite', 'postgres'] as const;

for (const dialect of DATABASES) {
  describe(
    `a daemon on ${dialect}`,
    { skip: dialect === 'postgres' ? (postgresLacks() ?? false) : false },
    () => {
      let postgres: PrivatePostgres | null = null;
      let daemon: SlipwayDaemon;
      let folder: string;

      before(async () => {
        folder = await mkdtemp(join(tmpdir(), 'slipway-images-'));
        if (dialect === 'postgres') postgres = await privatePostgres();
        const config = postgres === null ? '' : `[database]\nconnection = ${postgres.database('slipway')}\n`;
        daemon = await SlipwayDaemon.start({ config });
        await daemon.furnish(`swdb${dialect.slice(0, 6)}`);
        await daemon.importImage(await buildTinyImage(folder), 'tiny');
      });

      after(async () => {
        await daemon.destroy();
        await postgres?.remove();
        await rm(folder, { recursive: true, force: true });
      });

      test('an instance is created, started, changed, used, stopped and deleted', async () => {
        await daemon.done('POST', '/1.0/instances', {
          name: 'one',
          source: { type: 'image', alias: 'tiny' },
        });
        await daemon.done('PUT', '/1.0/instances/one/state', { action: 'start' });
        await daemon.done('PATCH', '/1.0/instances/one', {
          config: { 'user.note': 'kept', 'limits.processes': '50' },
        });
        const ran = await daemon.done('POST', '/1.0/instances/one/exec', { command: ['true'] });
        assert.equal(ran.metadata.return, 0);
        await daemon.done('PUT', '/1.0/instances/one/state', { action: 'stop', force: true });
        await daemon.done('DELETE', '/1.0/instances/one');
        assert.deepEqual(await daemon.done('GET', '/1.0/instances'), []);
      });

      test('what was acknowledged is there after a kill, and the container never noticed', async () => {
        await daemon.done('POST', '/1.0/instances', {
          name: 'two',
          source: { type: 'image', alias: 'tiny' },
          start: true,
        });
        await daemon.done('PATCH', '/1.0/instances/two', { config: { 'user.note': 'before the kill' } });
        await daemon.done('POST', '/1.0/profiles', { name: 'p1', config: { 'user.p': '1' } });
        const before = await daemon.done('GET', '/1.0/instances/two/state');
        await daemon.kill();
        await daemon.restart();
        const state = await daemon.done('GET', '/1.0/instances/two/state');
        assert.equal(state.status, 'Running');
        assert.equal(state.pid, before.pid);
        const instance = await daemon.done('GET', '/1.0/instances/two');
        assert.equal(instance.config['user.note'], 'before the kill');
        assert.equal((await daemon.done('GET', '/1.0/profiles/p1')).config['user.p'], '1');
      });

      test('names are unique and unknown things are not found', async () => {
        const twice = await daemon.request('POST', '/1.0/profiles', { name: 'p1' });
        assert.equal(twice.error_code, 409);
        const missing = await daemon.request('GET', '/1.0/instances/nobody');
        assert.equal(missing.error_code, 404);
      });
    },
  );
}
