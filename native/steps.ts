/**
 * The language the daemon speaks to the helper: a plan, a list of steps that
 * one short C process carries out in order (see native/README.md for the exact
 * meaning of each and for the encoding).
 *
 * Pure: deciding is done in TypeScript, doing in C. A step is a list of
 * non-empty strings, the first is its verb.
 */
export type Step = readonly string[];

/** One extent of an id map: `nsId` inside, `hostId` outside, `range` ids long. */
export interface IdExtent {
  readonly kind: 'u' | 'g' | 'b';
  readonly nsId: number;
  readonly hostId: number;
  readonly range: number;
}

export interface DeviceNode {
  readonly kind: 'c' | 'b';
  readonly major: number;
  readonly minor: number;
  /** Octal, at most 0777. */
  readonly mode: string;
}

/** `rec`: with the mounts below the source; the last three are kinds of propagation. */
export type MountFlag = 'ro' | 'rec' | 'idmap' | 'shared' | 'slave' | 'unbindable';

const text = (value: string): string => (value === '' ? '-' : value);

export const steps = {
  /**
   * Gives this process a mount namespace of its own (slave of the host's).
   * All mounts of the plan live in it, and in the monitor that a later `start`
   * leaves behind: they vanish with it, nothing is left on the host.
   */
  privateMounts: (): Step => ['private-mounts'],
  /** Map for later clone-idmap, files and start steps; an empty list means none (privileged). */
  idmap: (extents: readonly IdExtent[]): Step => [
    'idmap',
    text(extents.map((e) => `${e.kind}:${String(e.nsId)}:${String(e.hostId)}:${String(e.range)}`).join(',')),
  ],
  /** mkdir -p, owner root, octal mode for the last part. */
  mkdir: (path: string, mode: string): Step => ['mkdir', path, mode],
  /** Small tmpfs (size in KiB) for mount points. */
  tmpfs: (target: string, sizeKiB: number): Step => ['tmpfs', target, String(sizeKiB)],
  /** Attaches a loop device (autoclear) to a file and mounts it. */
  loop: (file: string, target: string, fstype: string, options: string): Step => [
    'loop',
    file,
    target,
    fstype,
    text(options),
  ],
  /** Clone of a tree, idmapped with the current map (plain clone when there is none), moved to target. */
  cloneIdmap: (source: string, target: string): Step => ['clone-idmap', source, target],
  bind: (source: string, target: string, flags: readonly ('ro' | 'rec' | 'nodev')[]): Step => [
    'bind',
    source,
    target,
    text(flags.join(',')),
  ],
  /**
   * Before a layer (a folder with `upper` and `work`) is cloned: what overlayfs
   * made in it gets the id that host root has in the current map.
   */
  ownLayer: (layer: string): Step => ['own-layer', layer],
  /** overlayfs; `lowers` uppermost first. Fails when the result came up read-only. */
  overlay: (lowers: readonly string[], upper: string, work: string, target: string, nodev: boolean): Step => [
    'overlay',
    lowers.join(':'),
    upper,
    work,
    target,
    nodev ? 'nodev' : '-',
  ],
  /** Owner of one path, given in ids of the current map (0 = root of the container). */
  chown: (path: string, uid: number, gid: number): Step => ['chown', path, String(uid), String(gid)],
  /**
   * Writes a file below `root`, resolved as inside a chroot (no link leaves
   * it). Missing parents are made. An existing file is truncated and keeps its
   * owner and mode; with `createOnly` it is left alone.
   */
  writeFile: (root: string, path: string, content: string, createOnly: boolean): Step => [
    'write-file',
    root,
    path,
    createOnly ? 'create-only' : 'replace',
    `=${content}`,
  ],
  /**
   * Starts a liblxc container from a configuration file. Ends when it runs or
   * has failed. The file is loaded as it is; `lxcPath`/`name` name the command socket.
   */
  start: (lxcPath: string, name: string, configFile: string): Step => ['start', lxcPath, name, configFile],
  /**
   * The guest computes the checksums of what it sends on an interface, instead
   * of leaving them to hardware. null: the container that this plan has started.
   */
  checksumsOff: (initPid: number | null, name: string): Step => [
    'checksums-off',
    initPid === null ? '-' : String(initPid),
    name,
  ],
  /**
   * Hot plug of a mount: clones `source` (idmapped with the current map when
   * `idmap`), enters the mount namespace of `initPid`, makes the target and
   * moves the clone there. Without a word on propagation it is private.
   */
  mountInto: (initPid: number, source: string, target: string, flags: readonly MountFlag[]): Step => [
    'mount-into',
    String(initPid),
    source,
    target,
    text(flags.join(',')),
  ],
  /** With `node`, the empty file that a device node was mounted on goes as well. */
  umountFrom: (initPid: number, target: string, node = false): Step => [
    'umount-from',
    String(initPid),
    target,
    ...(node ? ['node'] : []),
  ],
  /** Device node on the host side (owner in ids of the current map) to be bind mounted. */
  mknod: (path: string, device: DeviceNode, uid: number, gid: number): Step => [
    'mknod',
    path,
    device.kind,
    String(device.major),
    String(device.minor),
    device.mode,
    String(uid),
    String(gid),
  ],
  /** Removes what an archive must not bring: device nodes, and extended attributes in `trusted.`. */
  scrub: (tree: string): Step => ['scrub', tree],
  /**
   * Runs a program with the whole file system read-only but `writable`, no new
   * privileges beyond its own, at most `maxFileBytes` a file. Ends the plan.
   */
  confine: (writable: string, maxFileBytes: number, argv: readonly string[]): Step => [
    'confine',
    writable,
    String(maxFileBytes),
    ...argv,
  ],
} as const;
