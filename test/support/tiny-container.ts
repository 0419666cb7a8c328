/**
 * One real container of busybox for the tests of exec, console and files: no
 * network, no pool, no database. Everything is in a scratch folder.
 */
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { IdExtent, Step } from '../../native/steps.ts';
import { steps } from '../../native/steps.ts';
import type { Native } from '../../native/types.ts';
import { containerName, pathsBelow } from '../../api/paths.ts';
import type { Paths } from '../../api/paths.ts';

const BUSYBOX = '/bin/busybox';
const APPLETS = [
  'sh',
  'cat',
  'echo',
  'true',
  'sleep',
  'tty',
  'stty',
  'seq',
  'id',
  'env',
  'head',
  'wc',
  'ls',
  'mkfifo',
  'kill',
  'pwd',
  'nc',
  'mount',
  'ln',
  'stat',
  'printf',
  'init',
  'touch',
  'chmod',
  'chown',
  'mkdir',
  'rm',
  'yes',
  'md5sum',
  'dd',
  'unshare',
  'wget',
];

export interface TinyOptions {
  readonly privileged?: boolean;
  /** Program and arguments of pid 1. */
  readonly init?: string;
  /** Further lines of liblxc's configuration. */
  readonly lines?: readonly string[];
}

export interface TinyContainer {
  readonly name: string;
  readonly paths: Paths;
  /** The root file system on disk, with the host's ids. */
  readonly rootfs: string;
  /** Process in the host's namespace; 0 while stopped. */
  readonly initPid: number;
  rootPlan(): { readonly plan: readonly Step[]; readonly root: string };
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Stops it and removes the scratch folder. */
  remove(): Promise<void>;
}

export async function makeTinyContainer(
  native: Native,
  name: string,
  options: TinyOptions = {},
): Promise<TinyContainer> {
  const state = await mkdtemp(join(tmpdir(), 'slipway-tiny-'));
  await chmod(state, 0o755);
  const paths = pathsBelow(state, join(state, 'log'));
  const rootfs = join(state, 'rootfs');
  await fillRoot(rootfs);
  await mkdir(paths.lxc, { recursive: true });
  await mkdir(join(paths.log, containerName('default', name)), { recursive: true });
  return new Tiny(native, { name, paths, rootfs, state, options });
}

async function fillRoot(rootfs: string): Promise<void> {
  for (const dir of ['bin', 'dev', 'etc', 'proc', 'root', 'sys', 'tmp', 'sbin']) {
    await mkdir(join(rootfs, dir), { recursive: true });
  }
  await chmod(join(rootfs, 'tmp'), 0o1777);
  await copyFile(BUSYBOX, join(rootfs, 'bin', 'busybox'));
  for (const applet of APPLETS) await symlink('busybox', join(rootfs, 'bin', applet));
  await writeFile(join(rootfs, 'etc', 'passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
}

/** What a command in the container writes to its standard output; its standard error is that of the test. */
export async function outputOf(
  native: Native,
  container: TinyContainer,
  argv: readonly string[],
  uid = 0,
): Promise<string> {
  const pipe = native.pipe();
  const nothing = openSync('/dev/null', 'r+');
  const output = new Socket({ fd: pipe.read, readable: true, writable: false });
  const chunks: Buffer[] = [];
  output.on('data', (chunk: Buffer) => chunks.push(chunk));
  const ended = once(output, 'close');
  const command = native.exec({
    lxcPath: container.paths.lxc,
    name: container.name,
    configFile: join(container.paths.log, container.name, 'lxc.conf'),
    argv,
    env: { PATH: '/bin', HOME: '/root' },
    uid,
    gid: uid,
    cwd: '/',
    stdio: [nothing, pipe.write, 2],
    sealed: false,
    killWithDaemon: true,
  });
  try {
    await command.started;
  } finally {
    native.closeFd(pipe.write);
    closeSync(nothing);
  }
  await command.exited;
  await ended;
  return Buffer.concat(chunks).toString();
}

interface TinyFacts {
  readonly name: string;
  readonly paths: Paths;
  readonly rootfs: string;
  readonly state: string;
  readonly options: TinyOptions;
}

class Tiny implements TinyContainer {
  readonly name: string;
  readonly paths: Paths;
  readonly rootfs: string;
  initPid = 0;
  private readonly native: Native;
  private readonly facts: TinyFacts;

  constructor(native: Native, facts: TinyFacts) {
    this.native = native;
    this.facts = facts;
    this.name = facts.name;
    this.paths = facts.paths;
    this.rootfs = facts.rootfs;
  }

  rootPlan(): { readonly plan: readonly Step[]; readonly root: string } {
    const root = join(this.facts.state, 'root');
    return {
      plan: [
        steps.privateMounts(),
        steps.idmap(this.idmap),
        steps.mkdir(root, '0755'),
        steps.cloneIdmap(this.rootfs, root),
      ],
      root,
    };
  }

  async start(): Promise<void> {
    const { plan, root } = this.rootPlan();
    const logDir = join(this.paths.log, this.name);
    const configFile = join(logDir, 'lxc.conf');
    await writeFile(configFile, this.config(root, logDir));
    const { initPid } = await this.native.start([
      ...plan,
      steps.start(this.paths.lxc, this.name, configFile),
    ]);
    this.initPid = initPid;
  }

  async stop(): Promise<void> {
    if (this.initPid === 0) return;
    const { promise, resolve } = settledLater();
    const watch = await this.native.monitor(this.paths.lxc, this.name).watch((state) => {
      if (state === 'STOPPED') resolve();
    });
    this.native.signalProcess(this.initPid, 9);
    await promise;
    watch.close();
    this.initPid = 0;
  }

  async remove(): Promise<void> {
    await this.stop();
    await rm(this.facts.state, { recursive: true, force: true });
  }

  private get idmap(): IdExtent[] {
    if (this.facts.options.privileged === true) return [];
    return [{ kind: 'b', nsId: 0, hostId: 1_000_000, range: 65_536 }];
  }

  private config(root: string, logDir: string): string {
    const { options } = this.facts;
    return [
      'lxc.include = /dev/null',
      `lxc.log.file = ${join(logDir, 'lxc.log')}`,
      'lxc.console.buffer.size = auto',
      `lxc.console.logfile = ${join(logDir, 'console.log')}`,
      'lxc.autodev = 1',
      'lxc.pty.max = 1024',
      'lxc.tty.max = 0',
      `lxc.uts.name = ${this.name}`,
      `lxc.rootfs.path = dir:${root}`,
      'lxc.rootfs.managed = 0',
      'lxc.net.0.type = empty',
      'lxc.mount.auto = proc:rw sys:rw',
      'lxc.signal.halt = SIGKILL',
      `lxc.init.cmd = ${options.init ?? '/bin/sleep 100000'}`,
      'lxc.monitor.signal.pdeath = SIGKILL',
      ...this.idmap.flatMap((e) =>
        ['u', 'g'].map(
          (kind) => `lxc.idmap = ${kind} ${String(e.nsId)} ${String(e.hostId)} ${String(e.range)}`,
        ),
      ),
      ...(options.lines ?? []),
      '',
    ].join('\n');
  }
}

function settledLater(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
