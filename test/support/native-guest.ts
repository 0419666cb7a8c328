/** A busybox container made with nothing but the native border: overlay, id map, start. */
import { chmod, copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { steps } from '../../native/steps.ts';
import type { IdExtent, Step } from '../../native/steps.ts';
import type { ContainerState, ExecRequest, Native } from '../../native/types.ts';

export const MAP: readonly IdExtent[] = [{ kind: 'b', nsId: 0, hostId: 1_000_000, range: 65_536 }];
const BUSYBOX = '/bin/busybox';
const APPLETS = [
  'sh',
  'cat',
  'ls',
  'id',
  'true',
  'sleep',
  'stat',
  'tty',
  'stty',
  'env',
  'mkfifo',
  'mknod',
  'mv',
  'ln',
  'kill',
  'pwd',
  'echo',
  'touch',
  'grep',
  'head',
  'seq',
  'mkdir',
  'reboot',
  'mount',
];
const DEADLINE_MS = 20_000;

export interface GuestOptions {
  readonly map?: readonly IdExtent[];
  /** Further lines of configuration. */
  readonly lines?: readonly string[];
}

/** The folder of one test file; below /var/tmp because /tmp may be a small file system. */
export async function makeScratch(): Promise<string> {
  const scratch = await mkdtemp('/var/tmp/slipway-native-');
  await chmod(scratch, 0o711);
  return scratch;
}

export async function fillBusyboxRoot(root: string): Promise<void> {
  for (const folder of ['bin', 'dev', 'etc', 'mnt', 'proc', 'sbin', 'sys', 'tmp', 'usr']) {
    await mkdir(join(root, folder), { recursive: true });
  }
  await copyFile(BUSYBOX, join(root, 'bin', 'busybox'));
  for (const applet of APPLETS) await symlink('busybox', join(root, 'bin', applet));
  await symlink('../bin/busybox', join(root, 'sbin', 'init'));
  await writeFile(join(root, 'etc', 'inittab'), '::sysinit:/bin/true\n');
}

/** A promise that is settled by the function beside it. */
export function later<T>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

/** Rejects when `work` has not ended in time, so that a test fails instead of hanging. */
export async function within<T>(what: string, work: Promise<T>, ms = DEADLINE_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`${what} took longer than ${String(ms)} ms`));
    }, ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

export class Guest {
  readonly name: string;
  readonly lxcPath: string;
  readonly configFile: string;
  readonly folder: string;
  readonly image: string;
  initPid = 0;
  private readonly native: Native;
  private readonly options: GuestOptions;

  private constructor(native: Native, scratch: string, name: string, options: GuestOptions) {
    this.native = native;
    this.name = name;
    this.options = options;
    this.lxcPath = join(scratch, 'lxc');
    this.image = join(scratch, 'image');
    this.folder = join(scratch, name);
    this.configFile = join(this.folder, 'lxc.conf');
  }

  /** Makes its folders; `<scratch>/image` is filled by the first one. */
  static async make(
    native: Native,
    scratch: string,
    name: string,
    options: GuestOptions = {},
  ): Promise<Guest> {
    const guest = new Guest(native, scratch, name, options);
    await mkdir(guest.lxcPath, { recursive: true, mode: 0o711 });
    for (const folder of ['upper', 'work', 'root']) {
      await mkdir(join(guest.folder, folder), { recursive: true });
    }
    if ((await mkdir(guest.image, { recursive: true })) !== undefined) await fillBusyboxRoot(guest.image);
    await writeFile(guest.configFile, guest.config());
    return guest;
  }

  get root(): string {
    return join(this.folder, 'root');
  }

  /** The steps that assemble the root. */
  rootPlan(): Step[] {
    const map = this.options.map ?? MAP;
    return [
      steps.privateMounts(),
      steps.idmap(map),
      steps.tmpfs('/mnt', 64),
      steps.mkdir('/mnt/lower', '0755'),
      steps.mkdir('/mnt/own', '0755'),
      steps.cloneIdmap(this.image, '/mnt/lower'),
      steps.cloneIdmap(this.folder, '/mnt/own'),
      steps.overlay(['/mnt/lower'], '/mnt/own/upper', '/mnt/own/work', this.root, map.length > 0),
      steps.chown(this.root, 0, 0),
    ];
  }

  async start(more: readonly Step[] = []): Promise<void> {
    const plan = [...this.rootPlan(), ...more, steps.start(this.lxcPath, this.name, this.configFile)];
    this.initPid = (await this.native.start(plan)).initPid;
  }

  /** Kills its init and waits until liblxc has cleaned up. */
  async stop(): Promise<void> {
    const stopped = later<ContainerState>();
    const watch = await this.native.monitor(this.lxcPath, this.name).watch((state) => {
      if (state === 'STOPPED') stopped.resolve(state);
    });
    if (this.initPid > 0) this.native.signalProcess(this.initPid, 9);
    await within('stop', stopped.promise);
    watch.close();
    this.initPid = 0;
  }

  request(argv: readonly string[], stdio: readonly [number, number, number]): ExecRequest {
    return {
      lxcPath: this.lxcPath,
      name: this.name,
      configFile: this.configFile,
      argv,
      env: { PATH: '/bin:/sbin' },
      uid: 0,
      gid: 0,
      cwd: '/',
      stdio,
      sealed: false,
      killWithDaemon: true,
    };
  }

  /** Runs a command to its end; what it wrote to 1 and 2 must fit into a pipe. */
  async run(
    argv: readonly string[],
    more: Partial<ExecRequest> = {},
  ): Promise<{ readonly code: number; readonly output: string }> {
    const { read, write } = this.native.pipe();
    const none = openSync('/dev/null', 'r');
    try {
      const command = this.native.exec({ ...this.request(argv, [none, write, write]), ...more });
      const code = await within(argv.join(' '), command.exited);
      this.native.closeFd(write);
      return { code, output: readAll(read) };
    } finally {
      closeSync(none);
      this.native.closeFd(read);
    }
  }

  private config(): string {
    const map = this.options.map ?? MAP;
    return [
      `lxc.log.file = ${join(this.folder, 'lxc.log')}`,
      'lxc.log.level = ERROR',
      `lxc.rootfs.path = dir:${this.root}`,
      'lxc.rootfs.managed = 0',
      // A host name has at most 64 characters.
      `lxc.uts.name = ${this.name.slice(0, 60)}`,
      'lxc.mount.auto = proc:rw sys:rw cgroup:mixed',
      'lxc.autodev = 1',
      'lxc.pty.max = 1024',
      'lxc.tty.max = 0',
      'lxc.console.buffer.size = auto',
      'lxc.console.size = auto',
      'lxc.net.0.type = empty',
      ...map.flatMap((e) =>
        ['u', 'g'].map(
          (kind) => `lxc.idmap = ${kind} ${String(e.nsId)} ${String(e.hostId)} ${String(e.range)}`,
        ),
      ),
      ...(this.options.lines ?? []),
      '',
    ].join('\n');
  }
}

function readAll(fd: number): string {
  const chunk = Buffer.alloc(65_536);
  const parts: Buffer[] = [];
  for (let got = readSync(fd, chunk); got > 0; got = readSync(fd, chunk)) {
    parts.push(Buffer.from(chunk.subarray(0, got)));
  }
  return Buffer.concat(parts).toString();
}

export async function removeScratch(scratch: string): Promise<void> {
  await rm(scratch, { recursive: true, force: true });
}
