/** Just enough of DER (ITU-T X.690) to write a certificate. */

export function tlv(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([tag]), lengthOf(content.length), content]);
}

function lengthOf(length: number): Buffer {
  if (length < 0x80) return Buffer.from([length]);
  const digits = length.toString(16);
  const bytes = Buffer.from(digits.padStart(digits.length + (digits.length % 2), '0'), 'hex');
  return Buffer.concat([Buffer.from([0x80 | bytes.length]), bytes]);
}

export const der = {
  sequence: (...parts: readonly Uint8Array[]): Buffer => tlv(0x30, ...parts),
  set: (...parts: readonly Uint8Array[]): Buffer => tlv(0x31, ...parts),
  octets: (content: Uint8Array): Buffer => tlv(0x04, content),
  utf8: (text: string): Buffer => tlv(0x0c, Buffer.from(text)),
  bool: (value: boolean): Buffer => tlv(0x01, Buffer.from([value ? 0xff : 0])),
  /** The bytes of an integer; the first must be neither 0 nor above 0x7f (shortest form, positive). */
  integer: (bytes: Uint8Array): Buffer => tlv(0x02, bytes),
  bits: (content: Uint8Array, unusedBits = 0): Buffer => tlv(0x03, Buffer.from([unusedBits]), content),
  /** [n] EXPLICIT or a constructed implicit tag. */
  tagged: (n: number, ...parts: readonly Uint8Array[]): Buffer => tlv(0xa0 | n, ...parts),
  /** [n] IMPLICIT of a primitive type. */
  implicit: (n: number, content: Uint8Array): Buffer => tlv(0x80 | n, content),
  oid,
  time,
} as const;

function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  return tlv(0x06, Buffer.from([first * 40 + second, ...rest.flatMap(base128)]));
}

function base128(value: number): number[] {
  const digits = [value % 128];
  for (let left = Math.floor(value / 128); left > 0; left = Math.floor(left / 128)) {
    digits.unshift((left % 128) | 0x80);
  }
  return digits;
}

/** RFC 5280: two-digit years until 2049, four digits from then on. */
function time(date: Date): Buffer {
  const text = `${date.toISOString().replace(/[-:T]|\.\d+/g, '')}`;
  return date.getUTCFullYear() < 2050 ? tlv(0x17, Buffer.from(text.slice(2))) : tlv(0x18, Buffer.from(text));
}
