/** What every reader of a file system offers. Names and targets are bytes, one per character (latin1). */

export type InodeKind = 'file' | 'directory' | 'symlink' | 'fifo' | 'other';

export interface Inode {
  /** Names with the same id are hard links of one file. */
  readonly id: string;
  readonly kind: InodeKind;
  /** At most 07777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeS: number;
  readonly links: number;
  readonly size: number;
}

/** Bytes of a file that are not a hole. */
export interface Run {
  readonly at: number;
  readonly length: number;
  /** Bytes from `offset` in this run on. */
  read(offset: number, length: number): Buffer;
}

export interface DirectoryEntry {
  readonly name: string;
  readonly inode: Inode;
}

/** Everything throws Fault bad_request for what is damaged. */
export interface FileSystem {
  readonly kind: string;
  readonly root: Inode;
  /** Without `.` and `..`. Names may still be anything. */
  entries(directory: Inode): Iterable<DirectoryEntry>;
  /** Full names such as `user.mime_type`. */
  attributes(inode: Inode): Iterable<readonly [string, Buffer]>;
  target(link: Inode): string;
  /** In order, none overlapping, all below the size of the file. */
  runs(file: Inode): Run[];
}

const KINDS: Readonly<Record<number, InodeKind>> = {
  0o100000: 'file',
  0o040000: 'directory',
  0o120000: 'symlink',
  0o010000: 'fifo',
};

/** From the mode as POSIX has it. */
export function kindOf(mode: number): InodeKind {
  return KINDS[mode & 0o170000] ?? 'other';
}
