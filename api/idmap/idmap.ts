/**
 * Id maps of instances: which host ids stand for a container's.
 *
 * Pure. By default an unprivileged instance uses the whole range that the host
 * gives to root (as LXD does); with `security.idmap.isolated` it has 65536 ids
 * that no other isolated instance has. `raw.idmap` punches single ids or ranges.
 */
import { Fault } from '../../process/fault.ts';
import type { IdExtent } from '../../native/steps.ts';
import type { StringMap } from '../db/rows.ts';

export interface HostRange {
  readonly start: number;
  readonly size: number;
}

/** Used when the host names no range for root; LXD's own default. */
export const DEFAULT_RANGE: HostRange = { start: 1_000_000, size: 1_000_000_000 };

const ISOLATED_SIZE = 65_536;

/** The first range of at least 65536 ids that both files give to root. */
export function hostRange(subuid: string, subgid: string): HostRange {
  const uid = firstRange(subuid);
  const gid = firstRange(subgid);
  if (uid === null || gid === null) return DEFAULT_RANGE;
  const start = Math.max(uid.start, gid.start);
  const end = Math.min(uid.start + uid.size, gid.start + gid.size);
  return end - start >= ISOLATED_SIZE ? { start, size: end - start } : DEFAULT_RANGE;
}

function firstRange(text: string): HostRange | null {
  for (const line of text.split('\n')) {
    const match = /^(?:root|0):(\d+):(\d+)\s*$/.exec(line);
    if (match === null) continue;
    const range = { start: Number(match[1]), size: Number(match[2]) };
    if (range.size >= ISOLATED_SIZE) return range;
  }
  return null;
}

/** What the instance asks for, from its expanded config. */
export interface IdmapWish {
  readonly privileged: boolean;
  readonly isolated: boolean;
  readonly base: number | null;
  readonly size: number | null;
  readonly raw: string;
}

export function idmapWish(config: StringMap): IdmapWish {
  const isTrue = (key: string): boolean => /^(true|yes|on|1)$/i.test(config[key] ?? '');
  const number = (key: string): number | null => {
    const text = config[key] ?? '';
    return /^\d+$/.test(text) ? Number(text) : null;
  };
  return {
    privileged: isTrue('security.privileged'),
    isolated: isTrue('security.idmap.isolated'),
    base: number('security.idmap.base'),
    size: number('security.idmap.size'),
    raw: config['raw.idmap'] ?? '',
  };
}

/**
 * Where the instance's ids start and how many there are.
 *
 * @param taken ranges of the other isolated instances
 * @param current base kept from an earlier start, null for a new instance
 * @throws Fault bad_request when the wish does not fit, unavailable when all ranges are taken
 */
export function placeIdmap(
  wish: IdmapWish,
  host: HostRange,
  taken: readonly HostRange[],
  current: number | null,
): HostRange {
  if (!wish.isolated) return host;
  const size = wish.size ?? ISOLATED_SIZE;
  if (wish.base !== null) {
    if (wish.base < host.start || wish.base + size > host.start + host.size) {
      throw new Fault(
        'bad_request',
        `security.idmap.base ${String(wish.base)} with ${String(size)} ids is outside this host's range ${String(host.start)}-${String(host.start + host.size - 1)}`,
      );
    }
    return { start: wish.base, size };
  }
  const isFree = (start: number): boolean =>
    taken.every((t) => start + size <= t.start || start >= t.start + t.size);
  if (current !== null && isFree(current) && current + size <= host.start + host.size)
    return { start: current, size };
  // The first 65536 ids belong to instances that are not isolated (their own ids reach further,
  // as in LXD, but what they use in practice lies there).
  let at = host.start + ISOLATED_SIZE;
  for (const t of [...taken].sort((a, b) => a.start - b.start)) {
    if (at + size <= t.start) break;
    at = Math.max(at, t.start + t.size);
  }
  if (at + size > host.start + host.size) {
    throw new Fault(
      'unavailable',
      `no ${String(size)} free ids are left for an isolated instance; give root a larger range in /etc/subuid and /etc/subgid`,
    );
  }
  return { start: at, size };
}

