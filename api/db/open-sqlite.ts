/**
 * Opens the embedded database: one handle, one connection.
 *
 * A commit writes to the write-ahead log; settle() puts the log on disk from a
 * thread of libuv. That is what `synchronous = FULL` does within the commit,
 * on the event loop: with it every request waits while the disk does, and
 * writes that come together cannot share one sync. `NORMAL` still syncs log
 * and file in the right order around a checkpoint, so the file is sound at any moment.
 */
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import type BetterSqlite from 'better-sqlite3';
import type { Sequelize } from 'sequelize';
import { z } from 'zod';
import { Fault } from '../../process/fault.ts';
import type { SqlDriver } from './sql-driver.ts';
import { toFault } from './sql-faults.ts';
import { sqliteModule } from './sqlite-driver.ts';
import { Syncer } from './syncer.ts';

/** How long the driver itself waits for another program's lock; it blocks the event loop meanwhile. */
const LOCK_WAIT_MS = 20;

const CHECKPOINT = z.tuple([z.object({ busy: z.number() })]);

/** Fault `unavailable`, `forbidden` or `storage_full` with what to do. */
export async function openSqlite(path: string, backUpFirst: boolean): Promise<SqlDriver> {
  const what = `open database ${path}`;
  const Driver = await loadDriver(what);
  makeFile(path, what);
  let handle: BetterSqlite.Database | undefined;
  let log: FileHandle;
  try {
    handle = new Driver(path, { timeout: LOCK_WAIT_MS });
    setUp(handle);
    log = await openLog(handle, path);
  } catch (err) {
    handle?.close();
    throw toFault(err, what);
  }
  const { Sequelize } = await import('sequelize');
  const opened = handle;
  const syncer = new Syncer(syncOf(opened, log));
  const sequelize = new Sequelize({
    dialect: 'sqlite',
    storage: path,
    dialectModule: sqliteModule(opened),
    logging: false,
  });
  return {
    dialect: 'sqlite',
    sequelize,
    where: path,
    inTransaction: (work) => inTransaction(sequelize, opened, work),
    settle: () => syncer.settle(),
    beforeMigration: (version) => (backUpFirst ? backUp(opened, path, version) : null),
    forgetConnections: () => undefined,
    close: async () => {
      await sequelize.close();
      await log.close();
      opened.close();
    },
  };
}

/**
 * Not sequelize's own transaction: that opens a connection for each, and when
 * BEGIN or COMMIT fails (the file is locked, the disk is full) leaves the
 * handle in the transaction and writes to the console.
 */
async function inTransaction<T>(
  sequelize: Sequelize,
  handle: BetterSqlite.Database,
  work: (transaction: null) => Promise<T>,
): Promise<T> {
  // IMMEDIATE: one that begins by reading would otherwise fail when it comes to write.
  await sequelize.query('BEGIN IMMEDIATE', { raw: true });
  try {
    const result = await work(null);
    await sequelize.query('COMMIT', { raw: true });
    return result;
  } finally {
    if (handle.inTransaction) handle.exec('ROLLBACK');
  }
}

async function loadDriver(what: string): Promise<typeof BetterSqlite> {
  try {
    return (await import('better-sqlite3')).default;
  } catch (cause) {
    throw new Fault(
      'unavailable',
      `${what}: the SQLite driver cannot be loaded; run "npm install better-sqlite3", ` +
        'or give a postgresql:// address as [database] connection',
      { cause },
    );
  }
}

/** The file holds certificates and a password's hash: only its owner may read it. */
function makeFile(path: string, what: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const isNew = !existsSync(path);
    closeSync(openSync(path, 'a', 0o600));
    if (isNew) chmodSync(path, 0o600);
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : '';
    if (code === 'ENOSPC' || code === 'EDQUOT')
      throw new Fault('storage_full', `${what}: the disk is full`, { cause });
    const text = `${what}: the file or its folder cannot be written; check owner, mode and that it is a file`;
    throw new Fault('forbidden', text, { cause });
  }
}

/**
 * The write-ahead log. It stays the same file while the handle is open, and
 * SQLite keeps no locks on it that closing our descriptor could drop.
 */
async function openLog(handle: BetterSqlite.Database, path: string): Promise<FileHandle> {
  if (handle.pragma('journal_mode', { simple: true }) !== 'wal') {
    throw new Fault(
      'unavailable',
      `open database ${path}: its file system has no shared memory; use a local one`,
    );
  }
  // The log is made by the first look at the tables.
  handle.prepare('SELECT COUNT(*) FROM sqlite_master').get();
  return open(`${path}-wal`, 'r');
}

/**
 * After a sync that failed the kernel may take the lost pages for written, and
 * a later sync would succeed over a hole in the log. So what the log holds is
 * then brought into the file itself, as often as it takes.
 */
function syncOf(handle: BetterSqlite.Database, log: FileHandle): () => Promise<void> {
  let isSound = true;
  return async () => {
    try {
      if (isSound) {
        await log.datasync();
        return;
      }
    } catch {
      isSound = false;
    }
    const [result] = CHECKPOINT.parse(handle.pragma('wal_checkpoint(TRUNCATE)'));
    if (result.busy !== 0) throw new Fault('unavailable', 'the log of the database cannot be put on disk');
    isSound = true;
  };
}

function setUp(handle: BetterSqlite.Database): void {
  handle.pragma('journal_mode = WAL');
  handle.pragma('synchronous = NORMAL');
  handle.pragma('foreign_keys = ON');
  handle.pragma('journal_size_limit = 4194304');
  handle.pragma('cache_size = -2000');
}

function backUp(handle: BetterSqlite.Database, path: string, version: number): string {
  const copy = `${path}.version-${String(version)}`;
  try {
    // VACUUM INTO takes what is still in the write-ahead log too, and refuses a file that is there.
    rmSync(copy, { force: true });
    handle.prepare('VACUUM INTO ?').run(copy);
    chmodSync(copy, 0o600);
  } catch (err) {
    throw toFault(err, `copy database ${path} to ${copy} before its tables are changed`);
  }
  return copy;
}
