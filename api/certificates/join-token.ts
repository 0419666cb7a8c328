/** Tokens that let a client into the trust store once: base64 of JSON, which clients take apart. */
import { Fault } from '../../process/fault.ts';

/** The secret in a token's text; null when the text is no token. */
export function secretOfToken(text: string): string | null {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(text, 'base64').toString('utf8'));
  } catch {
    // Any password may end up here; most are no base64 of JSON.
    return null;
  }
  const secret: unknown =
    typeof value === 'object' && value !== null ? Reflect.get(value, 'secret') : undefined;
  return typeof secret === 'string' && secret !== '' ? secret : null;
}

const UNITS: Readonly<Record<string, number>> = {
  S: 1000,
  M: 60_000,
  H: 3_600_000,
  d: 86_400_000,
  w: 7 * 86_400_000,
};

/** When a span such as `3H` or `1d 12H` that begins now is over; null for none. Fault bad_request. */
export function endOfSpan(span: string, now: Date): Date | null {
  if (span.trim() === '') return null;
  const end = new Date(now);
  for (const part of span.trim().split(/\s+/)) {
    const found = /^(\d{1,6})([SMHdwmy])$/.exec(part);
    const unit = found?.[2] ?? '';
    const amount = Number(found?.[1]);
    if (found === null)
      throw new Fault('bad_request', `"${span}" is no span of time; write for example 3H or "1d 12H"`);
    if (unit === 'm') end.setUTCMonth(end.getUTCMonth() + amount);
    else if (unit === 'y') end.setUTCFullYear(end.getUTCFullYear() + amount);
    else end.setTime(end.getTime() + amount * (UNITS[unit] ?? 0));
  }
  return end;
}
