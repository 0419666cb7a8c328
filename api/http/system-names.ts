/** Names of users and groups of this host, from /etc (there is no call for other users' names here). */
import { readFileSync } from 'node:fs';

/** Name of a user; `uid=<n>` for one without a name, as LXD writes it. */
export function userName(uid: number, passwdFile = '/etc/passwd'): string {
  if (uid === 0) return 'root';
  const line = linesOf(passwdFile).find((fields) => fields[2] === String(uid));
  return line?.[0] ?? `uid=${String(uid)}`;
}

/** Number of a group given by name or number; null when there is no such group. */
export function groupId(nameOrNumber: string, groupFile = '/etc/group'): number | null {
  if (/^\d+$/.test(nameOrNumber)) return Number(nameOrNumber);
  const line = linesOf(groupFile).find((fields) => fields[0] === nameOrNumber);
  return line?.[2] === undefined ? null : Number(line[2]);
}

function linesOf(file: string): string[][] {
  try {
    return readFileSync(file, 'utf8')
      .split('\n')
      .map((line) => line.split(':'));
  } catch (err) {
    // A host without the file has no names, only numbers.
    if (err instanceof Error && 'code' in err && err.code === 'ENOENT') return [];
    throw err;
  }
}
