/** The typed shape of the border with C. `native/index.ts` implements it. */
import type { Step } from './steps.ts';

/** liblxc's states, in the order of its wire numbers. */
export type ContainerState =
  'STOPPED' | 'STARTING' | 'RUNNING' | 'STOPPING' | 'ABORTING' | 'FREEZING' | 'FROZEN' | 'THAWED';

export interface NetInterface {
  readonly index: number;
  readonly name: string;
  readonly hwaddr: string;
  readonly mtu: number;
  readonly up: boolean;
  readonly type: 'broadcast' | 'loopback' | 'point-to-point';
  /** Interface index of the other end in the host's namespace (IFLA_LINK), 0 when there is none. */
  readonly peerIndex: number;
  readonly addresses: readonly {
    readonly family: 'inet' | 'inet6';
    readonly address: string;
    readonly prefix: number;
    readonly scope: 'global' | 'link' | 'local';
  }[];
  readonly counters: {
    readonly bytesReceived: number;
    readonly bytesSent: number;
    readonly packetsReceived: number;
    readonly packetsSent: number;
    readonly errorsReceived: number;
    readonly errorsSent: number;
    readonly droppedInbound: number;
    readonly droppedOutbound: number;
  };
}

/** What the helper tells of a failed plan. */
export interface StepFailure {
  readonly step: string;
  readonly index: number;
  readonly errno: number;
  readonly text: string;
}

export interface ExecRequest {
  readonly lxcPath: string;
  readonly name: string;
  /** Configuration the container was started with. */
  readonly configFile: string;
  readonly argv: readonly string[];
  /** Complete environment; nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  readonly uid: number;
  readonly gid: number;
  readonly cwd: string;
  /**
   * Descriptors of the daemon that become 0, 1 and 2 (three times the pty's slave
   * when interactive). They stay the caller's, to be closed once `started` settles.
   */
  readonly stdio: readonly [number, number, number];
  /** Run the helper from a sealed copy in memory (privileged guests, CVE-2019-5736). */
  readonly sealed: boolean;
  /** Kill the command when the daemon dies or lets go. */
  readonly killWithDaemon: boolean;
}

export interface ExecProcess {
  /**
   * Resolves when the command has been started. Rejects with a Fault when it
   * could not be: bad_request (ids beyond the map), unavailable (not running),
   * timeout, native_failed.
   */
  readonly started: Promise<{ readonly pid: number }>;
  /** Exit code; 128+N when killed by signal N; 127 not found, 126 not executable. */
  readonly exited: Promise<number>;
  /** Sends a signal to the command; harmless after its end. */
  signal(number: number): void;
}

export interface FileStat {
  readonly type: 'file' | 'directory' | 'symlink' | 'other';
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
  readonly size: number;
  readonly mtimeMs: number;
}

/**
 * Access to the files of one container, running or stopped, resolved inside it.
 * Errors are Faults: not_found, forbidden, bad_request (not a directory, not
 * empty, is a directory, loop), already_exists, storage_full.
 * Ids and modes are the container's own.
 */
export interface FileSession {
  /** Does not follow a link at the end. */
  stat(path: string): Promise<FileStat>;
  list(path: string): Promise<string[]>;
  /** Target of a symbolic link as it is written. */
  readlink(path: string): Promise<string>;
  /** A descriptor of a regular file opened for reading (links followed inside the container). */
  openRead(path: string): Promise<{ readonly fd: number; readonly stat: FileStat }>;
  /**
   * A descriptor opened for writing. Owner and mode are given only to a file
   * that is new. `append` needs an existing file.
   */
  openWrite(
    path: string,
    options: { readonly uid: number; readonly gid: number; readonly mode: number; readonly append: boolean },
  ): Promise<{ readonly fd: number; readonly created: boolean }>;
  mkdir(
    path: string,
    options: { readonly uid: number; readonly gid: number; readonly mode: number },
  ): Promise<void>;
  symlink(
    path: string,
    target: string,
    options: { readonly uid: number; readonly gid: number },
  ): Promise<void>;
  /** A file or an empty directory. */
  remove(path: string): Promise<void>;
  /** Ends the helper. Idempotent. */
  close(): Promise<void>;
}

/** Questions to one container's monitor, over its command socket; each has a deadline and never blocks a thread. */
export interface Monitor {
  /** STOPPED when there is no socket. Fault `timeout` when the monitor does not answer. */
  state(): Promise<ContainerState>;
  /** Process id in the host's namespace, 0 when stopped. */
  initPid(): Promise<number>;
  /** Path of the payload's cgroup below the controller's mount; controller '' is the unified tree. */
  cgroupPath(controller: string): Promise<string>;
  configItem(key: string): Promise<string>;
  /** The console's ring buffer. */
  consoleLog(options: { readonly clear: boolean }): Promise<Buffer>;
  /** Allocates a tty (0 = console). `release` gives it back. Fault `busy` when it is taken. */
  openConsole(tty: number): Promise<{ readonly fd: number; release(): void }>;
  /** A pty pair inside the container's devpts. */
  openPty(): Promise<{ readonly master: number; readonly slave: number }>;
  /**
   * Tells the present state, then of changes, until closed. STOPPED comes once,
   * at the end (the socket's end of file: also when the monitor was killed and
   * init lives on).
   */
  watch(onState: (state: ContainerState) => void): Promise<{ close(): void }>;
}

export interface Native {
  readonly liblxcVersion: string;
  /** The helper program, for liblxc's hook lines and for `<helper> confine DIR MAXBYTES PROGRAM...`. */
  readonly helperPath: string;
  hasApiExtension(name: string): boolean;
  /** Carries out a plan. Rejects with Fault native_failed whose cause carries a StepFailure. */
  run(plan: readonly Step[], options?: { readonly signal?: AbortSignal }): Promise<void>;
  /** A plan that ends in a `start` step. `log` receives liblxc's error lines when it fails. */
  start(plan: readonly Step[]): Promise<{ readonly initPid: number }>;
  exec(request: ExecRequest): ExecProcess;
  /**
   * Files of a running container (initPid > 0: its namespaces are entered) or
   * of a stopped one (`plan` assembles the root at `root` first).
   */
  openFiles(
    where: { readonly initPid: number } | { readonly plan: readonly Step[]; readonly root: string },
  ): Promise<FileSession>;
  monitor(lxcPath: string, name: string): Monitor;

  /** Contents of many small files (cgroup, proc) in one go; null for one that cannot be read. */
  readFiles(paths: readonly string[]): Promise<(string | null)[]>;
  /** Interfaces in the network namespaces of these processes; null for one that is gone. Pid 0 is the host's own. */
  interfaces(pids: readonly number[]): Promise<(NetInterface[] | null)[]>;

  /** pipe2(O_CLOEXEC). */
  pipe(): { readonly read: number; readonly write: number };
  closeFd(fd: number): void;
  setWindowSize(fd: number, columns: number, rows: number): void;
  peerCredentials(fd: number): { readonly pid: number; readonly uid: number; readonly gid: number };
  notifySystemd(message: string): void;
  /** Sends a signal through a pidfd. False when the process is gone. */
  signalProcess(pid: number, signal: number): boolean;
  /** Waits, without a thread, until the process is gone. */
  waitGone(pid: number, timeoutMs: number): Promise<boolean>;
  /** True when idmapped mounts work on the file system of `directory` (tried with a mapped namespace). */
  idmappedMountsWork(directory: string): Promise<boolean>;
}
