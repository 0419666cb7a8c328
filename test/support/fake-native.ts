/**
 * Stands for the native border where no container is needed: commands are
 * processes of this machine, pipes are FIFOs, the container's files a folder.
 */
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, rmSync } from 'node:fs';
import { constants as osConstants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Fault } from '../../process/fault.ts';
import type { ExecProcess, ExecRequest, Native } from '../../native/types.ts';

/** Descriptors 0-2 of a process started in the way of the helper; signals and codes as the helper tells them. */
export function fakeExec(request: ExecRequest): ExecProcess {
  const [program = '', ...args] = request.argv;
  const child = spawn(program, args, { env: { ...request.env }, stdio: [...request.stdio], cwd: '/' });
  const exited = new Promise<number>((resolve) => {
    child.once('error', (err) => {
      resolve('code' in err && err.code === 'ENOENT' ? 127 : 126);
    });
    child.once('exit', (code, signal) => {
      resolve(code ?? 128 + (signal === null ? 0 : osConstants.signals[signal]));
    });
  });
  const started = new Promise<{ pid: number }>((resolve) => {
    child.once('spawn', () => {
      resolve({ pid: child.pid ?? 0 });
    });
    child.once('error', () => {
      resolve({ pid: 0 });
    });
  });
  return {
    started,
    exited,
    signal: (number) => {
      child.kill(number);
    },
  };
}

/** A pipe whose two ends are opened the way pipe2 gives them: blocking, one way each. */
export function fakePipe(): { read: number; write: number } {
  const dir = mkdtempSync(join(tmpdir(), 'slipway-pipe-'));
  try {
    const path = join(dir, 'pipe');
    execFileSync('mkfifo', [path]);
    const both = openSync(path, constants.O_RDWR);
    const pipe = { read: openSync(path, constants.O_RDONLY), write: openSync(path, constants.O_WRONLY) };
    closeSync(both);
    return pipe;
  } finally {
    rmSync(dir, { recursive: true });
  }
}

function refuse(what: string): never {
  throw new Fault('not_implemented', `${what} is not faked`);
}

/** All of it; `overrides` replaces what a test looks at. */
export function fakeNative(overrides: Partial<Native> = {}): Native {
  return {
    liblxcVersion: '5.0.2',
    helperPath: '/bin/false',
    hasApiExtension: () => false,
    run: () => Promise.resolve(),
    start: () => Promise.resolve({ initPid: process.pid }),
    exec: fakeExec,
    openFiles: () => refuse('openFiles'),
    monitor: () => refuse('monitor'),
    readFiles: (paths) => Promise.resolve(paths.map(() => null)),
    interfaces: (pids) => Promise.resolve(pids.map(() => null)),
    pipe: fakePipe,
    closeFd: (fd) => {
      closeSync(fd);
    },
    setWindowSize: () => undefined,
    peerCredentials: () => ({ pid: process.pid, uid: 0, gid: 0 }),
    notifySystemd: () => undefined,
    signalProcess: () => false,
    waitGone: () => Promise.resolve(true),
    idmappedMountsWork: () => Promise.resolve(false),
    ...overrides,
  };
}
