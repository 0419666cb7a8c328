/** Commands in running containers. */
import { Fault } from '../process/fault.ts';
import { stepFault } from './faults.ts';
import { failureOf, readLines } from './helper.ts';
import type { Line } from './helper.ts';
import type { HelperProcess, Launcher } from './launcher.ts';
import { encodePlan } from './plan.ts';
import type { ExecProcess, ExecRequest } from './types.ts';

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
  private ended = false;

  constructor(helper: HelperProcess) {
    this.helper = helper;
    readLines(
      helper,
      (line) => {
        this.onLine(line);
      },
      (err) => {
        this.ended = true;
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
    if (typeof line['pid'] === 'number') {
      this.start.resolve({ pid: line['pid'] });
    } else if (typeof line['exit'] === 'number') {
      this.ended = true;
      this.end.resolve(line['exit']);
    } else {
      const failure = failureOf(line);
      if (failure !== null) this.fail(stepFault(failure));
    }
  }

  /** Settled promises do not change: only what is still open is rejected. */
  private fail(err: Fault): void {
    this.start.reject(err);
    this.end.reject(err);
  }
}

/** Starts a command. The caller keeps its descriptors and may close them once `started` settles. */
export function startExec(launcher: Launcher, request: ExecRequest): ExecProcess {
  if (request.argv.length === 0 || request.argv[0] === '') {
    throw new Fault('bad_request', 'no command given');
  }
  const bytes = encodePlan([execStep(request)]);
  const helper = launcher.launch({ stdio: request.stdio, sealed: request.sealed });
  const command = new Command(helper);
  helper.socket.write(bytes);
  return command;
}
