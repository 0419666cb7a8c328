import type { Native } from '../../native/types.ts';

/**
 * The descriptors a piece of work must close. Each is either in here or has
 * been handed over to a stream, never both: a descriptor closed twice may by
 * then be somebody else's.
 */
export class Descriptors {
  private readonly native: Pick<Native, 'pipe' | 'closeFd'>;
  private readonly open = new Set<number>();

  constructor(native: Pick<Native, 'pipe' | 'closeFd'>) {
    this.native = native;
  }

  pipe(): { readonly read: number; readonly write: number } {
    const pipe = this.native.pipe();
    this.take(pipe.read);
    this.take(pipe.write);
    return pipe;
  }

  take(fd: number): number {
    this.open.add(fd);
    return fd;
  }

  /** `use` makes something that closes the descriptor; when it throws, the descriptor stays here. */
  handOver<T>(fd: number, use: (fd: number) => T): T {
    const made = use(fd);
    this.open.delete(fd);
    return made;
  }

  /** Harmless when it is not here. */
  close(fd: number): void {
    if (this.open.delete(fd)) this.native.closeFd(fd);
  }

  closeAll(): void {
    for (const fd of this.open) this.close(fd);
  }
}
