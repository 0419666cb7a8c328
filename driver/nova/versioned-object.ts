/**
 * An object of Nova's as it is on the wire, with its changes tracked.
 *
 * A NovaObject is a view of the primitive: whatever version, fields and nested
 * objects came in go out again as they are, known here or not. So an object
 * that came from the control plane goes back in the version it came in, and no
 * field is lost. A field that is missing was not loaded; null is a value.
 */
import { isDeepStrictEqual } from 'node:util';
import { Fault } from '../../process/fault.ts';
import { isRecord, type Json } from '../rpc/json.ts';
import { versionOf } from './object-versions.ts';

const NAME = 'nova_object.name';
const NAMESPACE = 'nova_object.namespace';
const VERSION = 'nova_object.version';
const DATA = 'nova_object.data';
const CHANGES = 'nova_object.changes';

/** What may be given to a field. */
export type FieldValue =
  | string
  | number
  | boolean
  | null
  | Date
  | NovaObject
  | readonly FieldValue[]
  | { readonly [key: string]: FieldValue };

/** One view for each primitive, so that whoever reaches it sees the same object. */
const views = new WeakMap<Json, NovaObject>();

export class NovaObject {
  private readonly primitive: Json;
  private readonly data: Json;
  private readonly trackers = new Set<Set<string>>();

  private constructor(primitive: Json, data: Json) {
    this.primitive = primitive;
    this.data = data;
  }

  /** The object of a primitive that came in. Fault bad_request when it is none. */
  static of(value: unknown): NovaObject {
    if (value instanceof NovaObject) return value;
    if (!isPrimitive(value)) throw new Fault('bad_request', 'read an object of Nova: it is none');
    const known = views.get(value);
    if (known !== undefined) return known;
    const data = value[DATA];
    if (typeof value[VERSION] !== 'string' || !isRecord(data)) {
      throw new Fault(
        'bad_request',
        `read an object of Nova: ${String(value[NAME])} has no version or no data`,
      );
    }
    const view = new NovaObject(value, data);
    views.set(value, view);
    return view;
  }

  /** A new object in the version this service speaks; all its fields count as changed. */
  static create(name: string, fields: Readonly<Record<string, FieldValue>>): NovaObject {
    const object = NovaObject.of({
      [NAME]: name,
      [NAMESPACE]: 'nova',
      [VERSION]: versionOf(name),
      [DATA]: {},
    });
    for (const [field, value] of Object.entries(fields)) object.set(field, value);
    return object;
  }

  get name(): string {
    return String(this.primitive[NAME]);
  }

  get version(): string {
    return String(this.primitive[VERSION]);
  }

  /** True when the version is at least this one (of the same major). */
  isAtLeast(minor: number): boolean {
    return Number(this.version.split('.')[1] ?? 0) >= minor;
  }

  has(field: string): boolean {
    return Object.hasOwn(this.data, field);
  }

  fields(): readonly string[] {
    return Object.keys(this.data);
  }

  /** The value, nested objects as NovaObjects; undefined when it is not loaded. */
  get(field: string): unknown {
    return this.has(field) ? fromWire(this.data[field]) : undefined;
  }

  /** Fault internal when the field is not loaded or of another type; so below. */
  text(field: string): string {
    const value = this.loaded(field);
    return typeof value === 'string' ? value : this.refuse(field, 'a text');
  }

  /** null when it is null or not loaded; so below. */
  textOrNull(field: string): string | null {
    return this.isEmpty(field) ? null : this.text(field);
  }

  number(field: string): number {
    const value = this.loaded(field);
    return typeof value === 'number' ? value : this.refuse(field, 'a number');
  }

  numberOrNull(field: string): number | null {
    return this.isEmpty(field) ? null : this.number(field);
  }

  /** A boolean; false when it is null or not loaded. */
  flag(field: string): boolean {
    if (this.isEmpty(field)) return false;
    const value = this.loaded(field);
    return typeof value === 'boolean' ? value : this.refuse(field, 'a boolean');
  }

