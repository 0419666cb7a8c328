/** Opens PostgreSQL: a pool of connections that heals when the server goes and comes back. */
import { readFileSync } from 'node:fs';
import type { Dialect, Options, Sequelize } from 'sequelize';
import { Fault } from '../../process/fault.ts';
import type { SqlDriver } from './sql-driver.ts';
import { toFault } from './sql-faults.ts';

const POOL_SIZE = 5;
const CONNECT_MS = 5_000;
/** The server gets this much less time than we wait, so that it is normally the one to give up. */
const SERVER_SHARE = 0.7;

interface Address {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly username: string;
  readonly password: string | undefined;
  readonly ssl: Readonly<Record<string, unknown>> | false;
}

/** Fault `bad_request` for a wrong address, `unavailable` when the server cannot be reached. */
export async function openPostgres(connection: string, answerWithinMs: number): Promise<SqlDriver> {
  const address = parseAddress(connection);
  const where = `${address.database} on ${address.host}:${String(address.port)}`;
  const what = `open database ${where}`;
  const driver = await loadDriver(what);
  const { Sequelize } = await import('sequelize');
  const sequelize = new Sequelize(optionsFor(address, driver, answerWithinMs));
  try {
    await sequelize.query('SELECT 1', { raw: true });
  } catch (err) {
    await sequelize.close();
    throw toFault(err, what);
  }
  return {
    dialect: 'postgres',
    sequelize,
    where,
    inTransaction: (work) => sequelize.transaction((transaction) => work(transaction)),
    // PostgreSQL says that it has committed when that is so.
    settle: () => Promise.resolve(),
    beforeMigration: () => null,
    forgetConnections: () => {
      forgetIdle(sequelize);
    },
    close: () => sequelize.close(),
  };
}

/**
 * A connection to a host that vanished is not seen to be dead for a quarter of
 * an hour, and the pool would give it out again and again.
 */
function forgetIdle(sequelize: Sequelize): void {
  // sequelize's types leave its connection manager out; the pool is sequelize-pool's.
  const { connectionManager } = sequelize as unknown as {
    connectionManager: { pool: { destroyAllNow(): Promise<void> } };
  };
  // Saying goodbye to a dead server fails, and nothing hangs on it.
  connectionManager.pool.destroyAllNow().catch(() => undefined);
}

/**
 * `postgresql://user:password@host:port/database`; `?host=/run/postgresql`
 * for a unix socket, `?sslmode=` disable, require, verify-ca, verify-full,
 * `?sslrootcert=` the authority's file. The password may be in `~/.pgpass`.
 */
export function parseAddress(connection: string): Address {
  let url: URL;
  try {
    url = new URL(connection);
  } catch {
    throw badAddress('it is not an address');
  }
  const database = decodeURIComponent(url.pathname.replace(/^\//, ''));
  if (database === '') throw badAddress('the name of the database is missing');
  const host = url.searchParams.get('host') ?? decodeURIComponent(url.hostname);
  return {
    host: host === '' ? 'localhost' : host,
    port: Number(url.searchParams.get('port') ?? (url.port === '' ? 5432 : url.port)),
    database,
    username: decodeURIComponent(url.username),
    password: url.password === '' ? undefined : decodeURIComponent(url.password),
    ssl: sslFrom(url.searchParams),
  };
}

function sslFrom(query: URLSearchParams): Address['ssl'] {
  const mode = query.get('sslmode') ?? 'disable';
  const root = query.get('sslrootcert');
  const ca = root === null ? {} : { ca: readFileSync(root, 'utf8') };
  switch (mode) {
    case 'disable':
      return false;
    case 'require':
      return { ...ca, rejectUnauthorized: root !== null };
    case 'verify-ca':
      return { ...ca, rejectUnauthorized: true, checkServerIdentity: () => undefined };
    case 'verify-full':
      return { ...ca, rejectUnauthorized: true };
    default:
      throw badAddress(`sslmode "${mode}" is unknown; use disable, require, verify-ca or verify-full`);
  }
}

/** The address is not repeated: it may hold a password. */
function badAddress(why: string): Fault {
  return new Fault(
    'bad_request',
    `[database] connection: ${why}; write for example postgresql://slipway:password@db.example.org/slipway`,
  );
}

async function loadDriver(what: string): Promise<object> {
  try {
    return (await import('pg')).default;
  } catch (cause) {
    throw new Fault('unavailable', `${what}: the PostgreSQL driver cannot be loaded; run "npm install pg"`, {
      cause,
    });
  }
}

function optionsFor(address: Address, driver: object, answerWithinMs: number): Options {
  const dialect: Dialect = 'postgres';
  return {
    dialect,
    dialectModule: driver,
    host: address.host,
    port: address.port,
    database: address.database,
    username: address.username,
    ...(address.password === undefined ? {} : { password: address.password }),
    logging: false,
    pool: { max: POOL_SIZE, min: 0, idle: 60_000, acquire: CONNECT_MS * 2 },
    dialectOptions: {
      application_name: 'slipway',
      keepAlive: true,
      statement_timeout: Math.round(answerWithinMs * SERVER_SHARE),
      query_timeout: answerWithinMs,
      idle_in_transaction_session_timeout: answerWithinMs,
      connectionTimeoutMillis: CONNECT_MS,
      ...(address.ssl === false ? {} : { ssl: address.ssl }),
    },
  };
}
