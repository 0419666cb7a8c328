/** Decompresses LZO1X, as the kernel documentation describes its stream ("LZO stream format"). */
import { damaged } from './source.ts';

class Reader {
  readonly out: Buffer;
  filled = 0;
  private readonly input: Buffer;
  private at = 0;

  constructor(input: Buffer, limit: number) {
    this.input = input;
    this.out = Buffer.allocUnsafe(limit);
  }

  byte(): number {
    const value = this.input.at(this.at);
    if (value === undefined) throw damaged('lzo data is cut short');
    this.at += 1;
    return value;
  }

  /** A length that does not fit: each zero adds 255. */
  longer(base: number): number {
    let length = base;
    let value = this.byte();
    for (; value === 0; value = this.byte()) length += 255;
    return length + value;
  }

  literals(count: number): void {
    if (this.filled + count > this.out.length || this.at + count > this.input.length) {
      throw damaged('lzo data is longer than it should be');
    }
    this.input.copy(this.out, this.filled, this.at, this.at + count);
    this.filled += count;
    this.at += count;
  }

  match(distance: number, length: number): void {
    if (distance > this.filled || this.filled + length > this.out.length) {
      throw damaged('lzo data is longer than it should be');
    }
    for (let i = 0; i < length; i += 1, this.filled += 1) {
      this.out[this.filled] = this.out[this.filled - distance] ?? 0;
    }
  }
}

/** At most `limit` bytes. Fault bad_request when it is damaged or longer. */
export function unlzo(input: Buffer, limit: number): Buffer {
  const reader = new Reader(input, limit);
  const first = input.at(0) ?? 0;
  /** Literals copied last: 0 to 3 behind a match, 4 for a long run. */
  let state = 0;
  if (first > 17) {
    reader.byte();
    reader.literals(first - 17);
    state = Math.min(first - 17, 4);
  }
  for (;;) {
    const code = reader.byte();
    if (code < 16 && state === 0) {
      reader.literals(code === 0 ? reader.longer(15) + 3 : code + 3);
      state = 4;
      continue;
    }
    const next = code < 16 ? shortMatch(reader, code, state) : longMatch(reader, code);
    if (next === null) return reader.out.subarray(0, reader.filled);
    reader.literals(next);
    state = next;
  }
}

/** Gives the number of literals that follow. */
function shortMatch(reader: Reader, code: number, state: number): number {
  const base = (reader.byte() << 2) + (code >>> 2);
  if (state === 4) reader.match(base + 2049, 3);
  else reader.match(base + 1, 2);
  return code & 3;
}

/** The same; null at the end of the stream. */
function longMatch(reader: Reader, code: number): number | null {
  if (code >= 64) {
    const distance = (reader.byte() << 3) + ((code >>> 2) & 7) + 1;
    reader.match(distance, (code >>> 5) + 1);
    return code & 3;
  }
  if (code >= 32) {
    const length = (code & 31) === 0 ? reader.longer(31) + 2 : (code & 31) + 2;
    const low = reader.byte();
    const rest = reader.byte();
    reader.match((rest << 6) + (low >>> 2) + 1, length);
    return low & 3;
  }
  const length = (code & 7) === 0 ? reader.longer(7) + 2 : (code & 7) + 2;
  const low = reader.byte();
  const rest = reader.byte();
  const distance = ((code & 8) << 11) + (rest << 6) + (low >>> 2);
  if (distance === 0) return null;
  reader.match(distance + 16_384, length);
  return low & 3;
}
