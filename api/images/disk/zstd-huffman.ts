/** Zstandard's Huffman codes for literals (RFC 8878, 4.2). */
import { BackwardBits, forwardTable } from './zstd-fse.ts';
import { damaged } from './source.ts';

const MAX_BITS = 11;

export class HuffmanTable {
  private readonly width: number;
  private readonly symbols: Uint8Array;
  private readonly bits: Uint8Array;

  private constructor(weights: readonly number[]) {
    const sum = weights.reduce((all, weight) => all + (weight > 0 ? 2 ** (weight - 1) : 0), 0);
    if (sum === 0) throw damaged('a zstd code has no symbols');
    this.width = 31 - Math.clz32(sum) + 1;
    const last = Math.log2(2 ** this.width - sum);
    if (this.width > MAX_BITS || !Number.isInteger(last)) throw damaged('a zstd code is broken');
    const all = [...weights, last + 1];
    this.symbols = new Uint8Array(2 ** this.width);
    this.bits = new Uint8Array(2 ** this.width);
    this.fill(all);
  }

  /** A table as it stands in the input, and how long it is there. */
  static read(input: Buffer): { table: HuffmanTable; used: number } {
    const head = input.readUInt8(0);
    if (head >= 128) {
      const count = head - 127;
      const weights = Array.from({ length: count }, (_, i) => {
        const byte = input.readUInt8(1 + (i >>> 1));
        return i % 2 === 0 ? byte >>> 4 : byte & 15;
      });
      return { table: new HuffmanTable(weights), used: 1 + Math.ceil(count / 2) };
    }
    if (1 + head > input.length) throw damaged('a zstd code is cut short');
    return { table: new HuffmanTable(packedWeights(input.subarray(1, 1 + head))), used: 1 + head };
  }

  /** Fills `out`. */
  decode(input: Buffer, out: Buffer): void {
    if (out.length === 0) return;
    const bits = new BackwardBits(input);
    const mask = 2 ** this.width - 1;
    let state = bits.read(this.width);
    for (let i = 0; i < out.length; i += 1) {
      out[i] = this.symbols[state] ?? 0;
      const count = this.bits[state] ?? 0;
      state = ((state << count) + bits.read(count)) & mask;
    }
  }

  /** Symbols of low weight first: they have the longest codes. */
  private fill(weights: readonly number[]): void {
    let at = 0;
    for (let weight = 1; weight <= this.width; weight += 1) {
      for (const [symbol, own] of weights.entries()) {
        if (own !== weight) continue;
        const length = 2 ** (weight - 1);
        this.symbols.fill(symbol, at, at + length);
        this.bits.fill(this.width + 1 - weight, at, at + length);
        at += length;
      }
    }
    if (at !== 2 ** this.width) throw damaged('a zstd code is broken');
  }
}

/** Two states take turns until the bits are used up. */
function packedWeights(input: Buffer): number[] {
  const { table, used } = forwardTable(input, 6);
  const bits = new BackwardBits(input.subarray(used));
  let own = bits.read(table.accuracy);
  let other = bits.read(table.accuracy);
  const weights: number[] = [];
  for (;;) {
    weights.push(table.symbols[own] ?? 0);
    if (weights.length > 255) throw damaged('a zstd code has too many symbols');
    const next = table.next(own, bits);
    if (bits.left < 0) {
      weights.push(table.symbols[other] ?? 0);
      return weights;
    }
    own = other;
    other = next;
  }
}
