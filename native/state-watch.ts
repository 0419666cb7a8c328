/**
 * Follows one container's states. A registration brings one message and is
 * then over, so each message leads to the next one. The end of a registration
 * without a message is the container's end: liblxc sends no STOPPED.
 *
 * A registration names all states but the one last told. When the container
 * is in one of them already, the monitor says so at once instead; so no change
 * is missed between two registrations, only a pair that cancels itself out.
 */
import { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault } from '../process/fault.ts';
import type { Binding } from './binding.ts';
import { COMMAND, decodeState, encodeCommand, HEAD_BYTES, isNobody, STATES } from './monitor-wire.ts';
import type { ContainerState } from './types.ts';

/** int type, char name[256], int state. */
const MESSAGE_BYTES = 264;
const MESSAGE_STATE = 260;
const RETRY_MS = 20;

/** How one registration went on. */
type Outcome = { readonly state: ContainerState } | 'stopped' | 'refused' | 'closed';

export class StateWatch {
  private readonly binding: Binding;
  private readonly address: Buffer;
  private readonly onState: (state: ContainerState) => void;
  private readonly abort = new AbortController();
  private last: ContainerState | null = null;

  constructor(binding: Binding, address: Buffer, onState: (state: ContainerState) => void) {
    this.binding = binding;
    this.address = address;
    this.onState = onState;
  }

  /**
   * Resolves when changes are being followed; the present state has been told
   * by then. Fault timeout when the monitor does not answer. Later on no
   * deadline is needed: a monitor that hangs has nothing to tell.
   */
  async begin(timeoutMs: number): Promise<void> {
    let registered = (): void => undefined;
    const first = new Promise<void>((resolve) => {
      registered = resolve;
    });
    const timer = setTimeout(() => {
      this.abort.abort(new Fault('timeout', 'monitor does not answer; is it stopped or out of memory?'));
    }, timeoutMs);
    const following = this.follow(registered);
    try {
      await Promise.race([first, following]);
      this.abort.signal.throwIfAborted();
      following.catch((err: unknown) => {
        this.fail(err);
      });
    } catch (err) {
      // What was interrupted says no more than that; the reason is the signal's.
      this.abort.signal.throwIfAborted();
      this.close();
      throw err;
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.abort.abort();
  }

  /** A watch that was closed ends with the signal's reason; anything else is a bug in `onState`. */
  private fail(err: unknown): void {
    if (this.abort.signal.aborted) return;
    queueMicrotask(() => {
      throw err;
    });
  }

  private async follow(registered: () => void): Promise<void> {
    for (;;) {
      const socket = await this.connect();
      const outcome = socket === null ? 'stopped' : await this.register(socket, registered);
      if (outcome === 'closed' || this.abort.signal.aborted) return;
      if (outcome === 'stopped') {
        this.onState('STOPPED');
        return;
      }
      if (outcome === 'refused') {
        await sleep(RETRY_MS, undefined, { signal: this.abort.signal, ref: false });
        continue;
      }
      this.last = outcome.state;
      this.onState(outcome.state);
    }
  }

  /** Null when nobody listens. What is in the way otherwise (no descriptors left, a full queue) may pass. */
  private async connect(): Promise<Socket | null> {
    const { signal } = this.abort;
    for (;;) {
      const fd = this.binding.connect(this.address);
      if (fd >= 0) return new Socket({ fd, readable: true, writable: true, signal });
      if (isNobody(-fd)) return null;
      await sleep(RETRY_MS, undefined, { signal, ref: false });
    }
  }

  private register(socket: Socket, registered: () => void): Promise<Outcome> {
    const flags = Buffer.alloc(STATES.length * 4);
    STATES.forEach((state, index) => {
      flags.writeInt32LE(state === this.last ? 0 : 1, index * 4);
    });
    return new Promise((resolve) => {
      let seen = Buffer.alloc(0);
      let isRegistered = false;
      const done = (outcome: Outcome): void => {
        resolve(outcome);
        socket.destroy();
      };
      socket.on('data', (chunk: Buffer) => {
        seen = Buffer.concat([seen, chunk]);
        if (seen.length < HEAD_BYTES) return;
        const present = seen.readInt32LE(0);
        if (present >= 0 && present < STATES.length) {
          done({ state: decodeState(present) });
        } else if (present < 0) {
          done('refused');
        } else {
          isRegistered = true;
          registered();
          if (seen.length < HEAD_BYTES + MESSAGE_BYTES) return;
          done({ state: decodeState(seen.readInt32LE(HEAD_BYTES + MESSAGE_STATE)) });
        }
      });
      socket.on('error', () => undefined);
      socket.on('close', () => {
        // Without a registration it says nothing: the next connect finds out.
        if (this.abort.signal.aborted) done('closed');
        else done(isRegistered ? 'stopped' : 'refused');
      });
      socket.write(encodeCommand(COMMAND.addStateClient, flags));
    });
  }
}
