/**
 * Decompresses one Zstandard frame held in memory (RFC 8878), for clusters of
 * qcow2 and extents of btrfs. Node has it built in only from 22.15 on, and
 * disks have too many small frames for a program to be run for each.
 *
 * Dictionaries are not known, and checksums not looked at: what was read is
 * checked as a whole elsewhere.
 */
import { BackwardBits, FseTable, forwardTable, tableOf } from './zstd-fse.ts';
import { HuffmanTable } from './zstd-huffman.ts';
import { damaged } from './source.ts';

const MAGIC = 0xfd2fb528;
const MAX_BLOCK = 128 * 1024;

interface State {
  readonly out: Buffer;
  filled: number;
  huffman: HuffmanTable | null;
  literalLengths: FseTable | null;
  offsets: FseTable | null;
  matchLengths: FseTable | null;
  readonly recent: [number, number, number];
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}

/** Smallest value and number of further bits of each code. */
const LENGTHS = {
  base: [...range(0, 16), 16, 18, 20, 22, 24, 28, 32, 40, 48, 64, ...range(7, 17).map((n) => 2 ** n)],
  bits: [...range(0, 16).fill(0), 1, 1, 1, 1, 2, 2, 3, 3, 4, ...range(6, 17)],
} as const;
const MATCHES = {
  base: [...range(3, 35), 35, 37, 39, 41, 43, 47, 51, 59, 67, 83, 99, ...range(7, 17).map((n) => 2 ** n + 3)],
  bits: [...range(0, 32).fill(0), 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, ...range(7, 17)],
} as const;

const LENGTH_TABLE = tableOf(
  [
    4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1,
    -1, -1,
  ],
  6,
);
const MATCH_TABLE = tableOf(
  [1, 4, 3, 2, 2, 2, 2, 2, 2, ...Array.from({ length: 37 }, () => 1), -1, -1, -1, -1, -1, -1, -1],
  6,
);
const OFFSET_TABLE = tableOf(
  [1, 1, 1, 1, 1, 1, 2, 2, 2, ...Array.from({ length: 15 }, () => 1), -1, -1, -1, -1, -1],
  5,
);

/** The first frame of a buffer, at most `limit` bytes of it. Fault bad_request when it is damaged or longer. */
export function unzstd(packed: Buffer, limit: number): Buffer {
  let at = frameHeader(packed);
  const state: State = {
    out: Buffer.allocUnsafe(limit),
    filled: 0,
    huffman: null,
    literalLengths: null,
    offsets: null,
    matchLengths: null,
    recent: [1, 4, 8],
  };
  for (let isLast = false; !isLast;) {
    const head = packed.readUIntLE(at, 3);
    at += 3;
    isLast = (head & 1) === 1;
    const size = head >>> 3;
    if (size > MAX_BLOCK) throw damaged('a zstd block is too large');
    at += block(state, (head >>> 1) & 3, size, packed.subarray(at));
  }
  return state.out.subarray(0, state.filled);
}

/** Length of the header. */
function frameHeader(packed: Buffer): number {
  if (packed.readUInt32LE(0) !== MAGIC) throw damaged('what should be zstd is not');
  const descriptor = packed.readUInt8(4);
  const isSingle = (descriptor & 0x20) !== 0;
  if ((descriptor & 3) !== 0) throw damaged('a zstd frame wants a dictionary');
  const sizeBytes = [isSingle ? 1 : 0, 2, 4, 8][descriptor >>> 6] ?? 0;
  return 5 + (isSingle ? 0 : 1) + sizeBytes;
}

/** Gives the bytes of the block in the input. */
function block(state: State, type: number, size: number, input: Buffer): number {
  if (type === 0) {
    emit(state, input.subarray(0, size), size);
    return size;
  }
  if (type === 1) {
    emit(state, Buffer.alloc(size, input.readUInt8(0)), size);
    return 1;
  }
  if (type === 3 || size > input.length) throw damaged('a zstd block is cut short');
  compressed(state, input.subarray(0, size));
  return size;
}

function emit(state: State, bytes: Buffer, wanted: number): void {
  if (bytes.length !== wanted || state.filled + wanted > state.out.length) {
    throw damaged('a zstd frame is longer than it should be, or cut short');
  }
  bytes.copy(state.out, state.filled);
  state.filled += wanted;
}

function compressed(state: State, input: Buffer): void {
  const { literals, used } = literalsOf(state, input);
  sequences(state, literals, input.subarray(used));
}

interface Literals {
  readonly literals: Buffer;
  readonly used: number;
}

function literalsOf(state: State, input: Buffer): Literals {
  const first = input.readUInt8(0);
  const type = first & 3;
  const format = (first >>> 2) & 3;
  if (type >= 2) return huffmanLiterals(state, input, type === 3, format);
  const headBytes = (format & 1) === 0 ? 1 : format === 1 ? 2 : 3;
  const size = input.readUIntLE(0, headBytes) >>> (headBytes === 1 ? 3 : 4);
  if (size > MAX_BLOCK) throw damaged('zstd literals are too long');
  if (type === 1) return { literals: Buffer.alloc(size, input.readUInt8(headBytes)), used: headBytes + 1 };
  if (headBytes + size > input.length) throw damaged('zstd literals are cut short');
  return { literals: input.subarray(headBytes, headBytes + size), used: headBytes + size };
}

