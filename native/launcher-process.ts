/** One launcher (helper/launcher.h) from its start to its end. */
import { spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { Fault } from '../process/fault.ts';
import type { Binding } from './binding.ts';
import { systemFault } from './faults.ts';

export interface LauncherListener {
  /** The helper with this id is about to read its plan. */
  begun(id: number): void;
  /** Called once, after the last of begun(). */
  ended(): void;
}

export class LauncherProcess {
  private readonly binding: Binding;
  /** Our end of its socket; -1 once it has ended. */
  private control: number;

  /** Fault native_failed when it cannot be started. */
  constructor(binding: Binding, helperPath: string, listener: LauncherListener) {
    this.binding = binding;
    const [ours, theirs] = pairOf(binding, true);
    const [told, telling] = pairOf(binding, false);
    this.control = ours;
    // Nobody waits for it alone: whoever launches has a socket of his own.
    const lines = new Socket({ fd: told, readable: true, writable: false }).unref();
    try {
      startLauncher(helperPath, theirs, telling);
    } catch (err) {
      binding.closeFd(ours);
      lines.destroy();
      throw err;
    } finally {
      binding.closeFd(theirs);
      binding.closeFd(telling);
    }
    readNumbers(lines, (id) => {
      listener.begun(id);
    });
    lines.on('close', () => {
      binding.closeFd(this.control);
      this.control = -1;
      listener.ended();
    });
  }

  /** 0 or a negative errno value, EPIPE when it has ended. */
  send(text: string, fds: readonly number[]): number {
    return this.binding.sendFds(this.control, Buffer.from(text), fds);
  }
}

function startLauncher(helperPath: string, control: number, telling: number): void {
  // A session of its own: an interrupt from the terminal is the daemon's affair.
  const child = spawn(helperPath, ['launch'], {
    stdio: [control, telling, 'ignore'],
    env: {},
    detached: true,
  });
  // The exception below says it, and its socket tells when it ends later on.
  child.on('error', () => undefined);
  child.unref();
  if (child.pid === undefined) {
    throw new Fault('native_failed', `start ${helperPath}; run \`npm run build:native\``);
  }
}

function readNumbers(lines: Socket, onNumber: (value: number) => void): void {
  let rest = '';
  lines.setEncoding('utf8');
  lines.on('data', (text: string) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop() ?? '';
    for (const part of parts) onNumber(Number(part));
  });
  // Reset or ended: the close that follows is what counts.
  lines.on('error', () => undefined);
}

function pairOf(binding: Binding, packets: boolean): [number, number] {
  const pair = binding.socketPair(packets);
  if (typeof pair === 'number') throw systemFault('socket for the launcher', pair);
  return pair;
}
