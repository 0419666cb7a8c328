/**
 * Small files of /proc and /sys. They answer from the kernel's memory, in some
 * microseconds each: reading them here costs less than handing them to a
 * thread. What is missing is null, never an error.
 */
import { existsSync, readFileSync, readdirSync, realpathSync } from 'node:fs';
import { basename, join } from 'node:path';

export class Reader {
  private readonly root: string;

  /** `root` is another tree than `/` in tests. */
  constructor(root = '/') {
    this.root = root;
  }

  /** Trimmed content. */
  text(path: string): string | null {
    try {
      return readFileSync(join(this.root, path), 'utf8').trim();
    } catch {
      // Not there, or (speed of a link that is down) refused by the driver.
      return null;
    }
  }

  /** A whole number; `byDefault` for anything else and for less than zero (the kernel's "none"). */
  number(path: string, byDefault = 0): number {
    const text = this.text(path) ?? '';
    return /^\d+$/.test(text) ? Number(text) : byDefault;
  }

  /** A hexadecimal number such as `0x8086`, as four digits; '' for none. */
  hex(path: string): string {
    return (this.text(path) ?? '').replace(/^0x/, '');
  }

  /** Names in a folder, in a natural order (`cpu2` before `cpu10`). */
  list(path: string): string[] {
    try {
      return readdirSync(join(this.root, path)).sort((a, b) => collator.compare(a, b));
    } catch {
      return [];
    }
  }

  has(path: string): boolean {
    return existsSync(join(this.root, path));
  }

  /** Where a link leads, below the root. */
  real(path: string): string | null {
    if (!this.has(path)) return null;
    try {
      // The system's own: many times faster than the one in JavaScript.
      const real = realpathSync.native(join(this.root, path));
      return this.root === '/' ? real : real.slice(realpathSync.native(this.root).length);
    } catch {
      return null;
    }
  }

  /** Last part of where a link leads: the name of a driver or subsystem. */
  linkName(path: string): string | null {
    const real = this.real(path);
    return real === null ? null : basename(real);
  }
}

const collator = new Intl.Collator('en', { numeric: true });
