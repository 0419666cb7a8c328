/**
 * The daemon's database through sequelize: SQLite in one file, or PostgreSQL.
 *
 * Writes run in one lane on both. sequelize on SQLite does not serialise
 * transactions (most of them fail with SQLITE_BUSY when they meet), and one
 * writer is also what keeps PostgreSQL from losing updates.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { QueryOptions, QueryTypes, Sequelize, Transaction } from 'sequelize';
import { Fault } from '../../process/fault.ts';
import { Lanes } from '../../process/lanes.ts';
import type { Log } from '../../process/log.ts';
import { forEachTable } from './columns.ts';
import { MIGRATIONS, migrate } from './migrate.ts';
import type { Migration } from './migrate.ts';
import { openPostgres } from './open-postgres.ts';
import { openSqlite } from './open-sqlite.ts';
import type { SqlDriver } from './sql-driver.ts';
import { isDriverError, isLocked, mayRunAgain, toFault } from './sql-faults.ts';
import { SqlTable } from './sql-table.ts';
import type { Statements } from './sql-table.ts';
import type { Database, Tables } from './store.ts';

/** Tries of a transaction that PostgreSQL could not serialise. */
const MAX_TRIES = 5;
/** How long a write waits for another program's lock on the SQLite file. */
const LOCK_PATIENCE_MS = 5_000;
/** Our statements touch one row by its key; one that takes longer waits for a lock or a dead disk. */
const ANSWER_WITHIN_MS = 15_000;

export interface DatabaseOptions {
  readonly log: Log;
  /** Copy an SQLite file before its tables are changed; true when absent. */
  readonly backupBeforeMigration?: boolean;
  /** How long a PostgreSQL server may take over one statement; 15,000 when absent. */
  readonly answerWithinMs?: number;
  /** Other than the program's own, for tests. */
  readonly migrations?: readonly Migration[];
}

/**
 * `sqlite:///<path>` or `postgresql://…`. Faults say what to do: the driver is
 * missing, the file is not a database, is newer than this program or cannot be
 * written, the server cannot be reached.
 */
export async function openDatabase(connection: string, options: DatabaseOptions): Promise<Database> {
  const driver = await openDriver(connection, options);
  try {
    await migrate(driver, options.migrations ?? MIGRATIONS, options.log);
    await driver.settle();
  } catch (err) {
    await driver.close();
    throw toFault(err, `open database ${driver.where}`);
  }
  return new SqlDatabase(driver);
}

async function openDriver(connection: string, options: DatabaseOptions): Promise<SqlDriver> {
  if (connection.startsWith('sqlite:')) {
    return openSqlite(sqlitePath(connection), options.backupBeforeMigration ?? true);
  }
  if (/^postgres(ql)?:\/\//.test(connection)) {
    return openPostgres(connection, options.answerWithinMs ?? ANSWER_WITHIN_MS);
  }
  throw new Fault(
    'bad_request',
    '[database] connection must begin with sqlite:///, followed by a path, or with postgresql://',
  );
}

function sqlitePath(connection: string): string {
  const path = /^sqlite:\/\/(\/.+)$/.exec(connection)?.[1];
  if (path === undefined || path.includes('\0')) {
    throw new Fault(
      'bad_request',
      `[database] connection "${connection}": write sqlite:// and an absolute path`,
    );
  }
  return path;
}

class SqlDatabase implements Database {
  readonly dialect: 'sqlite' | 'postgres';
  readonly tables: Tables;
  private readonly driver: SqlDriver;
  private readonly lanes = new Lanes();
  /** Set while a transaction is open on SQLite's one connection: a read would see its half. */
  private open: Promise<unknown> | null = null;
  private readonly reading = new Set<Promise<unknown>>();
  private closing: Promise<void> | null = null;

  constructor(driver: SqlDriver) {
    this.driver = driver;
    this.dialect = driver.dialect;
    this.tables = forEachTable<Tables>((name) => new SqlTable(name, this.single()));
  }

  transaction<T>(work: (tables: Tables) => Promise<T>): Promise<T> {
    return this.write('change the database', async () => {
      // Reads that have begun end first; those that come now wait.
      const before = this.dialect === 'sqlite' ? Promise.allSettled(this.reading) : Promise.resolve();
      const running = before.then(() => this.runTransaction(work));
      if (this.dialect === 'sqlite') this.open = running.catch(() => undefined);
      try {
        return await running;
      } finally {
        this.open = null;
      }
    });
  }

  close(): Promise<void> {
    this.closing ??= this.closeWhenIdle();
    return this.closing;
  }

