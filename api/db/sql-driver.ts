/** What the two databases do differently, behind sequelize. */
import type { Sequelize, Transaction } from 'sequelize';

export interface SqlDriver {
  readonly dialect: 'sqlite' | 'postgres';
  readonly sequelize: Sequelize;
  /** The database in logs and error texts: a path, or host and name without the password. */
  readonly where: string;
  /**
   * Commits what `work` did through the transaction given (null: the one
   * connection there is), or undoes it and throws what `work` threw.
   */
  inTransaction<T>(work: (transaction: Transaction | null) => Promise<T>): Promise<T>;
  /** Resolves when everything committed before the call would survive a loss of power. */
  settle(): Promise<void>;
  /** Called before the tables of a database that holds data are changed; a path of a copy, when one was made. */
  beforeMigration(version: number): string | null;
  /** An answer did not come: connections that may be dead are given up. */
  forgetConnections(): void;
  close(): Promise<void>;
}
