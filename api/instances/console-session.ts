/** One client at a container's console, from the connecting of its sockets to the detaching. */
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { WebSocket } from 'ws';
import { isFault } from '../../process/fault.ts';
import type { Monitor, Native } from '../../native/types.ts';
import type { OperationContext } from '../operations/types.ts';
import { windowResize } from '../wire/exec.ts';
import { terminalStream } from './descriptor-streams.ts';
import { Descriptors } from './descriptors.ts';
import { endAfterGrace, sendBarrier, sendFrame, startInflow, startOutflow } from './exec-streams.ts';
import { WebSocketSet } from './websocket-set.ts';
import { clampSize, readOrder } from './control-frames.ts';

const OPEN_TRIES = 5;
const OPEN_PAUSE_MS = 100;

export interface ConsoleSessionOptions {
  readonly native: Pick<Native, 'pipe' | 'closeFd' | 'setWindowSize'>;
  readonly openConsole: () => ReturnType<Monitor['openConsole']>;
  readonly width: number;
  readonly height: number;
}

export class ConsoleSession {
  readonly sockets: WebSocketSet;
  private readonly options: ConsoleSessionOptions;
  private readonly detached = new AbortController();
  private size: { width: number; height: number };
  private resize: ((columns: number, rows: number) => void) | null = null;

  constructor(options: ConsoleSessionOptions) {
    this.options = options;
    this.size = { width: options.width, height: options.height };
    this.sockets = new WebSocketSet((control) => {
      this.listenToControl(control);
    });
  }

  /** Runs as the operation. Fault busy when another client is at the console. */
  async run(context: OperationContext): Promise<void> {
    const alive = this.sockets.keepAlive();
    const ending = AbortSignal.any([context.signal, this.detached.signal]);
    try {
      await this.sockets.complete(['0'], null, ending);
      await this.attach(ending);
      context.signal.throwIfAborted();
    } catch (err) {
      // A client that leaves before it came is no failure.
      if (context.signal.aborted || !this.detached.signal.aborted) throw err;
    } finally {
      this.sockets.close();
      await alive;
    }
  }

  private async attach(ending: AbortSignal): Promise<void> {
    const own = new Descriptors(this.options.native);
    const console = await this.openSoon(ending);
    own.take(console.fd);
    let stream: Socket | null = null;
    try {
      const terminal = own.handOver(console.fd, (fd) => terminalStream(this.options.native, fd));
      stream = terminal;
      this.resize = (columns, rows) => {
        // A stream that is destroyed has closed the descriptor; its number may be another's by now.
        if (!terminal.destroyed) this.options.native.setWindowSize(console.fd, columns, rows);
      };
      this.applySize();
      await this.mirror(terminal, this.sockets.connected('0'), ending);
    } finally {
      this.resize = null;
      own.closeAll();
      console.release();
      if (stream !== null) await letGo(stream);
    }
  }

  /** The monitor hears of a client that left a little after the client does. */
  private async openSoon(ending: AbortSignal): ReturnType<Monitor['openConsole']> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.options.openConsole();
      } catch (err) {
        if (!isFault(err, 'busy') || tries === OPEN_TRIES) throw err;
        await sleep(OPEN_PAUSE_MS, undefined, { signal: ending });
      }
    }
  }

  private async mirror(terminal: Socket, socket: WebSocket, ending: AbortSignal): Promise<void> {
    socket.once('close', () => {
      this.detached.abort();
    });
    // The end of a client's input is not its leaving: it may go on to watch.
    startInflow(socket, terminal);
    const isOver = await raceWith(startOutflow(terminal, socket, 'discard'), ending);
    if (isOver && !ending.aborted) {
      void sendFrame(socket, Buffer.from('\r'));
      this.sockets.get('control')?.terminate();
      await sendBarrier(socket);
      endAfterGrace(this.sockets.release('0'));
      return;
    }
    // Differs: LXD types a terminal reset here, to end its own reading. The guest would get it as input,
    // and liblxc stops the container when input and the client's leaving reach it together.
    await sendFrame(socket, Buffer.from('\n\r'));
  }

  private listenToControl(control: WebSocket): void {
    control.on('message', (data) => {
      if (Buffer.isBuffer(data)) this.obey(data);
    });
    control.once('close', () => {
      this.detached.abort();
    });
  }

  private obey(frame: Buffer): void {
    const order = readOrder(frame, windowResize);
    if (order === null) return;
    this.size = order.args;
    this.applySize();
  }

  private applySize(): void {
    const size = clampSize(this.size);
    if (size !== null) this.resize?.(size.columns, size.rows);
  }
}

/**
 * liblxc ends its loop, and with it the container's monitor, when a console's
 * client side closes before the monitor has taken the console back. So this
 * side closes last: when the monitor has closed its own.
 */
async function letGo(terminal: Socket): Promise<void> {
  if (terminal.destroyed) return;
  await new Promise<void>((resolve) => {
    terminal.once('end', resolve);
    terminal.once('error', resolve);
    terminal.once('close', resolve);
    if (terminal.readableEnded) resolve();
    // What is still read has nobody to go to.
    terminal.removeAllListeners('data');
    terminal.resume();
  });
  terminal.destroy();
}

/** True when `work` was first, false when the signal was. */
function raceWith(work: Promise<void>, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const onAbort = (): void => {
      resolve(false);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    void work.then(() => {
      signal.removeEventListener('abort', onAbort);
      resolve(true);
    });
  });
}
