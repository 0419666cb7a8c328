/**
 * Wrong passwords and tokens are counted per network, so that nobody can guess
 * for long. Checking one costs 16 MiB and tens of milliseconds: only a few are
 * checked at a time, whoever asks.
 */
import { isIPv6 } from 'node:net';
import { Fault } from '../../process/fault.ts';

const MAX_FAILURES = 5;
const FORGET_MS = 60_000;
const MAX_NETWORKS = 10_000;
const MAX_AT_ONCE = 2;

export class Attempts {
  private readonly now: () => number;
  private readonly failures = new Map<string, { count: number; until: number }>();
  private running = 0;

  constructor(now: () => number = Date.now) {
    this.now = now;
  }

  /**
   * Runs a check and counts when it is negative. Fault not_trusted when there
   * were too many from this address, unavailable when too many run at once.
   */
  async check(address: string, isRight: () => Promise<boolean>): Promise<boolean> {
    const network = networkOf(address);
    const known = this.failures.get(network);
    if (known !== undefined && known.count >= MAX_FAILURES && known.until > this.now()) {
      throw new Fault('not_trusted', 'too many wrong passwords from this address, try again in a minute');
    }
    if (this.running >= MAX_AT_ONCE) throw new Fault('unavailable', 'too many logins at once, try again');
    this.running += 1;
    try {
      const right = await isRight();
      if (right) this.failures.delete(network);
      else this.count(network);
      return right;
    } finally {
      this.running -= 1;
    }
  }

  private count(network: string): void {
    const now = this.now();
    const known = this.failures.get(network);
    const count = known !== undefined && known.until > now ? known.count + 1 : 1;
    this.failures.delete(network);
    this.failures.set(network, { count, until: now + FORGET_MS });
    if (this.failures.size <= MAX_NETWORKS) return;
    const oldest = this.failures.keys().next();
    if (oldest.done !== true) this.failures.delete(oldest.value);
  }
}

/** The address without its port; of an IPv6 address the /64, which one owner has whole. */
function networkOf(address: string): string {
  const host = address.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
  if (!isIPv6(host) || host.startsWith('::ffff:')) return host;
  const [head = '', tail] = host.split('::');
  const front = head === '' ? [] : head.split(':');
  const back = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : 8 - front.length - back.length;
  return [...front, ...Array.from({ length: zeros }, () => '0'), ...back].slice(0, 4).join(':');
}
