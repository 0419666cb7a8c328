/**
 * Starts helpers, by way of one small process that forks them.
 *
 * Forking the daemon itself would stop it for milliseconds each time (its page
 * tables are copied); the launcher forks in a tenth of that. It is started at
 * the first use and again when it has died. It ends with the daemon, and with
 * it the helpers at work; commands and containers they have started go on.
 *
 * A helper says that it has begun before it reads its plan. Until then we keep
 * its end of the socket, plan and all: when a launcher has ended, what it had
 * not begun is handed to the next one, and nothing can run twice.
 */
import { Socket } from 'node:net';
import { constants } from 'node:os';
import { Fault } from '../process/fault.ts';
import type { Binding } from './binding.ts';
import { systemFault } from './faults.ts';
import { LauncherProcess } from './launcher-process.ts';

const RETRY_MS = 5;
const SEND_TRIES = 1000;
/** A launcher that ends by itself each time must not be tried for ever. */
const MOST_LAUNCHERS = 5;

/** One helper at work. `socket` carries its plan and requests in, its lines out. */
export interface HelperProcess {
  readonly socket: Socket;
  /** SIGKILL; harmless when it has ended. */
  kill(): void;
}

export interface LaunchOptions {
  /** Descriptors for the command of an exec: its 0, 1 and 2. The caller keeps them open until it has begun. */
  readonly stdio?: readonly [number, number, number];
  /** From a sealed copy in memory. */
  readonly sealed?: boolean;
}

interface Launch {
  readonly id: number;
  readonly verb: 'run' | 'sealed';
  readonly socket: Socket;
  /** The helper's end of `socket`, ours until it has begun. */
  readonly theirs: number;
  readonly stdio: readonly number[];
  /** How many launchers it was handed to. */
  launchers: number;
}

interface Message {
  readonly text: string;
  readonly launch: Launch | null;
}

export class Launcher {
  private readonly binding: Binding;
  private readonly helperPath: string;
  private current: LauncherProcess | null = null;
  /** By id: what a launcher has been sent and no helper has begun. */
  private readonly handed = new Map<number, { readonly launch: Launch; readonly to: LauncherProcess }>();
  private readonly outbox: Message[] = [];
  private tries = 0;
  private timer: NodeJS.Timeout | null = null;
  private lastId = 0;

  constructor(binding: Binding, helperPath: string) {
    this.binding = binding;
    this.helperPath = helperPath;
  }

  /** Starts a helper. Its socket ends without an answer, or with a Fault, when that fails later on. */
  launch(options: LaunchOptions = {}): HelperProcess {
    this.lastId += 1;
    const pair = this.binding.socketPair(false);
    if (typeof pair === 'number') throw systemFault('socket for the helper', pair);
    const [ours, theirs] = pair;
    const launch: Launch = {
      id: this.lastId,
      verb: options.sealed === true ? 'sealed' : 'run',
      socket: new Socket({ fd: ours, readable: true, writable: true, allowHalfOpen: true }),
      theirs,
      stdio: options.stdio ?? [],
      launchers: 0,
    };
    this.post(launch);
    return {
      socket: launch.socket,
      kill: () => {
        this.kill(launch);
      },
    };
  }

  private post(launch: Launch): void {
    this.outbox.push({ text: `${launch.verb} ${String(launch.id)}`, launch });
    this.flush();
  }

  private kill(launch: Launch): void {
    const at = this.outbox.findIndex((message) => message.launch === launch);
    if (at >= 0) this.outbox.splice(at, 1);
    if (at >= 0 || this.handed.delete(launch.id)) this.binding.closeFd(launch.theirs);
    // Without a launcher there are no helpers.
    if (at >= 0 || this.current === null) return;
    this.outbox.push({ text: `kill ${String(launch.id)}`, launch: null });
    this.flush();
  }

  /** Sends what waits, in order. At once, nearly always; later when the launcher has fallen behind. */
  private flush(): void {
    if (this.timer !== null) return;
    for (let first = this.outbox[0]; first !== undefined; first = this.outbox[0]) {
      const launcher = this.running();
      if (launcher === null) return;
      const fds = first.launch === null ? [] : [first.launch.theirs, ...first.launch.stdio];
      const ret = launcher.send(first.text, fds);
      if (ret === -constants.errno.EPIPE || ret === -constants.errno.ECONNRESET) {
        this.current = null;
        continue;
      }
      if (ret === -constants.errno.EAGAIN && this.tries < SEND_TRIES) {
        this.tries += 1;
        this.timer = setTimeout(() => {
          this.timer = null;
          this.flush();
        }, RETRY_MS);
        return;
      }
      this.tries = 0;
      this.outbox.shift();
      if (first.launch === null) continue;
      if (ret < 0) this.fail(first.launch, systemFault('start the helper', ret));
      else this.handed.set(first.launch.id, { launch: first.launch, to: launcher });
    }
  }

  /** The launcher, started when there is none. Null when that fails: all that waits has been told. */
  private running(): LauncherProcess | null {
    try {
      this.current ??= this.start();
      return this.current;
    } catch (err) {
      for (const { launch } of this.outbox.splice(0)) if (launch !== null) this.fail(launch, err);
      return null;
    }
  }

  private start(): LauncherProcess {
    const started: LauncherProcess = new LauncherProcess(this.binding, this.helperPath, {
      begun: (id) => {
        this.begun(id);
      },
      ended: () => {
        this.ended(started);
      },
    });
    return started;
  }

  private begun(id: number): void {
    const found = this.handed.get(id);
    if (found === undefined) return;
    this.handed.delete(id);
    this.binding.closeFd(found.launch.theirs);
  }

  /** All its helpers have said that they began, or are dead. */
  private ended(launcher: LauncherProcess): void {
    if (this.current === launcher) this.current = null;
    for (const { launch, to } of [...this.handed.values()]) {
      if (to !== launcher) continue;
      this.handed.delete(launch.id);
      launch.launchers += 1;
      if (launch.launchers < MOST_LAUNCHERS) this.post(launch);
      else {
        const what = `start the helper: its launcher ${this.helperPath} has ended ${String(MOST_LAUNCHERS)} times before it did`;
        this.fail(launch, new Fault('native_failed', what));
      }
    }
  }

  private fail(launch: Launch, reason: unknown): void {
    this.binding.closeFd(launch.theirs);
    launch.socket.destroy(reason instanceof Error ? reason : new Error(String(reason)));
  }
}