  private async closeWhenIdle(): Promise<void> {
    await this.lanes.settled();
    await Promise.allSettled([...this.reading, this.driver.settle()]);
    await this.driver.close();
  }

  /** Statements outside transactions: each write a transaction of its own. */
  private single(): Statements {
    return {
      select: async (what, sql, values) => {
        while (this.open !== null) await this.open;
        const read = this.read(what, () => select(this.driver.sequelize, sql, values, null));
        this.reading.add(read);
        return read.finally(() => this.reading.delete(read));
      },
      change: (what, sql, values) => this.write(what, () => change(this.driver.sequelize, sql, values, null)),
    };
  }

  private async read<T>(what: string, act: () => Promise<T>): Promise<T> {
    if (this.closing !== null) throw closed(what);
    try {
      return await act();
    } catch (err) {
      const fault = this.fault(err, what);
      // The pool may have given out a connection whose server has gone: reading twice is harmless.
      if (fault.code !== 'unavailable') throw fault;
    }
    try {
      return await act();
    } catch (err) {
      throw this.fault(err, what);
    }
  }

  private fault(err: unknown, what: string): Fault {
    const fault = toFault(err, what);
    if (fault.code === 'timeout') this.driver.forgetConnections();
    return fault;
  }

  /** The lane is left when the change is made; writes that wait for the disk together wait for one sync. */
  private async write<T>(what: string, act: () => Promise<T>): Promise<T> {
    if (this.closing !== null) throw closed(what);
    const result = await this.inLane(what, act);
    try {
      await this.driver.settle();
    } catch (err) {
      throw toFault(err, what);
    }
    return result;
  }

  private inLane<T>(what: string, act: () => Promise<T>): Promise<T> {
    return this.lanes.run('', async () => {
      const patienceEnds = performance.now() + LOCK_PATIENCE_MS;
      for (let tries = 1; ; tries += 1) {
        try {
          return await act();
        } catch (err) {
          const again =
            (mayRunAgain(err) && tries < MAX_TRIES) || (isLocked(err) && performance.now() < patienceEnds);
          if (!again) throw isDriverError(err) ? this.fault(err, what) : err;
        }
        await sleep(5 + Math.random() * 20);
      }
    });
  }

  private async runTransaction<T>(work: (tables: Tables) => Promise<T>): Promise<T> {
    const failed = new FirstFailure();
    try {
      return await this.driver.inTransaction(async (transaction) => {
        const result = await work(this.tablesIn(transaction, failed));
        if (failed.fault !== null) throw failed.fault;
        return result;
      });
    } catch (err) {
      throw mayRunAgain(failed.raw) ? failed.raw : err;
    }
  }

  private tablesIn(transaction: Transaction | null, failed: FirstFailure): Tables {
    const statements: Statements = {
      select: (what, sql, values) =>
        select(this.driver.sequelize, sql, values, transaction).catch((err: unknown) =>
          failed.note(err, what),
        ),
      change: (what, sql, values) =>
        change(this.driver.sequelize, sql, values, transaction).catch((err: unknown) =>
          failed.note(err, what),
        ),
    };
    return forEachTable<Tables>((name) => new SqlTable(name, statements));
  }
}

/**
 * A statement that failed ends a transaction on PostgreSQL, and so it does here
 * on both: work that swallows the error cannot commit the rest.
 */
class FirstFailure {
  raw: unknown = undefined;
  fault: Fault | null = null;

  note(err: unknown, what: string): never {
    const fault = toFault(err, what);
    if (this.fault === null) {
      this.raw = err;
      this.fault = fault;
    }
    throw fault;
  }
}

async function select(
  sequelize: Sequelize,
  sql: string,
  values: readonly unknown[],
  transaction: Transaction | null,
): Promise<readonly Readonly<Record<string, unknown>>[]> {
  return sequelize.query<Record<string, unknown>>(sql, {
    ...bound(values, transaction),
    type: 'SELECT' as QueryTypes.SELECT, // the enum's value; importing it would load sequelize at once
  });
}

async function change(
  sequelize: Sequelize,
  sql: string,
  values: readonly unknown[],
  transaction: Transaction | null,
): Promise<number> {
  return sequelize.query(sql, {
    ...bound(values, transaction),
    // The one type whose answer is the number of rows on both databases, whatever the verb.
    type: 'BULKUPDATE' as QueryTypes.BULKUPDATE, // see above
  });
}

function bound(values: readonly unknown[], transaction: Transaction | null): QueryOptions {
  return { bind: [...values], raw: true, transaction };
}

function closed(what: string): Fault {
  return new Fault('unavailable', `${what}: the database is closed; the daemon is stopping`);
}
