/** What can be wrong with a database when it is opened or written, and what the error says. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import BetterSqlite from 'better-sqlite3';
import { openDatabase } from '../../api/db/database.ts';
import { MIGRATIONS } from '../../api/db/migrate.ts';
import type { Migration } from '../../api/db/migrate.ts';
import { isFault } from '../../process/fault.ts';
import type { FaultCode } from '../../process/fault.ts';
import { SILENT } from '../../process/log.ts';
import { postgresLacks, privatePostgres } from '../support/private-postgres.ts';
import type { PrivatePostgres } from '../support/private-postgres.ts';

const options = { log: SILENT };
const isRoot = process.getuid?.() === 0;
const folder = mkdtempSync(join(tmpdir(), 'slipway-db-'));
after(() => {
  rmSync(folder, { recursive: true });
});

async function refusedWith(work: Promise<unknown>, code: FaultCode, text: RegExp): Promise<void> {
  await assert.rejects(work, (err) => {
    assert.ok(isFault(err, code), `expected ${code}, got ${String(err)}`);
    assert.match(err.message, text);
    return true;
  });
}

test('the folder is made, and file and log are for the owner alone', async () => {
  const path = join(folder, 'new', 'deep', 'local.db');
  const db = await openDatabase(`sqlite://${path}`, options);
  await db.tables.config.insert({ key: 'a', value: 'b' });
  for (const name of [path, `${path}-wal`]) assert.equal(statSync(name).mode & 0o777, 0o600, name);
  await db.close();
  assert.equal(existsSync(`${path}-wal`), false, 'the log is merged when the database is closed');
});

test('an address that is neither database is refused', async () => {
  for (const address of [
    '',
    'local.db',
    'sqlite:local.db',
    'sqlite://relative.db',
    'mysql://u@h/d',
    'sqlite:///',
  ]) {
    await refusedWith(openDatabase(address, options), 'bad_request', /connection/);
  }
  await refusedWith(
    openDatabase('postgresql://h', options),
    'bad_request',
    /name of the database is missing/,
  );
  await refusedWith(openDatabase('postgresql://h/d?sslmode=x', options), 'bad_request', /sslmode/);
});

test('a file that is no database is named and left as it is', async () => {
  const path = join(folder, 'text.db');
  writeFileSync(path, 'this is not a database, it is a text of some length\n'.repeat(100));
  await refusedWith(
    openDatabase(`sqlite://${path}`, options),
    'unavailable',
    /text\.db: the file is not an SQLite database/,
  );
  assert.match(readFileSync(path, 'utf8'), /^this is not/);
});

test('a database of another program is not taken over', async () => {
  const path = join(folder, 'other.db');
  const other = new BetterSqlite(path);
  other.exec('CREATE TABLE instances (x)');
  other.close();
  await assert.rejects(openDatabase(`sqlite://${path}`, options), /migrate database .*other\.db/);
});

test('a folder in the place of the file is refused', async () => {
  const path = join(folder, 'folder.db');
  mkdirSync(path);
  await refusedWith(openDatabase(`sqlite://${path}`, options), 'forbidden', /cannot be written/);
});

test('a database of a newer program is refused and left as it is', async () => {
  const path = join(folder, 'newer.db');
  const next: Migration = { version: 99, name: 'later', statements: ['CREATE TABLE "later" ("a" TEXT)'] };
  const db = await openDatabase(`sqlite://${path}`, { ...options, migrations: [...MIGRATIONS, next] });
  await db.close();
  await refusedWith(
    openDatabase(`sqlite://${path}`, options),
    'conflict',
    /version 99, this program knows 1/,
  );
});

const ADD_COLUMN: Migration = {
  version: 2,
  name: 'add-column',
  statements: [`ALTER TABLE "pools" ADD COLUMN "extra" TEXT NOT NULL DEFAULT ''`],
};
const BROKEN: Migration = {
  version: 3,
  name: 'broken',
  statements: ['CREATE TABLE "half" ("a" TEXT)', 'THIS IS NO SQL'],
};

test('a file is copied before its tables change, and the copy holds what was there', async () => {
  const path = join(folder, 'old.db');
  const old = await openDatabase(`sqlite://${path}`, options);
  await old.tables.config.insert({ key: 'kept', value: '1' });
  await old.close();
  const migrations = [...MIGRATIONS, ADD_COLUMN];
  const db = await openDatabase(`sqlite://${path}`, { ...options, migrations });
  assert.deepEqual(await db.tables.config.all(), [{ key: 'kept', value: '1' }]);
  await db.close();
  const copy = `${path}.version-1`;
  assert.equal(statSync(copy).mode & 0o777, 0o600);
  const before = await openDatabase(`sqlite://${copy}`, options);
  assert.deepEqual(await before.tables.config.all(), [{ key: 'kept', value: '1' }]);
  await before.close();
});

test('a migration that fails leaves the version before it, with its tables', async () => {
  const path = join(folder, 'broken.db');
  await (await openDatabase(`sqlite://${path}`, options)).close();
  const migrations = [...MIGRATIONS, ADD_COLUMN, BROKEN];
  const opening = openDatabase(`sqlite://${path}`, { ...options, migrations, backupBeforeMigration: false });
  await assert.rejects(opening, /migrate database .* to version 3, broken/);
  assert.equal(existsSync(`${path}.version-1`), false);
  const raw = new BetterSqlite(path);
  assert.equal(raw.prepare('SELECT MAX(version) FROM schema_versions').pluck().get(), 2);
  assert.equal(raw.prepare("SELECT COUNT(*) FROM sqlite_master WHERE name = 'half'").pluck().get(), 0);
  raw.close();
});

test('a write waits while another program has the lock, and reads go on', async () => {
  const path = join(folder, 'locked.db');
  const db = await openDatabase(`sqlite://${path}`, options);
  const other = new BetterSqlite(path);
  other.exec('BEGIN IMMEDIATE');
  const writes = [
    db.tables.config.insert({ key: 'a', value: '1' }),
    db.transaction((tables) => tables.config.insert({ key: 'b', value: '1' })),
  ];
  assert.deepEqual(await db.tables.pools.all(), []);
  other.exec('COMMIT');
  other.close();
  await Promise.all(writes);
  assert.equal((await db.tables.config.all()).length, 2);
  await db.close();
});

test('a driver that is not installed is named, with what to do', () => {
  for (const [driver, address] of [
    ['better-sqlite3', `sqlite://${folder}/x.db`],
    ['pg', 'postgresql://127.0.0.1:1/db'],
  ]) {
    const hook = `export async function resolve(name, context, next) {
      if (name === '${String(driver)}') throw Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' });
      return next(name, context);
    }`;
    const script = `import { register } from 'node:module';
      register('data:text/javascript,' + encodeURIComponent(${JSON.stringify(hook)}));
      const { openDatabase } = await import('./api/db/database.ts');
      const { SILENT } = await import('./process/log.ts');
      await openDatabase(${JSON.stringify(address)}, { log: SILENT }).catch((err) => console.log(err.code, err.message));`;
    const cwd = new URL('../..', import.meta.url).pathname;
    const args = ['--import', 'tsx', '--input-type=module', '-e', script];
    const done = spawnSync(process.execPath, args, { cwd, encoding: 'utf8' });
    assert.match(done.stdout, new RegExp(`^unavailable .*npm install ${String(driver)}`), done.stderr);
  }
});

describe('on a small disk', { skip: isRoot ? false : 'mounting needs root' }, () => {
  const disk = join(folder, 'disk');
  before(() => {
    mkdirSync(disk);
    assert.equal(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', disk]).status, 0);
  });
  after(() => {
    spawnSync('umount', [disk]);
  });

  test('a full disk is said to be full; what was there stays, and it goes on when there is room', async () => {
    const path = join(disk, 'full.db');
    const db = await openDatabase(`sqlite://${path}`, options);
    await db.tables.config.insert({ key: 'first', value: '1' });
    const filling = 'x'.repeat(100_000);
    const fill = async () => {
      for (let i = 0; ; i += 1) await db.tables.config.insert({ key: `k${String(i)}`, value: filling });
    };
    await refusedWith(fill(), 'storage_full', /disk of the database is full/);
    const whole = db.transaction(async ({ config }) => {
      await config.insert({ key: 'half', value: '1' });
      await config.insert({ key: 'big', value: filling.repeat(9) });
    });
    await refusedWith(whole, 'storage_full', /full/);
    const rows = await db.tables.config.all();
    assert.ok(rows.some((row) => row.key === 'first') && !rows.some((row) => row.key === 'half'));
    assert.equal(spawnSync('mount', ['-o', 'remount,size=8m', disk]).status, 0);
    await db.tables.config.insert({ key: 'last', value: '1' });
    await db.transaction((tables) => tables.config.insert({ key: 'very last', value: '1' }));
    assert.equal((await db.tables.config.all()).length, rows.length + 2);
    await db.close();
  });

  test('a disk that may not be written is refused at the start', async () => {
    const path = join(disk, 'readonly.db');
    await (await openDatabase(`sqlite://${path}`, options)).close();
    assert.equal(spawnSync('mount', ['-o', 'remount,ro', disk]).status, 0);
    await refusedWith(openDatabase(`sqlite://${path}`, options), 'forbidden', /cannot be written/);
  });
});

describe('on PostgreSQL', { skip: postgresLacks() ?? false }, () => {
  let server: PrivatePostgres | undefined;
  before(async () => {
    server = await privatePostgres();
  });
  after(() => server?.remove());

  test('migrations run once, a newer database is refused, a failed one leaves no half', async () => {
    assert.ok(server);
    const address = server.database('migrated');
    await (await openDatabase(address, options)).close();
    const migrations = [...MIGRATIONS, ADD_COLUMN, BROKEN];
    await assert.rejects(openDatabase(address, { ...options, migrations }), /to version 3, broken/);
    assert.equal(server.psql('SELECT MAX(version) FROM schema_versions', 'migrated'), '2');
    assert.equal(server.psql("SELECT COUNT(*) FROM pg_tables WHERE tablename = 'half'", 'migrated'), '0');
    await refusedWith(openDatabase(address, options), 'conflict', /version 2, this program knows 1/);
    const db = await openDatabase(address, { ...options, migrations: [...MIGRATIONS, ADD_COLUMN] });
    assert.deepEqual(await db.tables.pools.all(), []);
    await db.close();
  });

  test('a user who may not make tables is told so', async () => {
    assert.ok(server);
    server.psql('CREATE ROLE nobody LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC');
    const address = server.database('strange').replace('postgres@', 'nobody@');
    await refusedWith(openDatabase(address, options), 'unavailable', /lacks the right/);
  });
});

test(
  'a file of someone else that may be read only is refused',
  { skip: isRoot ? 'root may write everything' : false },
  async () => {
    const path = join(folder, 'theirs.db');
    writeFileSync(path, '');
    chmodSync(path, 0o400);
    await refusedWith(openDatabase(`sqlite://${path}`, options), 'forbidden', /cannot be written/);
  },
);
