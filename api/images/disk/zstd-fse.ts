/** Zstandard's finite state tables and the bit streams they are read with (RFC 8878, 4.1). */
import { damaged } from './source.ts';

const PADDING = 8;

/** Bits read from the end of a buffer to its start; a little beyond the start there are zeros. */
export class BackwardBits {
  /** The buffer with zeros on both sides, so that no read needs to look where it is. */
  private readonly bytes: Buffer;
  private at: number;

  constructor(input: Buffer) {
    const last = input.at(-1) ?? 0;
    if (last === 0) throw damaged('a zstd bit stream has no end');
    this.bytes = Buffer.alloc(input.length + 2 * PADDING);
    input.copy(this.bytes, PADDING);
    // The highest bit set marks the end.
    this.at = (PADDING + input.length - 1) * 8 + (31 - Math.clz32(last));
  }

  /** Bits left; negative when zeros were read beyond the start. */
  get left(): number {
    return this.at - PADDING * 8;
  }

  read(count: number): number {
    if (count > 24) {
      const high = this.read(count - 16);
      return high * 65_536 + this.read(16);
    }
    this.at -= count;
    if (this.at < 0) throw damaged('a zstd bit stream is cut short');
    const byte = this.at >>> 3;
    const { bytes } = this;
    const word =
      (bytes[byte] ?? 0) |
      ((bytes[byte + 1] ?? 0) << 8) |
      ((bytes[byte + 2] ?? 0) << 16) |
      ((bytes[byte + 3] ?? 0) << 24);
    return (word >>> (this.at & 7)) & ((1 << count) - 1);
  }
}

export class FseTable {
  readonly accuracy: number;
  readonly symbols: Uint8Array;
  private readonly bits: Uint8Array;
  private readonly bases: Uint16Array;

  constructor(accuracy: number, symbols: Uint8Array, bits: Uint8Array, bases: Uint16Array) {
    this.accuracy = accuracy;
    this.symbols = symbols;
    this.bits = bits;
    this.bases = bases;
  }

  /** The table that always says the same. */
  static single(symbol: number): FseTable {
    return new FseTable(0, Uint8Array.of(symbol), Uint8Array.of(0), Uint16Array.of(0));
  }

  next(state: number, from: BackwardBits): number {
    return (this.bases[state] ?? 0) + from.read(this.bits[state] ?? 0);
  }
}

function highest(value: number): number {
  return 31 - Math.clz32(value);
}

/** From the weights of symbols; -1 stands for "less than one". */
export function tableOf(weights: readonly number[], accuracy: number): FseTable {
  const size = 2 ** accuracy;
  const symbols = new Uint8Array(size);
  const counts = weights.map(Math.abs);
  let top = size - 1;
  for (const [symbol, weight] of weights.entries()) {
    if (weight !== -1) continue;
    symbols[top] = symbol;
    top -= 1;
  }
  const step = (size >>> 1) + (size >>> 3) + 3;
  let at = 0;
  for (const [symbol, weight] of weights.entries()) {
    for (let i = 0; i < weight; i += 1) {
      symbols[at] = symbol;
      do at = (at + step) & (size - 1);
      while (at > top);
    }
  }
  if (at !== 0) throw damaged('a zstd table is broken');
  const bits = new Uint8Array(size);
  const bases = new Uint16Array(size);
  for (const [i, symbol] of symbols.entries()) {
    const next = counts[symbol] ?? 0;
    counts[symbol] = next + 1;
    bits[i] = accuracy - highest(next);
    bases[i] = next * 2 ** (bits[i] ?? 0) - size;
  }
  return new FseTable(accuracy, symbols, bits, bases);
}

/** A table as it stands in the input, and how long it is there. */
export function forwardTable(input: Buffer, mostAccuracy: number): { table: FseTable; used: number } {
  let at = 0;
  const read = (count: number): number => {
    let value = 0;
    for (let i = 0; i < count; i += 1, at += 1) value |= ((input.readUInt8(at >>> 3) >>> (at & 7)) & 1) << i;
    return value;
  };
  const accuracy = read(4) + 5;
  if (accuracy > mostAccuracy) throw damaged('a zstd table is too large');
  const weights: number[] = [];
  let left = 2 ** accuracy;
  while (left > 0) {
    const count = highest(left + 1) + 1;
    const low = 2 ** (count - 1) - 1;
    const threshold = 2 ** count - 1 - (left + 1);
    let value = read(count);
    if ((value & low) < threshold) {
      at -= 1;
      value &= low;
    } else if (value > low) {
      value -= threshold;
    }
    weights.push(value - 1);
    left -= Math.abs(value - 1);
    for (let zeros = value === 1 ? 3 : 0; zeros === 3;) {
      zeros = read(2);
      for (let i = 0; i < zeros; i += 1) weights.push(0);
    }
    if (weights.length > 256) throw damaged('a zstd table has too many symbols');
  }
  if (left < 0) throw damaged('a zstd table is broken');
  return { table: tableOf(weights, accuracy), used: Math.ceil(at / 8) };
}
