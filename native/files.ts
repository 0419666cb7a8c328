/** Files of one container, by way of a helper that has entered it. */
import { constants, open } from 'node:fs';
import { Fault } from '../process/fault.ts';
import { fileFault, stepFault } from './faults.ts';
import { failureOf, readLines } from './helper.ts';
import type { Line } from './helper.ts';
import type { HelperProcess, Launcher } from './launcher.ts';
import { encodeList, encodePlan } from './plan.ts';
import type { Step } from './steps.ts';
import type { FileSession, FileStat } from './types.ts';

export type FilesTarget =
  { readonly initPid: number } | { readonly plan: readonly Step[]; readonly root: string };

interface Waiting {
  readonly what: string;
  readonly timer: NodeJS.Timeout;
  resolve(line: Line): void;
  reject(err: unknown): void;
}

function filesPlan(where: FilesTarget): Step[] {
  if ('initPid' in where) return [['files', 'pid', String(where.initPid)]];
  return [...where.plan, ['files', 'root', where.root]];
}

function octal(mode: number): string {
  return (mode & 0o7777).toString(8);
}

function numberOf(line: Line, key: string): number {
  const value = line[key];
  if (typeof value !== 'number') throw new Fault('native_failed', `the helper's answer has no ${key}`);
  return value;
}

function statOf(line: Line): FileStat {
  const stat = line['stat'];
  if (typeof stat !== 'object' || stat === null) {
    throw new Fault('native_failed', 'the answer of the helper has no stat');
  }
  // Written by add_stat() in helper/serve.c with just these keys.
  return stat as FileStat;
}

class HelperFiles implements FileSession {
  private readonly helper: HelperProcess;
  private readonly timeoutMs: number;
  private readonly waiting: Waiting[] = [];
  private readonly closed: Promise<void>;
  private gone: Error | null = null;
  private pid = 0;

  constructor(helper: HelperProcess, timeoutMs: number) {
    this.helper = helper;
    this.timeoutMs = timeoutMs;
    this.closed = new Promise((resolve) => {
      readLines(
        helper,
        (line) => {
          this.onLine(line);
        },
        (err) => {
          this.end(
            new Fault('unavailable', 'the file session of the container has ended', {
              cause: err ?? undefined,
            }),
          );
          resolve();
        },
      );
    });
  }

  /** Sends the plan and waits until the helper is inside. */
  async enter(plan: readonly Step[]): Promise<void> {
    const line = await this.ask('enter the container', encodePlan(plan));
    const failure = failureOf(line);
    if (failure !== null) throw stepFault(failure);
    this.pid = numberOf(line, 'pid');
  }

  async stat(path: string): Promise<FileStat> {
    return statOf(await this.request('look at', path, ['stat', path]));
  }

  async list(path: string): Promise<string[]> {
    const line = await this.request('list', path, ['list', path]);
    // An array of strings by add_names() in helper/serve.c.
    return Array.isArray(line['names']) ? (line['names'] as string[]) : [];
  }

  async readlink(path: string): Promise<string> {
    const line = await this.request('read link', path, ['readlink', path]);
    return typeof line['target'] === 'string' ? line['target'] : '';
  }

  async openRead(path: string): Promise<{ readonly fd: number; readonly stat: FileStat }> {
    const line = await this.request('open', path, ['open-read', path]);
    const fd = await this.takeOver(path, numberOf(line, 'fd'), constants.O_RDONLY);
    return { fd, stat: statOf(line) };
  }

  async openWrite(
    path: string,
    options: { readonly uid: number; readonly gid: number; readonly mode: number; readonly append: boolean },
  ): Promise<{ readonly fd: number; readonly created: boolean }> {
    const line = await this.request('write', path, [
      'open-write',
      path,
      String(options.uid),
      String(options.gid),
      octal(options.mode),
      options.append ? 'append' : 'create',
    ]);
    const flags = constants.O_WRONLY | (options.append ? constants.O_APPEND : constants.O_TRUNC);
    const fd = await this.takeOver(path, numberOf(line, 'fd'), flags);
    return { fd, created: line['created'] === true };
  }

  async mkdir(
    path: string,
    options: { readonly uid: number; readonly gid: number; readonly mode: number },
  ): Promise<void> {
    await this.request('make directory', path, [
      'mkdir',
      path,
      String(options.uid),
      String(options.gid),
      octal(options.mode),
    ]);
  }

  async symlink(
    path: string,
    target: string,
    options: { readonly uid: number; readonly gid: number },
  ): Promise<void> {
    await this.request('make link', path, [
      'symlink',
      path,
      target,
      String(options.uid),
      String(options.gid),
    ]);
  }

  async remove(path: string): Promise<void> {
    await this.request('remove', path, ['remove', path]);
  }

  async close(): Promise<void> {
    this.helper.socket.end();
    const timer = setTimeout(() => {
      this.stop();
    }, this.timeoutMs);
    await this.closed;
    clearTimeout(timer);
  }

  private async request(verb: string, path: string, list: readonly string[]): Promise<Line> {
    const line = await this.ask(`${verb} ${path}`, encodeList(list));
    if (line['ok'] === true) return line;
    throw fileFault(`${verb} ${path}`, numberOf(line, 'errno'));
  }

  private ask(what: string, bytes: Buffer | string): Promise<Line> {
    return new Promise((resolve, reject) => {
      if (this.gone !== null) {
        reject(this.gone);
        return;
      }
      // A file system that the guest serves itself may never answer.
      const timer = setTimeout(() => {
        this.end(new Fault('timeout', `${what}: no answer within ${String(this.timeoutMs / 1000)} s`));
        this.stop();
      }, this.timeoutMs);
      this.waiting.push({ what, timer, resolve, reject });
      this.helper.socket.write(bytes);
    });
  }

  /**
   * Opens what the helper holds open and lets the helper's copy go. Only
   * regular files come here; O_NONBLOCK is for leases a guest may hold on them.
   */
  private async takeOver(path: string, held: number, flags: number): Promise<number> {
    try {
      return await new Promise<number>((resolve, reject) => {
        open(`/proc/${String(this.pid)}/fd/${String(held)}`, flags | constants.O_NONBLOCK, (err, fd) => {
          if (err === null) resolve(fd);
          else reject(fileFault(`open ${path}`, Math.abs(err.errno ?? 0)));
        });
      });
    } finally {
      await this.request('close', path, ['close', String(held)]).catch(() => undefined);
    }
  }

  private onLine(line: Line): void {
    const first = this.waiting.shift();
    if (first === undefined) return;
    clearTimeout(first.timer);
    first.resolve(line);
  }

  private end(err: Error): void {
    this.gone ??= err;
    for (const each of this.waiting.splice(0)) {
      clearTimeout(each.timer);
      each.reject(this.gone);
    }
  }

  private stop(): void {
    this.helper.kill();
    this.helper.socket.destroy();
  }
}

/** Opens a session; Fault native_failed with the step when the container cannot be entered. */
export async function openFileSession(
  launcher: Launcher,
  where: FilesTarget,
  timeoutMs: number,
): Promise<FileSession> {
  const session = new HelperFiles(launcher.launch(), timeoutMs);
  try {
    await session.enter(filesPlan(where));
    return session;
  } catch (err) {
    await session.close();
    throw err;
  }
}
