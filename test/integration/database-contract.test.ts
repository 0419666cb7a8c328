/** The same cases on SQLite, on a private PostgreSQL and on the database in memory that other tests use. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openDatabase } from '../../api/db/database.ts';
import { NEVER } from '../../api/db/rows.ts';
import type { ImageRow, InstanceRow } from '../../api/db/rows.ts';
import type { Database, Table, Tables } from '../../api/db/store.ts';
import { Fault, isFault } from '../../process/fault.ts';
import { SILENT } from '../../process/log.ts';
import { memoryDatabase } from '../support/fake-tables.ts';
import { postgresLacks, privatePostgres } from '../support/private-postgres.ts';
import type { PrivatePostgres } from '../support/private-postgres.ts';

const INSTANCE: InstanceRow = {
  id: '6f0a3c1e-0000-4000-8000-000000000001',
  project: 'default',
  name: 'web-1',
  phase: 'creating',
  architecture: 'x86_64',
  description: 'Zwölf "Boxkämpfer" — 😀\n\u0001',
  ephemeral: true,
  stateful: false,
  profiles: ['default', 'p $1 ? :x'],
  config: { 'user.a': "it's", 'user.zero': 'a\u0000b', '': 'empty key', ['__proto__']: 'kept' },
  devices: { root: { type: 'disk', path: '/' } },
  pool: 'default',
  createdAt: '2026-01-02T03:04:05.678Z',
  lastUsedAt: NEVER,
};

const IMAGE: ImageRow = {
  project: 'default',
  fingerprint: 'f'.repeat(64),
  filename: 'image.tar.xz',
  size: 9_000_000_000_123,
  public: false,
  autoUpdate: true,
  cached: false,
  architecture: 'x86_64',
  properties: { os: 'debian' },
  profiles: null,
  form: 'split',
  createdAt: NEVER,
  expiresAt: NEVER,
  uploadedAt: '2026-01-02T03:04:05.678Z',
  lastUsedAt: NEVER,
};

const KEY = { id: INSTANCE.id };
const second: InstanceRow = { ...INSTANCE, id: 'second', name: 'web-2' };

interface Case {
  readonly name: string;
  readonly run: (db: Database) => Promise<void>;
}

async function rejectsWith(
  work: Promise<unknown>,
  code: 'already_exists' | 'not_found' | 'bad_request',
): Promise<void> {
  await assert.rejects(work, (err) => {
    assert.ok(isFault(err, code), `expected ${code}, got ${String(err)}`);
    return true;
  });
}

const CASES: readonly Case[] = [
  {
    name: 'a row comes back as it was written',
    run: async (db) => {
      await db.tables.instances.insert(INSTANCE);
      await db.tables.images.insert(IMAGE);
      assert.deepEqual(await db.tables.instances.find(KEY), INSTANCE);
      assert.deepEqual(await db.tables.images.all(), [IMAGE]);
    },
  },
  {
    name: 'a row that is not there is null, and every row is listed',
    run: async (db) => {
      assert.equal(await db.tables.instances.find(KEY), null);
      assert.deepEqual(await db.tables.instances.all(), []);
      await db.tables.instances.insert(INSTANCE);
      await db.tables.instances.insert(second);
      const names = (await db.tables.instances.all()).map((row) => row.name);
      assert.deepEqual(names.sort(), ['web-1', 'web-2']);
    },
  },
  {
    name: 'an update changes the given fields alone',
    run: async (db) => {
      await db.tables.instances.insert(INSTANCE);
      await db.tables.instances.update(KEY, { phase: 'ready', config: { 'user.b': '2' }, ephemeral: false });
      await db.tables.instances.update(KEY, {});
      const expected = { ...INSTANCE, phase: 'ready', config: { 'user.b': '2' }, ephemeral: false };
      assert.deepEqual(await db.tables.instances.find(KEY), expected);
    },
  },
  {
    name: 'an update of a row that is not there is not_found, also with no changes',
    run: async (db) => {
      await rejectsWith(db.tables.instances.update(KEY, { phase: 'ready' }), 'not_found');
      await rejectsWith(db.tables.instances.update(KEY, {}), 'not_found');
    },
  },
  {
    name: 'a key that is taken is already_exists, in an insert and in a rename',
    run: async (db) => {
      const row = { project: 'default', name: 'a', description: '', config: {}, devices: {} };
      await db.tables.profiles.insert(row);
      await rejectsWith(db.tables.profiles.insert(row), 'already_exists');
      await db.tables.profiles.insert({ ...row, name: 'b' });
      const key = { project: 'default', name: 'b' };
      await rejectsWith(db.tables.profiles.update(key, { name: 'a' }), 'already_exists');
      await db.tables.profiles.update(key, { name: 'c' });
      assert.deepEqual((await db.tables.profiles.all()).map((profile) => profile.name).sort(), ['a', 'c']);
    },
  },
  {
    name: 'a name is unique within a project',
    run: async (db) => {
      await db.tables.instances.insert(INSTANCE);
      await rejectsWith(db.tables.instances.insert({ ...second, name: 'web-1' }), 'already_exists');
      await db.tables.instances.insert({ ...second, name: 'web-1', project: 'other' });
      await rejectsWith(
        db.tables.instances.update({ id: 'second' }, { project: 'default' }),
        'already_exists',
      );
    },
  },
  {
    name: 'removing is harmless when there is nothing',
    run: async (db) => {
      await db.tables.instances.insert(INSTANCE);
      await db.tables.instances.remove(KEY);
      await db.tables.instances.remove(KEY);
      assert.deepEqual(await db.tables.instances.all(), []);
    },
  },
  {
    name: 'a text with a zero character is refused',
    run: async (db) => {
      await rejectsWith(db.tables.instances.insert({ ...INSTANCE, description: 'a\0b' }), 'bad_request');
      assert.deepEqual(await db.tables.instances.all(), []);
    },
  },
  {
    name: 'a transaction is seen whole or not at all',
    run: async (db) => {
      let inside = () => undefined as void;
      const entered = new Promise<void>((resolve) => {
        inside = resolve;
      });
      const write = db.transaction(async (tables: Tables) => {
        await tables.instances.insert(INSTANCE);
        inside();
        await tables.instances.insert(second);
        assert.equal((await tables.instances.all()).length, 2);
      });
      await entered;
      const seen = (await db.tables.instances.all()).length;
      assert.ok(seen === 0 || seen === 2, `${String(seen)} rows were seen`);
      await write;
      assert.equal((await db.tables.instances.all()).length, 2);
    },
  },
  {
    name: 'a transaction whose work throws leaves nothing and passes the error on',
    run: async (db) => {
      await db.tables.instances.insert(INSTANCE);
      const work = db.transaction(async (tables) => {
        await tables.instances.insert(second);
        await tables.instances.remove(KEY);
        throw new RangeError('a bug');
      });
      await assert.rejects(work, RangeError);
      const fault = db.transaction(() => Promise.reject(new Fault('busy', 'not now')));
      await assert.rejects(fault, (err) => isFault(err, 'busy'));
      assert.deepEqual(await db.tables.instances.all(), [INSTANCE]);
    },
  },
  {
    name: 'a transaction cannot be committed after one of its statements failed',
    run: async (db) => {
      const work = db.transaction(async (tables) => {
        await tables.instances.insert(INSTANCE);
        await tables.instances.insert(INSTANCE).catch(() => undefined);
      });
      await rejectsWith(work, 'already_exists');
      assert.deepEqual(await db.tables.instances.all(), []);
    },
  },
  {
    name: 'a hundred transactions that read, change and write lose nothing',
    run: async (db) => {
      await db.tables.config.insert({ key: 'n', value: '0' });
      const add = (tables: { readonly config: Table<'config'> }) =>
        tables.config.find({ key: 'n' }).then((row) => {
          return tables.config.update({ key: 'n' }, { value: String(Number(row?.value) + 1) });
        });
      await Promise.all(Array.from({ length: 100 }, () => db.transaction(add)));
      assert.deepEqual(await db.tables.config.find({ key: 'n' }), { key: 'n', value: '100' });
    },
  },
  {
    name: 'writes are done in the order in which they were asked for',
    run: async (db) => {
      const all = [db.tables.config.insert({ key: 'k', value: '-1' })];
      for (let i = 0; i < 50; i += 1) all.push(db.tables.config.update({ key: 'k' }, { value: String(i) }));
      await Promise.all(all);
      assert.equal((await db.tables.config.find({ key: 'k' }))?.value, '49');
    },
  },
  {
    name: 'a closed database refuses to be used and may be closed again',
    run: async (db) => {
      const last = db.tables.config.insert({ key: 'k', value: 'v' });
      await db.close();
      await last;
      await db.close();
      await assert.rejects(db.tables.config.all(), (err) => isFault(err, 'unavailable'));
      await assert.rejects(db.tables.config.remove({ key: 'k' }), (err) => isFault(err, 'unavailable'));
    },
  },
];

function runCases(open: (index: number) => Promise<Database>): void {
  CASES.forEach((one, index) => {
    test(one.name, async () => {
      const db = await open(index);
      try {
        await one.run(db);
      } finally {
        await db.close();
      }
    });
  });
}

describe('on the database in memory', () => {
  runCases(() => Promise.resolve(memoryDatabase()));
});

describe('on SQLite', () => {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-db-'));
  after(() => {
    rmSync(folder, { recursive: true });
  });
  runCases((index) => openDatabase(`sqlite://${folder}/${String(index)}.db`, { log: SILENT }));
});

describe('on PostgreSQL', { skip: postgresLacks() ?? false }, () => {
  let server: PrivatePostgres | undefined;
  before(async () => {
    server = await privatePostgres();
  });
  after(() => server?.remove());
  runCases((index) => {
    assert.ok(server);
    return openDatabase(server.database(`case${String(index)}`), { log: SILENT });
  });
});
