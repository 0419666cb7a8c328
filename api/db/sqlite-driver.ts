/**
 * What sequelize's SQLite dialect expects of the package `sqlite3`, over
 * better-sqlite3: an object with `Database` and two open flags.
 *
 * There is one handle per file, however often sequelize opens one: its
 * transactions ask for a connection of their own, and two handles of one thread
 * in a synchronous driver would wait for each other for ever. So the caller
 * must let one transaction run at a time and nothing else beside it.
 */
import type BetterSqlite from 'better-sqlite3';

type Callback = (this: unknown, err: unknown, rows?: unknown) => void;
type Parameters = Readonly<Record<string, unknown>> | readonly unknown[];

/** Statements kept prepared; the daemon has a few dozen texts. */
const MAX_PREPARED = 200;

export interface SqliteModule {
  readonly OPEN_READWRITE: number;
  readonly OPEN_CREATE: number;
  readonly Database: new (filename: string, mode: number, opened: Callback) => Connection;
}

interface Connection {
  readonly filename: string;
  serialize(work: () => void): void;
  run(sql: string, parameters?: Parameters | Callback, done?: Callback): Connection;
  all(sql: string, parameters?: Parameters | Callback, done?: Callback): Connection;
  close(done?: Callback): void;
}

/** A module for `dialectModule` whose connections all are this handle. */
export function sqliteModule(handle: BetterSqlite.Database): SqliteModule {
  const statements = new Statements(handle);
  class Database implements Connection {
    readonly filename: string;

    constructor(filename: string, _mode: number, opened: Callback) {
      this.filename = filename;
      // sequelize keeps the object it gets here and reads it in the callback.
      process.nextTick(() => {
        opened.call(this, null);
      });
    }

    serialize(work: () => void): void {
      work();
    }

    run(sql: string, parameters?: Parameters | Callback, done?: Callback): Connection {
      const callback = typeof parameters === 'function' ? parameters : done;
      const values = typeof parameters === 'function' ? undefined : parameters;
      statements.execute(sql, values, callback);
      return this;
    }

    all(sql: string, parameters?: Parameters | Callback, done?: Callback): Connection {
      return this.run(sql, parameters, done);
    }

    close(done?: Callback): void {
      // The handle belongs to the opener of the database, not to a transaction.
      done?.call(this, null);
    }
  }
  return { OPEN_READWRITE: 2, OPEN_CREATE: 4, Database };
}

class Statements {
  private readonly handle: BetterSqlite.Database;
  private readonly prepared = new Map<string, BetterSqlite.Statement>();

  constructor(handle: BetterSqlite.Database) {
    this.handle = handle;
  }

  /** `done` gets the rows, and `changes` and `lastID` as its `this`. */
  execute(sql: string, parameters: Parameters | undefined, done: Callback | undefined): void {
    let rows: unknown = [];
    let result = { lastID: 0, changes: 0 };
    try {
      const statement = this.prepare(sql);
      const values = toBind(parameters);
      if (statement.reader) {
        rows = statement.all(values);
      } else {
        const info = statement.run(values);
        result = { lastID: Number(info.lastInsertRowid), changes: info.changes };
      }
    } catch (err) {
      if (done === undefined) throw err;
      done.call(result, err);
      return;
    }
    done?.call(result, null, rows);
  }

  private prepare(sql: string): BetterSqlite.Statement {
    const known = this.prepared.get(sql);
    if (known !== undefined) return known;
    const statement = this.handle.prepare(sql);
    if (this.prepared.size >= MAX_PREPARED) this.prepared.clear();
    this.prepared.set(sql, statement);
    return statement;
  }
}

/** `{$1: true}` -> `{1: 1}`: better-sqlite3 wants bare names and knows no booleans and dates. */
function toBind(parameters: Parameters | undefined): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(parameters ?? {})) {
    values[name.replace(/^\$/, '')] = toSqlite(value);
  }
  return values;
}

function toSqlite(value: unknown): unknown {
  if (typeof value === 'boolean') return value ? 1 : 0;
  if (value instanceof Date) return value.toISOString();
  return value ?? null;
}
