/** What the rest of the daemon sees of the database. Models and SQL stay inside `db/`. */
import type { Keys, Rows, TableName } from './rows.ts';

export interface Table<N extends TableName> {
  all(): Promise<Rows[N][]>;
  find(key: Keys[N]): Promise<Rows[N] | null>;
  /** Fault `already_exists` when the key (or another unique column) is taken. */
  insert(row: Rows[N]): Promise<void>;
  /**
   * Changes the given fields of one row. Key fields may change too (a rename).
   * Fault `not_found` when there is no such row, `already_exists` when a new key is taken.
   */
  update(key: Keys[N], changes: Partial<Rows[N]>): Promise<void>;
  /** Harmless when there is no such row. */
  remove(key: Keys[N]): Promise<void>;
}

export type Tables = { readonly [N in TableName]: Table<N> };

/**
 * A write is on disk (SQLite's log has been synced, or PostgreSQL has
 * committed) when its promise resolves. Writes run one after the other in one lane.
 */
export interface Database {
  readonly dialect: 'sqlite' | 'postgres';
  readonly tables: Tables;
  /**
   * All or nothing. `work` must use the tables it is given, and nothing slow.
   * It may be run again when PostgreSQL could not serialise it. A statement
   * that failed fails the transaction, also when `work` goes on after it.
   */
  transaction<T>(work: (tables: Tables) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}
