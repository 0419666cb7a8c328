/** The administrator's side of the server configuration (`PUT` and `PATCH /1.0`). */
import type { ServerConfig } from './server-config.ts';

export interface ServerConfigAdmin extends ServerConfig {
  /** The keys that have been set; a secret's value reads `true`. */
  all(): Readonly<Record<string, string>>;
  /** As `all()`, in the types of the wire: a secret is the JSON value true, as in LXD. */
  render(): Readonly<Record<string, string | boolean>>;
  /**
   * Makes these the only keys that are set (PUT). Fault `bad_request` names the
   * first bad key. When a listener fails, everything is as it was before and
   * its Fault is thrown. `check` is asked when no other change is under way,
   * and may refuse (an entity tag).
   */
  replace(next: Readonly<Record<string, unknown>>, check?: () => void): Promise<void>;
  /** Changes these keys and leaves the others (PATCH); '' and null unset a key. Otherwise as `replace`. */
  merge(changes: Readonly<Record<string, unknown>>, check?: () => void): Promise<void>;
  /** Calls `fn` with each key of the list that got another value, after it has been saved. */
  onChange(keys: readonly string[], fn: (key: string) => Promise<void>): void;
}
