/**
 * Starts helpers, by way of one small process that forks them.
 *
 * Forking the daemon itself would stop it for milliseconds each time (its page
 * tables are copied); the launcher forks in a tenth of that. It is started at
 * the first use and again when it has died. It ends with the daemon, and with
 * it the helpers at work; commands and containers they have started go on.
 */
import { spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { constants } from 'node:os';
import { Fault } from '../process/fault.ts';
import type { Binding } from './binding.ts';
import { systemFault } from './faults.ts';

const RETRY_MS = 5;
const SEND_TRIES = 1000;

/** One helper at work. `socket` carries its plan and requests in, its lines out. */
export interface HelperProcess {
  readonly socket: Socket;
  /** SIGKILL; harmless when it has ended. */
  kill(): void;
}

export interface LaunchOptions {
  /** Descriptors for the command of an exec: its 0, 1 and 2. */
  readonly stdio?: readonly [number, number, number];
  /** From a sealed copy in memory. */
  readonly sealed?: boolean;
}

export class Launcher {
  private readonly binding: Binding;
  private readonly helperPath: string;
  /** Our end of the launcher's socket; -1 when none runs. */
  private control = -1;
  private lastId = 0;

  constructor(binding: Binding, helperPath: string) {
    this.binding = binding;
    this.helperPath = helperPath;
  }

  /** Starts a helper. Its socket ends without an answer when that fails later on. */
  launch(options: LaunchOptions = {}): HelperProcess {
    this.lastId += 1;
    const id = this.lastId;
    const pair = this.binding.socketPair(false);
    if (typeof pair === 'number') throw systemFault('socket for the helper', pair);
    const [ours, theirs] = pair;
    const socket = new Socket({ fd: ours, readable: true, writable: true, allowHalfOpen: true });
    const verb = options.sealed === true ? 'sealed' : 'run';
    this.send(`${verb} ${String(id)}`, [theirs, ...(options.stdio ?? [])], 0, (sent) => {
      this.binding.closeFd(theirs);
      if (sent < 0) socket.destroy(systemFault('start the helper', sent));
    });
    return {
      socket,
      kill: () => {
        this.send(`kill ${String(id)}`, [], 0, () => undefined);
      },
    };
  }

  /** At once, nearly always; later when the launcher has fallen behind. */
  private send(text: string, fds: readonly number[], tries: number, done: (ret: number) => void): void {
    if (this.control < 0) this.start();
    let ret = this.binding.sendFds(this.control, Buffer.from(text), fds);
    if (ret === -constants.errno.EPIPE || ret === -constants.errno.ECONNRESET) {
      this.forget(this.control);
      this.start();
      ret = this.binding.sendFds(this.control, Buffer.from(text), fds);
    }
    if (ret === -constants.errno.EAGAIN && tries < SEND_TRIES) {
      setTimeout(() => {
        this.send(text, fds, tries + 1, done);
      }, RETRY_MS);
      return;
    }
    done(ret);
  }

  private start(): void {
    const pair = this.binding.socketPair(true);
    if (typeof pair === 'number') throw systemFault('socket for the launcher', pair);
    const [ours, theirs] = pair;
    try {
      // A session of its own: an interrupt from the terminal is the daemon's affair.
      const child = spawn(this.helperPath, ['launch'], {
        stdio: [theirs, 'ignore', 'ignore'],
        env: {},
        detached: true,
      });
      child.on('error', () => {
        this.forget(ours);
      });
      child.on('exit', () => {
        this.forget(ours);
      });
      child.unref();
      if (child.pid === undefined) {
        throw new Fault('native_failed', `start ${this.helperPath}; run \`npm run build:native\``);
      }
      this.control = ours;
    } catch (err) {
      this.binding.closeFd(ours);
      throw err;
    } finally {
      this.binding.closeFd(theirs);
    }
  }

  private forget(control: number): void {
    if (control < 0 || this.control !== control) return;
    this.binding.closeFd(control);
    this.control = -1;
  }
}
