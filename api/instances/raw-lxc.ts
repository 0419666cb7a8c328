/**
 * The lines of `raw.lxc`, which go to liblxc as they are.
 *
 * Pure. LXD's refusals are kept: what would break the daemon's own hold on the
 * container. `lxc.console.logfile` is allowed (nova-lxd sets it).
 */
import { wrong } from './values.ts';

export interface RawLxcLine {
  readonly key: string;
  readonly value: string;
}

const REFUSED = new Map([
  ['lxc.ephemeral', 'set the instance\'s "ephemeral" instead'],
  ['lxc.log.file', 'the daemon reads that log'],
  ['lxc.logfile', 'the daemon reads that log'],
  ['lxc.log.syslog', 'the daemon reads that log'],
  ['lxc.syslog', 'the daemon reads that log'],
]);

/** Below lxc.net only an address or a gateway of an interface may be set. */
const NET_ALLOWED = /^lxc\.net\.\d+\.ipv[46]\.(address|gateway)$|^lxc\.network\.ipv[46](\.gateway)?$/;

/** Throws bad_request for a line that is no `key = value` or is refused. */
export function checkRawLxc(value: string): void {
  for (const { key } of parseRawLxc(value)) {
    const reason = REFUSED.get(key);
    if (reason !== undefined) throw wrong(key, `is refused in raw.lxc: ${reason}`);
    if (key.startsWith('lxc.prlimit.')) throw wrong(key, 'is refused in raw.lxc: use limits.kernel.*');
    if (/^lxc\.net(work)?\./.test(key) && !NET_ALLOWED.test(key)) {
      throw wrong(
        key,
        'is refused in raw.lxc: use a nic device; only ipv4 and ipv6 address and gateway may be set',
      );
    }
    // A file that is read again at each start would go round these checks.
    // Differs: LXD refuses includes only when told to run unprivileged containers alone.
    if (key === 'lxc.include') throw wrong(key, 'is refused in raw.lxc: write the lines themselves');
  }
}

/** The lines without comments and blanks; `key` is trimmed and in lower case, as liblxc compares it. */
export function parseRawLxc(value: string): RawLxcLine[] {
  const lines: RawLxcLine[] = [];
  for (const line of value.split('\n')) {
    const text = line.trim();
    if (text === '' || text.startsWith('#')) continue;
    const at = text.indexOf('=');
    const key = text.slice(0, Math.max(at, 0)).trim().toLowerCase();
    if (!/^lxc\.[a-z0-9_.-]+$/.test(key)) throw wrong(text, 'is not a raw.lxc line; write lxc.key = value');
    lines.push({ key, value: text.slice(at + 1).trim() });
  }
  return lines;
}
