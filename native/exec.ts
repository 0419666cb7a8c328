/** Commands in running containers. */
import { constants } from 'node:os';
import { Fault } from '../process/fault.ts';
import { stepFault } from './faults.ts';
import { failureOf, readLines } from './helper.ts';
import type { Line } from './helper.ts';
import type { HelperProcess, Launcher } from './launcher.ts';
import { encodePlan } from './plan.ts';
import type { ExecProcess, ExecRequest, StepFailure } from './types.ts';

function execStep(request: ExecRequest): string[] {
  const env = Object.entries(request.env).map(([key, value]) => `${key}=${value}`);
  return [
    'exec',
    request.lxcPath,
    request.name,
    request.configFile,
    String(request.uid),
    String(request.gid),
    request.cwd === '' ? '/' : request.cwd,
    request.killWithDaemon ? 'kill' : '-',
    String(env.length),
    ...env,
    ...request.argv,
  ];
}

/** A promise that is settled from outside; nobody has to look at it. */
class Settled<T> {
  readonly promise: Promise<T>;
  private yes: (value: T) => void = () => undefined;
  private no: (reason: unknown) => void = () => undefined;

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.yes = resolve;
      this.no = reject;
    });
    this.promise.catch(() => undefined);
  }

  resolve(value: T): void {
    this.yes(value);
  }

  reject(reason: unknown): void {
    this.no(reason);
  }
}

class Command implements ExecProcess {
  private readonly helper: HelperProcess;
  private readonly start = new Settled<{ readonly pid: number }>();
  private readonly end = new Settled<number>();
  private readonly timer: NodeJS.Timeout;
  private ended = false;

  constructor(helper: HelperProcess, timeoutMs: number) {
    this.helper = helper;
    // liblxc waits for ever on a monitor that hangs, and in a frozen container.
    this.timer = setTimeout(() => {
      this.fail(new Fault('timeout', `the container was not entered within ${String(timeoutMs / 1000)} s`));
      helper.kill();
      helper.socket.destroy();
    }, timeoutMs);
    readLines(
      helper,
      (line) => {
        this.onLine(line);
      },
      (err) => {
        this.ended = true;
        clearTimeout(this.timer);
        this.fail(new Fault('native_failed', 'the helper of a command is gone', { cause: err ?? undefined }));
      },
    );
  }

  get started(): Promise<{ readonly pid: number }> {
    return this.start.promise;
  }

  get exited(): Promise<number> {
    return this.end.promise;
  }

  signal(number: number): void {
    if (!this.ended) this.helper.socket.write(`signal ${String(number)}\n`);
  }

  private onLine(line: Line): void {
    clearTimeout(this.timer);
    if (typeof line['pid'] === 'number') {
      this.start.resolve({ pid: line['pid'] });
    } else if (typeof line['exit'] === 'number') {
      this.ended = true;
      this.end.resolve(line['exit']);
    } else {
      const failure = failureOf(line);
      if (failure !== null) this.fail(execFault(failure));
    }
  }

  /** Settled promises do not change: only what is still open is rejected. */
  private fail(err: Fault): void {
    this.start.reject(err);
    this.end.reject(err);
  }
}

/** ERANGE is the helper's word for ids beyond the container's map. */
function execFault(failure: StepFailure): Fault {
  if (failure.errno === constants.errno.ERANGE)
    return new Fault('bad_request', `user or group: ${failure.text}`);
  if (failure.errno === constants.errno.ESRCH) return new Fault('unavailable', failure.text);
  return stepFault(failure);
}

/** Starts a command. The caller keeps its descriptors and may close them once `started` settles. */
export function startExec(launcher: Launcher, request: ExecRequest, timeoutMs: number): ExecProcess {
  if (request.argv.length === 0 || request.argv[0] === '') {
    throw new Fault('bad_request', 'no command given');
  }
  const bytes = encodePlan([execStep(request)]);
  const helper = launcher.launch({ stdio: request.stdio, sealed: request.sealed });
  const command = new Command(helper, timeoutMs);
  helper.socket.write(bytes);
  return command;
}
