/** Carrying out plans: one helper, one answer, one deadline. */
import { Fault, isFault } from '../process/fault.ts';
import { stepFault } from './faults.ts';
import type { Launcher, LaunchOptions, HelperProcess } from './launcher.ts';
import { encodePlan } from './plan.ts';
import type { Step } from './steps.ts';
import type { StepFailure } from './types.ts';

/** A line of the helper; the keys depend on what it was asked. */
export type Line = Readonly<Record<string, unknown>>;

/** Longest line taken from a helper: a directory of a million names fits. */
const LINE_LIMIT = 256 * 1024 * 1024;

/** Calls `onLine` for each JSON line and `onEnd` once, after the last. */
export function readLines(
  helper: HelperProcess,
  onLine: (line: Line) => void,
  onEnd: (err: Error | null) => void,
): void {
  const { socket } = helper;
  let parts: Buffer[] = [];
  let length = 0;
  let failure: Error | null = null;
  socket.on('data', (chunk: Buffer) => {
    let rest = chunk;
    for (let at = rest.indexOf(10); at >= 0; at = rest.indexOf(10)) {
      const text = Buffer.concat([...parts, rest.subarray(0, at)]).toString();
      parts = [];
      length = 0;
      rest = rest.subarray(at + 1);
      onLine(parseLine(text));
    }
    if (rest.length > 0) parts.push(rest);
    length += rest.length;
    if (length > LINE_LIMIT) socket.destroy(new Fault('native_failed', 'the helper sent an endless line'));
  });
  socket.on('error', (err) => {
    failure = err;
  });
  socket.on('end', () => socket.end());
  socket.on('close', () => {
    onEnd(failure);
  });
}

function parseLine(text: string): Line {
  const value: unknown = JSON.parse(text);
  // The helper writes objects alone; what is in them is looked at key by key.
  return typeof value === 'object' && value !== null ? (value as Line) : {};
}

/** The failure in an answer, null when it is none. */
export function failureOf(line: Line): StepFailure | null {
  if (line['ok'] === true) return null;
  return {
    step: typeof line['step'] === 'string' ? line['step'] : 'unknown',
    index: typeof line['index'] === 'number' ? line['index'] : -1,
    errno: typeof line['errno'] === 'number' ? line['errno'] : 0,
    text: typeof line['text'] === 'string' ? line['text'] : 'the helper gave no reason',
  };
}

export interface PlanOptions extends LaunchOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

/**
 * Runs a plan to its end and gives its answer. Fault native_failed or
 * storage_full with the step; timeout after `timeoutMs` (the helper is killed);
 * rejects with the signal's reason when aborted.
 */
export async function runPlan(
  launcher: Launcher,
  plan: readonly Step[],
  options: PlanOptions,
): Promise<Line> {
  options.signal?.throwIfAborted();
  const bytes = encodePlan(plan);
  const helper = launcher.launch(options);
  return new Promise((resolve, reject) => {
    let answer: Line | null = null;
    let stopped: unknown = null;
    const stop = (reason: unknown): void => {
      stopped = reason;
      helper.kill();
      helper.socket.destroy();
    };
    const timer = setTimeout(() => {
      const verb = plan.at(-1)?.[0] ?? 'plan';
      stop(
        new Fault('timeout', `helper did not finish ${verb} within ${String(options.timeoutMs / 1000)} s`),
      );
    }, options.timeoutMs);
    const onAbort = (): void => {
      stop(options.signal?.reason);
    };
    options.signal?.addEventListener('abort', onAbort, { once: true });
    readLines(
      helper,
      (line) => {
        answer = line;
      },
      (err) => {
        clearTimeout(timer);
        options.signal?.removeEventListener('abort', onAbort);
        settle(stopped, answer, err, resolve, reject);
      },
    );
    helper.socket.write(bytes);
  });
}

function settle(
  stopped: unknown,
  answer: Line | null,
  err: Error | null,
  resolve: (line: Line) => void,
  reject: (reason: unknown) => void,
): void {
  if (stopped !== null) {
    reject(stopped);
    return;
  }
  if (answer === null && isFault(err)) {
    reject(err);
    return;
  }
  if (answer === null) {
    reject(new Fault('native_failed', 'the helper ended without an answer', { cause: err ?? undefined }));
    return;
  }
  const failure = failureOf(answer);
  if (failure === null) resolve(answer);
  else reject(stepFault(failure));
}
