/**
 * One command with websockets, from the connecting of its sockets to its end:
 *
 *   waiting for sockets (5 s) -> started -> exited -> output drained -> closed
 *
 * The order of frames and closes is LXD's; clients depend on each step. The
 * command never outlives its client or the daemon: it is killed when the
 * control socket closes, or without one when anything happens on socket 1.
 */
import type { WebSocket } from 'ws';
import { Fault } from '../../process/fault.ts';
import type { ExecProcess, Native } from '../../native/types.ts';
import type { OperationContext } from '../operations/types.ts';
import { execControl } from '../wire/exec.ts';
import { checkExitCode } from './exec-exit.ts';
import { runPipes } from './exec-pipes.ts';
import { runTerminal } from './exec-terminal.ts';
import { WebSocketSet } from './websocket-set.ts';
import { clampSize, readOrder } from './control-frames.ts';

const CONNECT_MS = 5000;
const SIGKILL = 9;

export type StdioFds = readonly [number, number, number];

export interface ExecSessionOptions {
  readonly native: Native;
  readonly isInteractive: boolean;
  readonly width: number;
  readonly height: number;
  /** Starts the command on descriptors that stay the session's. */
  readonly launch: (stdio: StdioFds) => ExecProcess;
  /** A pty inside the container. */
  readonly openPty: () => Promise<{ readonly master: number; readonly slave: number }>;
  readonly onStarted: () => void;
}

export class ExecSession {
  readonly native: Native;
  readonly sockets: WebSocketSet;
  readonly openPty: ExecSessionOptions['openPty'];
  private readonly options: ExecSessionOptions;
  private command: ExecProcess | null = null;
  private hasExited = false;
  private hadControl = false;
  private clientGone = false;
  private earlySignals: number[] = [];
  private resize: ((columns: number, rows: number) => void) | null = null;
  private size: { width: number; height: number };

  constructor(options: ExecSessionOptions) {
    this.options = options;
    this.native = options.native;
    this.openPty = options.openPty;
    this.size = { width: options.width, height: options.height };
    this.sockets = new WebSocketSet((control) => {
      this.listenToControl(control);
    });
  }

  /** Names of the sockets a client is offered. */
  get socketNames(): readonly string[] {
    return this.options.isInteractive ? ['0', 'control'] : ['0', '1', '2', 'control'];
  }

  /** Runs as the operation. */
  async run(context: OperationContext): Promise<void> {
    const alive = this.sockets.keepAlive();
    const onAbort = (): void => {
      this.kill();
      this.sockets.close();
    };
    context.signal.addEventListener('abort', onAbort);
    try {
      // Old clients and pylxd never open control, so only a terminal waits for it.
      const required = this.options.isInteractive ? ['0', 'control'] : ['0', '1', '2'];
      await this.sockets.complete(required, CONNECT_MS, context.signal);
      if (this.clientGone) {
        throw new Fault('conflict', 'the control websocket was closed before the command was started');
      }
      const code = await (this.options.isInteractive ? runTerminal(this, context) : runPipes(this, context));
      context.signal.throwIfAborted();
      checkExitCode(code);
    } finally {
      context.signal.removeEventListener('abort', onAbort);
      this.hasExited = true;
      this.sockets.close();
      await alive;
    }
  }

  /** Starts the command; resolves when it runs. */
  async start(stdio: StdioFds, context: OperationContext): Promise<ExecProcess> {
    const command = await this.launch(stdio, context);
    for (const signal of this.earlySignals.splice(0)) command.signal(signal);
    if (this.clientGone || context.signal.aborted) command.signal(SIGKILL);
    this.options.onStarted();
    return command;
  }

  /** Clients wait for `return` whatever happens. */
  private async launch(stdio: StdioFds, context: OperationContext): Promise<ExecProcess> {
    try {
      const command = this.options.launch(stdio);
      // Awaited by exitOf(), which is not reached when the start fails.
      command.exited.catch(() => undefined);
      this.command = command;
      await command.started;
      return command;
    } catch (err) {
      context.setMetadata({ return: -1 });
      throw err;
    }
  }

  /** Waits for the end. `return` is published at once: pylxd looks for it while its sockets are still being drained. */
  async exitOf(command: ExecProcess, context: OperationContext): Promise<number> {
    try {
      const code = await command.exited;
      context.setMetadata({ return: code });
      return code;
    } catch (err) {
      context.setMetadata({ return: -1 });
      throw err;
    } finally {
      this.hasExited = true;
    }
  }

  /** From now on resizes, the last one first, go to this terminal; null ends that. */
  resizeWith(resize: ((columns: number, rows: number) => void) | null): void {
    this.resize = resize;
    this.applySize();
  }

  /** A client that never opened a control socket is gone when anything happens on its socket for output. */
  watchWithoutControl(output: WebSocket): void {
    const look = (): void => {
      if (!this.hadControl) this.loseClient();
    };
    output.on('message', look);
    output.once('close', look);
    if (output.readyState >= output.CLOSING) look();
  }

  private listenToControl(control: WebSocket): void {
    this.hadControl = true;
    control.on('message', (data) => {
      if (Buffer.isBuffer(data)) this.obey(data);
    });
    control.once('close', () => {
      this.loseClient();
    });
  }

  /** Unknown commands are ignored, as by LXD. */
  private obey(frame: Buffer): void {
    const order = readOrder(frame, execControl);
    if (order?.command === 'window-resize') {
      this.size = order.args;
      this.applySize();
    } else if (order?.command === 'signal') {
      this.send(order.signal);
    }
  }

  private send(signal: number): void {
    if (this.hasExited || signal < 1 || signal > 64) return;
    if (this.command === null) this.earlySignals.push(signal);
    else this.command.signal(signal);
  }

  private applySize(): void {
    const size = clampSize(this.size);
    if (size !== null) this.resize?.(size.columns, size.rows);
  }

  private loseClient(): void {
    this.clientGone = true;
    this.kill();
  }

  private kill(): void {
    if (!this.hasExited) this.command?.signal(SIGKILL);
  }
}