  dateOrNull(field: string): Date | null {
    if (this.isEmpty(field)) return null;
    const text = this.text(field);
    // Nova's times are UTC, with or without a zone behind them.
    const at = new Date(/(Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text.replace(' ', 'T')}Z`);
    return Number.isNaN(at.getTime()) ? this.refuse(field, 'a time') : at;
  }

  object(field: string): NovaObject {
    const value = this.loaded(field);
    return isPrimitive(value) ? NovaObject.of(value) : this.refuse(field, 'an object');
  }

  objectOrNull(field: string): NovaObject | null {
    return this.isEmpty(field) ? null : this.object(field);
  }

  /** Objects of a list; a list object has them in its field `objects`. */
  objects(field = 'objects'): readonly NovaObject[] {
    const value = this.loaded(field);
    return Array.isArray(value) ? value.map((each) => NovaObject.of(each)) : this.refuse(field, 'a list');
  }

  /** A copy of a dictionary of texts; empty when it is null or not loaded. */
  texts(field: string): Record<string, string> {
    if (this.isEmpty(field)) return {};
    const value = this.loaded(field);
    if (!isRecord(value)) return this.refuse(field, 'a dictionary');
    return Object.fromEntries(
      Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
    );
  }

  /** Sets a field and counts it as changed, also when it had that value. */
  set(field: string, value: FieldValue): this {
    this.data[field] = toWire(value);
    this.markChanged(field);
    return this;
  }

  /** Sets the fields that differ; the others stay unchanged. Gives the names of those that were set. */
  assign(fields: Readonly<Record<string, FieldValue>>): readonly string[] {
    const changed = Object.entries(fields).filter(
      ([field, value]) =>
        !this.has(field) || !isDeepStrictEqual(plain(this.data[field]), plain(toWire(value))),
    );
    for (const [field, value] of changed) this.set(field, value);
    return changed.map(([field]) => field);
  }

  /** Names of the fields that are changed, by themselves or within a nested object. */
  whatChanged(): readonly string[] {
    const changed = new Set(this.ownChanges());
    for (const [field, value] of Object.entries(this.data)) {
      if (nested(value, this.isList(field)).some((each) => each.whatChanged().length > 0)) changed.add(field);
    }
    return [...changed];
  }

  /** Forgets all changes, those of nested objects too. */
  resetChanges(): void {
    this.keepChanges([]);
    for (const [field, value] of Object.entries(this.data)) {
      for (const each of nested(value, this.isList(field))) each.resetChanges();
    }
  }

  /**
   * Takes over what conductor made of the object. Fields in `newer` were set
   * while it did: they keep their value and stay changed.
   */
  applyUpdates(updates: Json, newer: ReadonlySet<string> = new Set()): void {
    const still = updates['obj_what_changed'];
    for (const [field, value] of Object.entries(updates)) {
      if (field === 'obj_what_changed' || field === '__proto__' || newer.has(field)) continue;
      this.data[field] = value;
    }
    this.resetChanges();
    const dirty = Array.isArray(still) ? still.filter((each) => typeof each === 'string') : [];
    this.keepChanges([...new Set([...dirty, ...newer])]);
  }

  /** Takes fields of another view of the same thing, as loaded and not as changed. */
  fill(from: NovaObject, fields: readonly string[]): void {
    for (const field of fields) {
      if (from.has(field)) this.data[field] = from.data[field];
    }
  }

  /** The names of fields set from now on are added to the set that is given back; untrack() ends it. */
  track(): Set<string> {
    const tracker = new Set<string>();
    this.trackers.add(tracker);
    return tracker;
  }

  untrack(tracker: Set<string>): void {
    this.trackers.delete(tracker);
  }

  /** The object for the wire. It is the live one, not a copy. */
  toPrimitive(): Json {
    for (const [field, value] of Object.entries(this.data)) {
      for (const each of nested(value, this.isList(field))) each.toPrimitive();
    }
    const changed = this.whatChanged();
    if (!sameNames(changed, this.ownChanges())) this.keepChanges(changed);
    return this.primitive;
  }

  /** JSON.stringify() comes here, wherever the object stands in arguments and results. */
  toJSON(): Json {
    return this.toPrimitive();
  }

  /** A copy that shares nothing with this object. */
  clone(): NovaObject {
    return NovaObject.of(structuredClone(this.toPrimitive()));
  }

  private isList(field: string): boolean {
    return field === 'objects' && this.name.endsWith('List');
  }

  private ownChanges(): readonly string[] {
    const changes = this.primitive[CHANGES];
    return Array.isArray(changes) ? changes.filter((each) => typeof each === 'string') : [];
  }

  private keepChanges(changes: readonly string[]): void {
    if (changes.length === 0) delete this.primitive[CHANGES];
    else this.primitive[CHANGES] = [...changes];
  }

  private markChanged(field: string): void {
    const changes = this.ownChanges();
    if (!changes.includes(field)) this.keepChanges([...changes, field]);
    for (const tracker of this.trackers) tracker.add(field);
  }

  private isEmpty(field: string): boolean {
    return !this.has(field) || this.data[field] === null;
  }

  private loaded(field: string): unknown {
    if (!this.has(field)) throw new Fault('internal', `read ${field} of ${this.name}: it is not loaded`);
    return this.data[field];
  }

  private refuse(field: string, kind: string): never {
    throw new Fault('internal', `read ${field} of ${this.name}: it is not ${kind}`);
  }
}

/** A value of the wire with its objects as NovaObjects, also those in a plain list. */
export function fromWire(value: unknown): unknown {
  if (isPrimitive(value)) return NovaObject.of(value);
  return Array.isArray(value) && value.some(isPrimitive) ? value.map(fromWire) : value;
}

/** A time as Nova's objects have it: whole seconds, UTC. */
export function objectTime(at: Date): string {
  return `${at.toISOString().slice(0, 19)}Z`;
}

function isPrimitive(value: unknown): value is Json {
  return isRecord(value) && typeof value[NAME] === 'string';
}

function toWire(value: FieldValue): unknown {
  if (value instanceof NovaObject) return value.toPrimitive();
  if (value instanceof Date) return objectTime(value);
  if (Array.isArray(value)) return value.map((each: FieldValue) => toWire(each));
  if (isRecord(value)) {
    // What is left of FieldValue here is a dictionary of field values.
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, toWire(each as FieldValue)]));
  }
  return value;
}

/** For comparisons: objects differ by what they are, not by what of them is changed. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (!isRecord(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key]) => key !== CHANGES)
      .map(([key, each]) => [key, plain(each)]),
  );
}

/** The objects right below a field. Plain lists of objects do not count for changes, as in Nova. */
function nested(value: unknown, isList: boolean): readonly NovaObject[] {
  if (isPrimitive(value)) return [NovaObject.of(value)];
  if (!isList || !Array.isArray(value)) return [];
  return value.filter(isPrimitive).map((each) => NovaObject.of(each));
}

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name) => b.includes(name));
}
