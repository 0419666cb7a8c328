/** A command without websockets: it has no input, and its output is recorded or lost. */
import { mkdir, open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../../process/fault.ts';
import type { ExecProcess } from '../../native/types.ts';
import type { OperationContext } from '../operations/types.ts';
import { checkExitCode } from './exec-exit.ts';
import type { StdioFds } from './exec-session.ts';

export interface TaskOptions {
  /** The files' names hold the operation's id, which is known soon after the work has begun. */
  readonly record: { readonly dir: string; readonly operationId: () => string } | null;
  readonly logUrl: (file: string) => string;
  readonly launch: (stdio: StdioFds) => ExecProcess;
  readonly onStarted: () => void;
  readonly context: OperationContext;
}

/**
 * Runs the command to its end. When the daemon stops the operation ends, the
 * command goes on and so does the recording.
 */
export async function runTask(options: TaskOptions): Promise<void> {
  const { context } = options;
  const files: FileHandle[] = [];
  const keep = (file: FileHandle): FileHandle => {
    files.push(file);
    return file;
  };
  try {
    const nothing = keep(await open('/dev/null', 'r+'));
    let stdio: StdioFds = [nothing.fd, nothing.fd, nothing.fd];
    const names: Record<string, string> = {};
    if (options.record !== null) {
      const { dir, operationId } = options.record;
      await mkdir(dir, { recursive: true, mode: 0o700 });
      names['1'] = `exec_${operationId()}.stdout`;
      names['2'] = `exec_${operationId()}.stderr`;
      const out = keep(await open(join(dir, names['1']), 'wx', 0o600));
      const err = keep(await open(join(dir, names['2']), 'wx', 0o600));
      stdio = [nothing.fd, out.fd, err.fd];
    }
    const code = await exitCode(options, stdio);
    const output = Object.fromEntries(Object.entries(names).map(([fd, name]) => [fd, options.logUrl(name)]));
    context.setMetadata({ return: code, ...(options.record === null ? {} : { output }) });
    checkExitCode(code);
  } finally {
    await Promise.all(files.map((file) => file.close()));
  }
}

async function exitCode(options: TaskOptions, stdio: StdioFds): Promise<number> {
  const { context } = options;
  try {
    const command = options.launch(stdio);
    // Awaited below, which is not reached when the start fails.
    command.exited.catch(() => undefined);
    await command.started;
    options.onStarted();
    return await unlessAborted(command.exited, context.signal);
  } catch (err) {
    if (!context.signal.aborted) context.setMetadata({ return: -1 });
    throw err;
  }
}

function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      reject(
        new Fault('unavailable', 'the command goes on, but its end is not seen any more', {
          cause: signal.reason,
        }),
      );
    };
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => {
      signal.removeEventListener('abort', onAbort);
    });
    if (signal.aborted) onAbort();
  });
}
