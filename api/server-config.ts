/** The server's `core.*`, `images.*` … keys, kept in the database. `config/options/server.ts` has their table. */
export interface ServerConfig {
  /** Value of a key, or its default; '' when it has none. */
  get(key: string): string;
}
