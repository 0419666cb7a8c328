/** The server configuration: checked, kept in the database, read from memory. */
import { SERVER_KEYS } from '../config/options/server.ts';
import type { ServerKey } from '../config/options/server.ts';
import { Fault } from '../process/fault.ts';
import { Lanes } from '../process/lanes.ts';
import type { Log } from '../process/log.ts';
import type { Database } from './db/store.ts';
import type { ServerConfigAdmin } from './server-config-types.ts';
import { canonical, textOf } from './server-config-values.ts';
import { hashTrustPassword } from './certificates/trust-password.ts';

export interface ServerConfigParts {
  readonly database: Database;
  readonly log: Log;
}

interface Listener {
  readonly keys: ReadonlySet<string>;
  readonly fn: (key: string) => Promise<void>;
}

type Values = ReadonlyMap<string, string>;

/** Reads the keys that are set. */
export async function createServerConfig(parts: ServerConfigParts): Promise<ServerConfigAdmin> {
  const rows = await parts.database.tables.config.all();
  return new StoredServerConfig(parts, new Map(rows.map((row) => [row.key, row.value])));
}

class StoredServerConfig implements ServerConfigAdmin {
  private readonly parts: ServerConfigParts;
  private readonly lanes = new Lanes();
  private readonly listeners: Listener[] = [];
  private values: Values;

  constructor(parts: ServerConfigParts, values: Values) {
    this.parts = parts;
    this.values = values;
  }

  get(key: string): string {
    return this.values.get(key) ?? keyOf(key)?.fallback ?? '';
  }

  all(): Readonly<Record<string, string>> {
    return Object.fromEntries(Object.entries(this.render()).map(([key, value]) => [key, String(value)]));
  }

  render(): Readonly<Record<string, string | boolean>> {
    const sorted = [...this.values].sort(([a], [b]) => (a < b ? -1 : 1));
    return Object.fromEntries(sorted.map(([key, value]) => [key, isHidden(key) ? true : value]));
  }

  replace(next: Readonly<Record<string, unknown>>, check?: () => void): Promise<void> {
    return this.lanes.run('', async () => {
      check?.();
      await this.moveTo(await this.applied(new Map(), next));
    });
  }

  merge(changes: Readonly<Record<string, unknown>>, check?: () => void): Promise<void> {
    return this.lanes.run('', async () => {
      check?.();
      await this.moveTo(await this.applied(this.values, changes));
    });
  }

  onChange(keys: readonly string[], fn: (key: string) => Promise<void>): void {
    this.listeners.push({ keys: new Set(keys), fn });
  }

  /** `base` with the given keys checked and put in. */
  private async applied(base: Values, given: Readonly<Record<string, unknown>>): Promise<Values> {
    const next = new Map(base);
    for (const [name, value] of Object.entries(given)) {
      const kept = await this.checked(name, value);
      if (kept === '') next.delete(name);
      else next.set(name, kept);
    }
    return next;
  }

  private async checked(name: string, value: unknown): Promise<string> {
    const isUser = name.startsWith('user.') && name.length > 'user.'.length && name.length <= 255;
    const key = isUser ? USER_KEY : keyOf(name);
    if (key === undefined)
      throw new Fault('bad_request', `Unknown configuration key "${name.slice(0, 255)}"`);
    const current = this.values.get(name);
    // What GET shows in place of a secret comes back in PUT: the secret stays.
    if (isHidden(name) && current !== undefined && (value === true || value === 'true')) return current;
    const text = textOf(name, value);
    if (text === '') return '';
    const kept = canonicalNamed(name, key, text);
    // What it does already may be said.
    if (key.refused !== undefined && kept !== key.fallback) {
      throw new Fault('bad_request', `${name} cannot be set: ${key.refused}`);
    }
    return key.kind === 'password' ? hashTrustPassword(kept) : kept;
  }

  private async moveTo(next: Values): Promise<void> {
    const before = this.values;
    const changed = differing(before, next);
    if (changed.length === 0) return;
    await this.save(before, next);
    try {
      await this.tell(changed);
    } catch (cause) {
      await this.goBack(before, next, changed);
      throw cause;
    }
  }

  /** The new values could not be used: the old ones are saved and told again. */
  private async goBack(before: Values, next: Values, changed: readonly string[]): Promise<void> {
    try {
      await this.save(next, before);
      await this.tell(changed);
    } catch (err) {
      this.parts.log.error('server configuration could not be set back', { keys: changed, error: err });
    }
  }

  private async save(before: Values, next: Values): Promise<void> {
    await this.parts.database.transaction(async ({ config }) => {
      for (const key of differing(before, next)) {
        const value = next.get(key);
        if (value === undefined) await config.remove({ key });
        else if (before.has(key)) await config.update({ key }, { value });
        else await config.insert({ key, value });
      }
    });
    this.values = next;
  }

  private async tell(changed: readonly string[]): Promise<void> {
    for (const listener of this.listeners) {
      for (const key of changed) {
        if (listener.keys.has(key)) await listener.fn(key);
      }
    }
  }
}

const USER_KEY: ServerKey = { kind: 'text', fallback: '', help: 'Free for users.' };

function keyOf(name: string): ServerKey | undefined {
  return Object.hasOwn(SERVER_KEYS, name) ? SERVER_KEYS[name] : undefined;
}

function isHidden(name: string): boolean {
  const kind = keyOf(name)?.kind;
  return kind === 'password' || kind === 'secret';
}

/** A value of a hidden key is never repeated: those kinds have no check that could fail on its form. */
function canonicalNamed(name: string, key: ServerKey, text: string): string {
  try {
    return canonical(key, text);
  } catch (cause) {
    throw new Fault('bad_request', `Cannot set server key "${name}"`, { cause });
  }
}

function differing(a: Values, b: Values): string[] {
  return [...new Set([...a.keys(), ...b.keys()])].filter((key) => a.get(key) !== b.get(key)).sort();
}
