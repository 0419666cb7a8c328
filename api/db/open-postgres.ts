/** Opens PostgreSQL: a pool of connections that heals when the server goes and comes back. */
import { readFileSync } from 'node:fs';
import type { Dialect, Options, Sequelize } from 'sequelize';
import { Fault } from '../../process/fault.ts';
import { toFault } from './sql-faults.ts';

const POOL_SIZE = 5;
const CONNECT_MS = 5_000;
/** Our statements touch one row by its key; one that takes this long waits for a lock or a dead disk. */
const STATEMENT_MS = 10_000;

interface Address {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly username: string;
  readonly password: string | undefined;
  readonly ssl: Readonly<Record<string, unknown>> | false;
}

export interface OpenedPostgres {
  readonly sequelize: Sequelize;
  /** Host, port and database: an address without the password, for logs and error texts. */
  readonly where: string;
}

/** Fault `bad_request` for a wrong address, `unavailable` when the server cannot be reached. */
export async function openPostgres(connection: string): Promise<OpenedPostgres> {
  const address = parseAddress(connection);
  const where = `${address.database} on ${address.host}:${String(address.port)}`;
  const what = `open database ${where}`;
  const driver = await loadDriver(what);
  const { Sequelize } = await import('sequelize');
  const sequelize = new Sequelize(optionsFor(address, driver));
  try {
    await sequelize.query('SELECT 1', { raw: true });
  } catch (err) {
    await sequelize.close();
    throw toFault(err, what);
  }
  return { sequelize, where };
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

function optionsFor(address: Address, driver: object): Options {
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
      statement_timeout: STATEMENT_MS,
      query_timeout: STATEMENT_MS + 5_000,
      idle_in_transaction_session_timeout: STATEMENT_MS,
      connectionTimeoutMillis: CONNECT_MS,
      ...(address.ssl === false ? {} : { ssl: address.ssl }),
    },
  };
}
