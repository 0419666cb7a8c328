/** What an error of sequelize, better-sqlite3 or pg means to the rest of the daemon. */
import { Fault, isFault } from '../../process/fault.ts';
import type { FaultCode } from '../../process/fault.ts';

interface Meaning {
  readonly code: FaultCode;
  readonly text: string;
}

const FULL: Meaning = { code: 'storage_full', text: 'the disk of the database is full' };
const LOST: Meaning = { code: 'unavailable', text: 'the database cannot be reached' };
const TAKEN: Meaning = { code: 'already_exists', text: 'it already exists' };
const SLOW: Meaning = { code: 'timeout', text: 'the database did not answer in time' };

/** Names of SQLite's result codes, without what follows the second word. */
const SQLITE: Readonly<Record<string, Meaning>> = {
  SQLITE_CONSTRAINT: TAKEN,
  SQLITE_FULL: FULL,
  SQLITE_BUSY: { code: 'unavailable', text: 'another program keeps the database locked' },
  SQLITE_LOCKED: { code: 'unavailable', text: 'another program keeps the database locked' },
  SQLITE_IOERR: { code: 'unavailable', text: 'the disk of the database fails' },
  SQLITE_READONLY: { code: 'unavailable', text: 'the database may not be written' },
  SQLITE_CANTOPEN: { code: 'unavailable', text: 'the database file cannot be opened' },
  SQLITE_CORRUPT: { code: 'unavailable', text: 'the database file is damaged' },
  SQLITE_NOTADB: { code: 'unavailable', text: 'the file is not an SQLite database' },
};

/** PostgreSQL's SQLSTATE, whole or its class (the first two characters). */
const POSTGRES: Readonly<Record<string, Meaning>> = {
  '23505': TAKEN,
  '53100': FULL,
  '53200': LOST,
  '53300': { code: 'unavailable', text: 'the database server takes no more connections' },
  '57014': SLOW,
  '57P01': LOST,
  '57P02': LOST,
  '57P03': LOST,
  '58030': { code: 'unavailable', text: 'the disk of the database server fails' },
  '22021': { code: 'bad_request', text: 'a text holds characters that cannot be stored' },
  '25006': { code: 'unavailable', text: 'the database server is read-only' },
  '28': { code: 'unavailable', text: 'the database server refuses the user or the password' },
  '3D': { code: 'unavailable', text: 'the database does not exist on the server; make it with createdb' },
  '08': LOST,
  '40': { code: 'unavailable', text: 'the database refused the change again and again' },
  '42501': { code: 'unavailable', text: 'the database user lacks the right' },
};

/** Codes of a transaction that PostgreSQL wants to see again: serialization failure, deadlock. */
const AGAIN = new Set(['40001', '40P01']);

/** What the system says of a file. */
const SYSTEM: Readonly<Record<string, Meaning>> = {
  ENOSPC: FULL,
  EDQUOT: FULL,
  EIO: { code: 'unavailable', text: 'the disk of the database fails' },
  EROFS: { code: 'unavailable', text: 'the database may not be written' },
};

const NETWORK = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ENOENT',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EACCES',
]);

/** A Fault that says `what` was attempted; Faults are passed on as they are. */
export function toFault(err: unknown, what: string): Fault {
  if (isFault(err)) return err;
  const cause = driverError(err);
  const meaning = meaningOf(err, cause);
  // The driver's own error is the cause: sequelize's holds the statement with its values.
  return new Fault(meaning.code, meaning.text === '' ? what : `${what}: ${meaning.text}`, {
    cause: meaning === TAKEN ? undefined : new Error(messageOf(cause)),
  });
}

/** False for what the work of a transaction threw on its own. */
export function isDriverError(err: unknown): boolean {
  if (err instanceof Error && err.name.startsWith('Sequelize')) return true;
  const cause = driverError(err);
  return meaningOf(err, cause).code !== 'internal' || codeOf(cause).startsWith('SQLITE_');
}

/** True when the same transaction may succeed if it is run again. */
export function mayRunAgain(err: unknown): boolean {
  return AGAIN.has(codeOf(driverError(err)));
}

/** True when another program held SQLite's lock for longer than the driver waits. */
export function isLocked(err: unknown): boolean {
  return /^SQLITE_(BUSY|LOCKED)/.test(codeOf(driverError(err)));
}

function meaningOf(err: unknown, cause: unknown): Meaning {
  const code = codeOf(cause);
  const sqlite = /^SQLITE_[A-Z]+/.exec(code);
  if (sqlite !== null) return SQLITE[sqlite[0]] ?? { code: 'internal', text: '' };
  const system = SYSTEM[code];
  if (system !== undefined) return system;
  const postgres = POSTGRES[code] ?? POSTGRES[code.slice(0, 2)];
  if (code.length === 5 && postgres !== undefined) return postgres;
  if (NETWORK.has(code) || isLostConnection(err, cause)) return LOST;
  if (/^(query read timeout|timeout expired)/i.test(messageOf(cause))) return SLOW;
  return { code: 'internal', text: '' };
}

function isLostConnection(err: unknown, cause: unknown): boolean {
  if (err instanceof Error && /^SequelizeConnection|^SequelizeHost/.test(err.name)) return true;
  return /connection (terminated|ended|error|is closed)|not queryable|client was closed/i.test(
    messageOf(cause),
  );
}

/** sequelize keeps the driver's error as `original` or `parent`. */
function driverError(err: unknown): unknown {
  let at = err;
  for (let depth = 0; depth < 4; depth += 1) {
    const inner = property(at, 'original') ?? property(at, 'parent');
    if (!(inner instanceof Error)) break;
    at = inner;
  }
  return at;
}

function codeOf(err: unknown): string {
  const code = property(err, 'code');
  return typeof code === 'string' ? code : '';
}

function messageOf(err: unknown): string {
  return err instanceof Error ? err.message : String(err);
}

function property(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined;
  return Object.getOwnPropertyDescriptor(value, name)?.value;
}
