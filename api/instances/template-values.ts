/** Values of the template language and how they are read. Pure. */

export type Value = string | number | boolean | null | readonly Value[] | ValueMap | ValueFunction;
export interface ValueMap {
  readonly [key: string]: Value;
}
export type ValueFunction = (...args: readonly Value[]) => Value;

export function isMap(value: Value): value is ValueMap {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function isList(value: Value): value is readonly Value[] {
  return Array.isArray(value);
}

/** What is written for a value: nothing for a missing one. */
export function textOf(value: Value): string {
  if (value === null || typeof value === 'function') return '';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

export function numberOf(value: Value): number {
  const number = typeof value === 'string' ? Number(value.trim()) : typeof value === 'number' ? value : NaN;
  return Number.isFinite(number) ? number : 0;
}

export function isTrue(value: Value): boolean {
  if (isList(value)) return value.length > 0;
  if (isMap(value)) return Object.keys(value).length > 0;
  return Boolean(value);
}