function huffmanLiterals(state: State, input: Buffer, isRepeated: boolean, format: number): Literals {
  const headBytes = [3, 3, 4, 5][format] ?? 3;
  const bits = [10, 10, 14, 18][format] ?? 10;
  const head = Math.floor(input.readUIntLE(0, headBytes) / 16);
  const size = head % 2 ** bits;
  const packedSize = Math.floor(head / 2 ** bits);
  const used = headBytes + packedSize;
  if (size > MAX_BLOCK || used > input.length) throw damaged('zstd literals are cut short');
  let packed = input.subarray(headBytes, used);
  if (!isRepeated) {
    const made = HuffmanTable.read(packed);
    state.huffman = made.table;
    packed = packed.subarray(made.used);
  }
  if (state.huffman === null) throw damaged('zstd literals have no table');
  const literals = Buffer.allocUnsafe(size);
  if (format === 0) state.huffman.decode(packed, literals);
  else fourStreams(state.huffman, packed, literals);
  return { literals, used };
}

function fourStreams(table: HuffmanTable, packed: Buffer, literals: Buffer): void {
  const each = Math.floor((literals.length + 3) / 4);
  let from = 6;
  for (let i = 0; i < 4; i += 1) {
    const to = i < 3 ? from + packed.readUInt16LE(i * 2) : packed.length;
    if (to > packed.length) throw damaged('zstd literals are cut short');
    table.decode(
      packed.subarray(from, to),
      literals.subarray(each * i, i < 3 ? each * (i + 1) : literals.length),
    );
    from = to;
  }
}

function sequences(state: State, literals: Buffer, input: Buffer): void {
  const first = input.readUInt8(0);
  if (first === 0) {
    emit(state, literals, literals.length);
    return;
  }
  let at = first < 128 ? 1 : first < 255 ? 2 : 3;
  const count =
    at === 1 ? first : at === 2 ? (first - 128) * 256 + input.readUInt8(1) : input.readUInt16LE(1) + 0x7f00;
  const modes = input.readUInt8(at);
  at += 1;
  const pick = (mode: number, known: FseTable | null, standard: FseTable, most: number): FseTable => {
    if (mode === 0) return standard;
    if (mode === 3 && known !== null) return known;
    if (mode === 3) throw damaged('a zstd table is missing');
    if (mode === 1) {
      at += 1;
      return FseTable.single(input.readUInt8(at - 1));
    }
    const made = forwardTable(input.subarray(at), most);
    at += made.used;
    return made.table;
  };
  state.literalLengths = pick(modes >>> 6, state.literalLengths, LENGTH_TABLE, 9);
  state.offsets = pick((modes >>> 4) & 3, state.offsets, OFFSET_TABLE, 8);
  state.matchLengths = pick((modes >>> 2) & 3, state.matchLengths, MATCH_TABLE, 9);
  const tables = [state.literalLengths, state.offsets, state.matchLengths] as const;
  execute(state, literals, new BackwardBits(input.subarray(at)), tables, count);
}

function execute(
  state: State,
  literals: Buffer,
  bits: BackwardBits,
  [lengths, offsets, matches]: readonly [FseTable, FseTable, FseTable],
  count: number,
): void {
  let length = bits.read(lengths.accuracy);
  let offset = bits.read(offsets.accuracy);
  let match = bits.read(matches.accuracy);
  let literal = 0;
  for (let i = 0; i < count; i += 1) {
    const code = offsets.symbols[offset] ?? 0;
    if (code > 31) throw damaged('a zstd offset is impossible');
    const far = 2 ** code + bits.read(code);
    const matchCode = matches.symbols[match] ?? 0;
    const lengthCode = lengths.symbols[length] ?? 0;
    const matched = (MATCHES.base[matchCode] ?? NaN) + bits.read(MATCHES.bits[matchCode] ?? 0);
    const plain = (LENGTHS.base[lengthCode] ?? NaN) + bits.read(LENGTHS.bits[lengthCode] ?? 0);
    if (!(matched > 0 && plain >= 0)) throw damaged('a zstd code is impossible');
    if (i < count - 1) {
      length = lengths.next(length, bits);
      match = matches.next(match, bits);
      offset = offsets.next(offset, bits);
    }
    copyLiterals(state, literals, literal, plain);
    literal += plain;
    repeat(state, distance(state.recent, far, plain), matched);
  }
  emit(state, literals.subarray(literal), literals.length - literal);
}

/** Most are a few bytes long: a loop beats a call for those. */
function copyLiterals(state: State, literals: Buffer, from: number, length: number): void {
  const { out, filled } = state;
  if (from + length > literals.length || filled + length > out.length) {
    throw damaged('a zstd frame is longer than it should be, or cut short');
  }
  if (length > 32) literals.copy(out, filled, from, from + length);
  else for (let i = 0; i < length; i += 1) out[filled + i] = literals[from + i] ?? 0;
  state.filled += length;
}

/** How far back a match is; the last three distances have short names. */
function distance(recent: [number, number, number], value: number, literals: number): number {
  const [first, second, third] = recent;
  if (value > 3) {
    recent[0] = value - 3;
    recent[1] = first;
    recent[2] = second;
    return value - 3;
  }
  const index = value - 1 + (literals === 0 ? 1 : 0);
  if (index === 0) return first;
  const found = index === 1 ? second : index === 2 ? third : first - 1;
  recent[0] = found;
  recent[1] = first;
  recent[2] = index === 1 ? third : second;
  return found;
}

function repeat(state: State, back: number, length: number): void {
  const { out, filled } = state;
  if (back <= 0 || back > filled || filled + length > out.length) throw damaged('a zstd match is impossible');
  if (back >= length && length > 32) {
    out.copyWithin(filled, filled - back, filled - back + length);
  } else {
    for (let i = 0; i < length; i += 1) out[filled + i] = out[filled + i - back] ?? 0;
  }
  state.filled += length;
}