interface Extent {
  nsId: number;
  hostId: number;
  range: number;
}

/** The extents for user ids and group ids, raw.idmap punched in; empty for a privileged instance. */
export function buildIdmap(wish: IdmapWish, place: HostRange): IdExtent[] {
  if (wish.privileged) return [];
  let users: Extent[] = [{ nsId: 0, hostId: place.start, range: place.size }];
  let groups: Extent[] = [{ nsId: 0, hostId: place.start, range: place.size }];
  for (const entry of parseRawIdmap(wish.raw)) {
    if (entry.hostId < place.start + place.size && entry.hostId + entry.range > place.start) {
      throw new Fault(
        'bad_request',
        `raw.idmap maps host id ${String(entry.hostId)}, which lies in the instance's own range`,
      );
    }
    if (entry.kind !== 'g') users = punch(users, entry);
    if (entry.kind !== 'u') groups = punch(groups, entry);
  }
  return [
    ...users.map((e): IdExtent => ({ kind: 'u', ...e })),
    ...groups.map((e): IdExtent => ({ kind: 'g', ...e })),
  ];
}

/** Lines `both|uid|gid <host>[-<host>] <container>[-<container>]`. */
export function parseRawIdmap(text: string): IdExtent[] {
  const out: IdExtent[] = [];
  for (const line of text.split('\n').map((l) => l.trim())) {
    if (line === '') continue;
    const match = /^(both|uid|gid)\s+(\d+)(?:-(\d+))?\s+(\d+)(?:-(\d+))?$/.exec(line);
    if (match === null) {
      throw new Fault(
        'bad_request',
        `raw.idmap line "${line}" is not "both|uid|gid HOST[-HOST] CONTAINER[-CONTAINER]"`,
      );
    }
    const [, kind, hostFrom, hostTo, nsFrom, nsTo] = match;
    const hostId = Number(hostFrom);
    const nsId = Number(nsFrom);
    const range = (hostTo === undefined ? hostId : Number(hostTo)) - hostId + 1;
    const nsRange = (nsTo === undefined ? nsId : Number(nsTo)) - nsId + 1;
    if (range < 1 || range !== nsRange) {
      throw new Fault('bad_request', `raw.idmap line "${line}" names ranges of different length`);
    }
    out.push({ kind: kind === 'both' ? 'b' : kind === 'uid' ? 'u' : 'g', nsId, hostId, range });
  }
  return out;
}

function punch(extents: readonly Extent[], hole: IdExtent): Extent[] {
  const out: Extent[] = [];
  const holeEnd = hole.nsId + hole.range;
  for (const e of extents) {
    const end = e.nsId + e.range;
    if (holeEnd <= e.nsId || hole.nsId >= end) {
      out.push(e);
      continue;
    }
    if (e.nsId < hole.nsId) out.push({ nsId: e.nsId, hostId: e.hostId, range: hole.nsId - e.nsId });
    if (end > holeEnd)
      out.push({ nsId: holeEnd, hostId: e.hostId + (holeEnd - e.nsId), range: end - holeEnd });
  }
  out.push({ nsId: hole.nsId, hostId: hole.hostId, range: hole.range });
  return out.sort((a, b) => a.nsId - b.nsId);
}

/** The form of `volatile.idmap.*`: LXD's JSON with its capitalised keys. */
export function renderIdmap(extents: readonly IdExtent[]): string {
  return JSON.stringify(
    extents.map((e) => ({
      Isuid: e.kind !== 'g',
      Isgid: e.kind !== 'u',
      Hostid: e.hostId,
      Nsid: e.nsId,
      Maprange: e.range,
    })),
  );
}

/** Host id of an id of the container; the id itself when there is no map. */
export function toHostId(extents: readonly IdExtent[], kind: 'u' | 'g', id: number): number | null {
  if (extents.length === 0) return id;
  for (const e of extents) {
    if ((e.kind === kind || e.kind === 'b') && id >= e.nsId && id < e.nsId + e.range)
      return e.hostId + (id - e.nsId);
  }
  return null;
}
