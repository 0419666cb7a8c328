/** The addon as it is: negative numbers are errno values. `native/index.ts` gives it its real shape. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { NetInterface } from './types.ts';

/** The answer to one question to a command socket; `error` is an errno value, 0 for none. */
export type ExchangeResult =
  | {
      readonly error: 0;
      readonly ret: number;
      readonly value: number;
      readonly data: Buffer;
      readonly fds: readonly number[];
      /** The connection itself when it was asked for, else -1. */
      readonly connection: number;
    }
  | { readonly error: Exclude<number, 0> };

export interface Binding {
  pipe(): [number, number] | number;
  socketPair(packets: boolean): [number, number] | number;
  pty(devpts: number): [number, number] | number;
  closeFd(fd: number): number;
  setWindowSize(fd: number, columns: number, rows: number): number;
  peerCredentials(fd: number): { pid: number; uid: number; gid: number } | number;
  connect(name: Buffer): number;
  sendFds(socket: number, data: Buffer, fds: readonly number[]): number;
  notify(message: string): number;
  signalProcess(pid: number, signal: number): number;
  liblxcVersion(): string;
  hasApiExtension(name: string): boolean;
  exchange(
    name: Buffer,
    request: Buffer,
    maxReply: number,
    keep: boolean,
    timeoutMs: number,
  ): Promise<ExchangeResult>;
  /** 1 gone, 0 still there. */
  waitGone(pid: number, timeoutMs: number): Promise<number>;
  readFiles(paths: readonly string[]): Promise<(string | null)[]>;
  interfaces(pids: readonly number[]): Promise<(NetInterface[] | null)[] | number>;
}

export interface Binaries {
  readonly addon: string;
  readonly helper: string;
}

/** Finds what `npm run build:native` made, from the sources as well as from dist/. */
export function findBinaries(): Binaries {
  let folder = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const built = join(folder, 'native', 'build', 'Release');
    if (existsSync(join(folder, 'package.json')) && existsSync(built)) {
      return { addon: join(built, 'slipway.node'), helper: join(built, 'slipway-helper') };
    }
    const above = dirname(folder);
    if (above === folder) throw new Error('the native parts are not built; run `npm run build:native`');
    folder = above;
  }
}

export function loadBinding(addon: string): Binding {
  // The addon is built from the sources beside this file: its shape is the interface above.
  return createRequire(import.meta.url)(addon) as Binding;
}
