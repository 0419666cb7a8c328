/** Values of OVSDB rows as JSON carries them (RFC 7047, 5.1), and back. Pure. */
import type { StringMap } from '../db/rows.ts';
import type { Outcome } from './ovsdb.ts';

export type Row = Readonly<Record<string, unknown>>;

/** Rows that a select found. */
export function rowsOf(outcome: Outcome | undefined): Row[] {
  const rows = outcome?.['rows'];
  return Array.isArray(rows) ? rows.filter(isRow) : [];
}

function isRow(value: unknown): value is Row {
  return typeof value === 'object' && value !== null;
}

/** The id in `["uuid", id]`; '' for anything else. */
export function uuidOf(value: unknown): string {
  return Array.isArray(value) && value[0] === 'uuid' && typeof value[1] === 'string' ? value[1] : '';
}

/** The ids of a column that holds one or several. */
export function uuidsOf(value: unknown): string[] {
  if (Array.isArray(value) && value[0] === 'set' && Array.isArray(value[1])) {
    return value[1].map(uuidOf).filter((id) => id !== '');
  }
  const one = uuidOf(value);
  return one === '' ? [] : [one];
}

export function mapOf(value: unknown): StringMap {
  if (!Array.isArray(value) || value[0] !== 'map' || !Array.isArray(value[1])) return {};
  const pairs = value[1].filter((pair): pair is [string, string] => Array.isArray(pair) && pair.length === 2);
  return Object.fromEntries(pairs.map(([key, text]) => [key, String(text)]));
}

/** An empty optional column is `["set", []]`. */
export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

export function uuid(id: string): readonly ['uuid', string] {
  return ['uuid', id];
}

export function map(values: StringMap): readonly ['map', [string, string][]] {
  return ['map', Object.entries(values)];
}

export function set(values: readonly unknown[]): readonly ['set', readonly unknown[]] {
  return ['set', values];
}
