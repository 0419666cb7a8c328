/**
 * The files that tell dnsmasq name and static addresses of each nic:
 * `<container>.<device>` with `mac[,ipv4][,[ipv6]],name`.
 *
 * Their contents are kept in memory, so that a start with nothing new writes
 * nothing. A file stays while its instance exists, stopped or not.
 */
import { mkdir, readFile, readdir, rename, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isMissing } from './dnsmasq.ts';

export interface HostEntry {
  readonly hwaddr: string;
  readonly ipv4: string | null;
  readonly ipv6: string | null;
  /** null: the guest's own name counts (dns.mode=dynamic). */
  readonly name: string | null;
  /** No lease at all. */
  readonly isIgnored: boolean;
}

export function renderEntry(entry: HostEntry): string {
  if (entry.isIgnored) return `${entry.hwaddr},ignore\n`;
  const parts = [entry.hwaddr];
  if (entry.ipv4 !== null) parts.push(entry.ipv4);
  if (entry.ipv6 !== null) parts.push(`[${entry.ipv6}]`);
  if (entry.name !== null) parts.push(entry.name);
  return `${parts.join(',')}\n`;
}

export function parseEntry(line: string): HostEntry {
  const [hwaddr = '', ...rest] = line.trim().split(',');
  const isIgnored = rest.includes('ignore');
  const ipv6 = rest.find((part) => part.startsWith('['))?.slice(1, -1) ?? null;
  const ipv4 = rest.find((part) => /^\d+\.\d+\.\d+\.\d+$/.test(part)) ?? null;
  const name = rest.find((part) => part !== ipv4 && !part.startsWith('[') && part !== 'ignore') ?? null;
  return { hwaddr, ipv4, ipv6, name, isIgnored };
}

/** `known`: dnsmasq has it already; `new`: inotify tells it; `changed`: it must be told. */
export type Written = 'known' | 'new' | 'changed';

export class HostFiles {
  private readonly folder: string;
  private readonly contents = new Map<string, string>();

  constructor(folder: string) {
    this.folder = folder;
  }

  async load(): Promise<void> {
    await mkdir(this.folder, { recursive: true });
    this.contents.clear();
    for (const file of await readdir(this.folder)) {
      this.contents.set(file, await readFile(join(this.folder, file), 'utf8'));
    }
  }

  get(file: string): HostEntry | null {
    const content = this.contents.get(file);
    return content === undefined ? null : parseEntry(content);
  }

  entries(): [string, HostEntry][] {
    return [...this.contents].map(([file, content]) => [file, parseEntry(content)]);
  }

  /** Names of files of one instance; instance names have no dot. */
  ofInstance(container: string): string[] {
    return [...this.contents.keys()].filter((file) => file.startsWith(`${container}.`));
  }

  /** Replaces the file in one step. Another file with one of the addresses is outdated and goes. */
  async write(file: string, entry: HostEntry): Promise<Written> {
    const content = renderEntry(entry);
    const before = this.contents.get(file);
    if (before === content) return 'known';
    let result: Written = before === undefined ? 'new' : 'changed';
    const isStatic = entry.ipv4 !== null || entry.ipv6 !== null;
    for (const [other, theirs] of isStatic ? this.entries() : []) {
      const isSame =
        (entry.ipv4 !== null && theirs.ipv4 === entry.ipv4) ||
        (entry.ipv6 !== null && theirs.ipv6 === entry.ipv6);
      if (other === file || !isSame) continue;
      await this.remove(other);
      result = 'changed';
    }
    // Outside the folder, which dnsmasq watches.
    const draft = `${this.folder}.${file}`;
    await writeFile(draft, content, { mode: 0o644 });
    await rename(draft, join(this.folder, file));
    this.contents.set(file, content);
    return result;
  }

  /** False when it was not there. */
  async remove(file: string): Promise<boolean> {
    const wasThere = this.contents.delete(file);
    try {
      await unlink(join(this.folder, file));
      return true;
    } catch (err) {
      if (isMissing(err)) return wasThere;
      throw err;
    }
  }
}
