/**
 * Brings the tables to what this program expects. Each migration is one
 * transaction together with the line in `schema_versions` that says it was
 * done, so that a crash leaves it done or not done. Migrations are never
 * changed after a release; a new one is added to MIGRATIONS.
 */
import type { Sequelize, Transaction } from 'sequelize';
import { Fault } from '../../process/fault.ts';
import type { Log } from '../../process/log.ts';
import { first } from './migrations/0001-first.ts';
import type { SqlDriver } from './sql-driver.ts';
import { toFault } from './sql-faults.ts';

export interface Migration {
  readonly version: number;
  readonly name: string;
  readonly statements: readonly string[];
}

export const MIGRATIONS: readonly Migration[] = [first];

/** Fault `conflict` when the database is newer than this program. */
export async function migrate(driver: SqlDriver, migrations: readonly Migration[], log: Log): Promise<void> {
  const { where, sequelize } = driver;
  const version = await readVersion(sequelize);
  const newest = Math.max(0, ...migrations.map((migration) => migration.version));
  if (version > newest) throw newer(where, version, newest);
  const missing = migrations.filter((migration) => migration.version > version);
  if (version > 0 && missing.length > 0) {
    const copy = driver.beforeMigration(version);
    log.info('the tables of the database are being changed', { database: where, version, newest, copy });
  }
  for (const migration of missing) {
    try {
      await driver.inTransaction((transaction) => apply(sequelize, migration, transaction));
    } catch (err) {
      throw toFault(
        err,
        `migrate database ${where} to version ${String(migration.version)}, ${migration.name}`,
      );
    }
  }
}

async function apply(
  sequelize: Sequelize,
  migration: Migration,
  transaction: Transaction | null,
): Promise<void> {
  for (const sql of migration.statements) await sequelize.query(sql, { transaction, raw: true });
  await sequelize.query(
    'INSERT INTO "schema_versions" ("version", "name", "applied_at") VALUES ($1, $2, $3)',
    {
      bind: [migration.version, migration.name, new Date().toISOString()],
      transaction,
      raw: true,
    },
  );
}

async function readVersion(sequelize: Sequelize): Promise<number> {
  await sequelize.query(
    `CREATE TABLE IF NOT EXISTS "schema_versions" (
       "version" BIGINT NOT NULL PRIMARY KEY, "name" TEXT NOT NULL, "applied_at" TEXT NOT NULL)`,
    { raw: true },
  );
  const [rows] = await sequelize.query('SELECT MAX("version") AS "version" FROM "schema_versions"', {
    raw: true,
  });
  const row: unknown = rows[0];
  const version: unknown = typeof row === 'object' && row !== null && 'version' in row ? row.version : null;
  return Number(version ?? 0);
}

function newer(where: string, version: number, newest: number): Fault {
  return new Fault(
    'conflict',
    `open database ${where}: its tables have version ${String(version)}, this program knows ${String(newest)}; ` +
      'install the newer program again, or give back the copy of the database that it made',
    { facts: { version, newest } },
  );
}
