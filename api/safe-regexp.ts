/**
 * Regular expressions that come from users, matched in linear time.
 *
 * LXD's filters use Go's engine, which cannot be made to backtrack; the
 * engine of this platform can, and would hold the daemon's only thread. So
 * the pattern becomes a small automaton whose states are followed side by
 * side: time is at most length of the text times size of the pattern.
 * Always case-insensitive. Back references and look-around do not exist, as in Go.
 */

const MAX_PATTERN = 256;
const MAX_PROGRAM = 1000;
const MAX_REPEAT = 200;

type Test = (unit: number) => boolean;

type Node =
  | { readonly kind: 'set'; readonly test: Test }
  | { readonly kind: 'edge'; readonly test: (before: number, after: number) => boolean }
  | { readonly kind: 'sequence'; readonly items: readonly Node[] }
  | { readonly kind: 'either'; readonly items: readonly Node[] }
  | { readonly kind: 'repeat'; readonly item: Node; readonly min: number; readonly max: number };

type Instruction =
  | { readonly kind: 'set'; readonly test: Test }
  | { readonly kind: 'edge'; readonly test: (before: number, after: number) => boolean }
  | { readonly kind: 'fork'; readonly targets: number[] }
  | { readonly kind: 'end' };

/** Stands before the first and after the last unit of a text. */
const OUTSIDE = -1;

/** Tells whether the pattern is found anywhere in a text; null when it is no valid pattern or a too large one. */
export function compileSafely(pattern: string): ((text: string) => boolean) | null {
  if (pattern.length > MAX_PATTERN) return null;
  try {
    const program: Instruction[] = [];
    emit(new Parser(pattern).whole(), program);
    program.push({ kind: 'end' });
    return (text) => isFound(program, text);
  } catch (err) {
    if (err instanceof PatternError) return null;
    throw err;
  }
}

class PatternError extends Error {}

class Parser {
  private readonly source: string;
  private at = 0;

  constructor(source: string) {
    this.source = source;
  }

  whole(): Node {
    const node = this.either();
    if (this.at < this.source.length) throw new PatternError('unbalanced bracket');
    return node;
  }

  private either(): Node {
    const items = [this.sequence()];
    while (this.take('|')) items.push(this.sequence());
    return items.length === 1 && items[0] !== undefined ? items[0] : { kind: 'either', items };
  }

  private sequence(): Node {
    const items: Node[] = [];
    while (this.at < this.source.length && !'|)'.includes(this.peek())) items.push(this.repeated());
    return { kind: 'sequence', items };
  }

  private repeated(): Node {
    let item = this.atom();
    for (let times = 0; times < 2; times++) {
      const range = this.range();
      if (range === null) return item;
      // A lazy quantifier finds the same texts, only other borders of them.
      this.take('?');
      item = { kind: 'repeat', item, ...range };
    }
    throw new PatternError('stacked quantifiers');
  }

  private range(): { min: number; max: number } | null {
    if (this.take('*')) return { min: 0, max: Infinity };
    if (this.take('+')) return { min: 1, max: Infinity };
    if (this.take('?')) return { min: 0, max: 1 };
    const counted = /^\{(\d{1,4})(?:(,)(\d{0,4}))?\}/.exec(this.source.slice(this.at));
    if (counted === null) return null;
    this.at += counted[0].length;
    const min = Number(counted[1]);
    const max = counted[2] === undefined ? min : counted[3] === '' ? Infinity : Number(counted[3]);
    if (min > MAX_REPEAT || (max !== Infinity && (max > MAX_REPEAT || max < min))) {
      throw new PatternError('bad repeat count');
    }
    return { min, max };
  }

  private atom(): Node {
    if (this.take('(')) return this.group();
    if (this.take('[')) return { kind: 'set', test: this.characterClass() };
    if (this.take('.')) return { kind: 'set', test: (unit) => unit !== 10 };
    if (this.take('^')) return { kind: 'edge', test: (before) => before === OUTSIDE };
    if (this.take('$')) return { kind: 'edge', test: (_before, after) => after === OUTSIDE };
    if ('*+?'.includes(this.peek())) throw new PatternError('nothing to repeat');
    if (this.take('\\')) return this.escape();
    return { kind: 'set', test: sameUnit(this.next()) };
  }

  private group(): Node {
    const head = /^\?(?:i?:|P?<\w+>|i\))/.exec(this.source.slice(this.at));
    if (head !== null) this.at += head[0].length;
    else if (this.peek() === '?') throw new PatternError('unknown group');
    if (head?.[0].endsWith(')') === true) return { kind: 'sequence', items: [] };
    const node = this.either();
    if (!this.take(')')) throw new PatternError('missing )');
    return node;
  }

  private escape(): Node {
    const letter = this.next();
    if (letter === 'A') return { kind: 'edge', test: (before) => before === OUTSIDE };
    if (letter === 'z') return { kind: 'edge', test: (_before, after) => after === OUTSIDE };
    if (letter === 'b') return { kind: 'edge', test: (a, b) => isWord(a) !== isWord(b) };
    if (letter === 'B') return { kind: 'edge', test: (a, b) => isWord(a) === isWord(b) };
    return { kind: 'set', test: escapeTest(letter) };
  }

  private characterClass(): Test {
    const negated = this.take('^');
    const tests: Test[] = [];
    do {
      tests.push(this.classItem());
    } while (!this.take(']'));
    const some: Test = (unit) => tests.some((test) => test(unit));
    return negated ? (unit) => !some(unit) : some;
  }

  private classItem(): Test {
    const from = this.next();
    if (from === '[' && this.peek() === ':') throw new PatternError('named class');
    if (from === '\\') {
      const letter = this.next();
      if (/[dDwWsS]/.test(letter) || this.peek() !== '-') return escapeTest(letter);
    }
    if (this.peek() !== '-' || this.source[this.at + 1] === ']') return sameUnit(from);
    this.at += 1;
    const to = this.take('\\') ? this.next() : this.next();
    const low = from.charCodeAt(0);
    const high = to.charCodeAt(0);
    if (low > high) throw new PatternError('range out of order');
    return foldedTest((unit) => unit >= low && unit <= high);
  }

  private peek(): string {
    return this.source[this.at] ?? '';
  }

  private next(): string {
    const unit = this.source[this.at];
    if (unit === undefined) throw new PatternError('pattern ends early');
    this.at += 1;
    return unit;
  }

  private take(unit: string): boolean {
    if (this.source[this.at] !== unit) return false;
    this.at += 1;
    return true;
  }
}

function escapeTest(letter: string): Test {
  const isDigit: Test = (unit) => unit >= 48 && unit <= 57;
  const isSpace: Test = (unit) => unit === 32 || (unit >= 9 && unit <= 13);
  switch (letter) {
    case 'd':
      return isDigit;
    case 'D':
      return (unit) => !isDigit(unit);
    case 'w':
      return isWord;
    case 'W':
      return (unit) => !isWord(unit);
    case 's':
      return isSpace;
    case 'S':
      return (unit) => !isSpace(unit);
    case 'n':
      return sameUnit('\n');
    case 't':
      return sameUnit('\t');
    case 'r':
      return sameUnit('\r');
    default:
      if (/[A-Za-z0-9]/.test(letter)) throw new PatternError('unknown escape');
      return sameUnit(letter);
  }
}

function isWord(unit: number): boolean {
  return (
    (unit >= 48 && unit <= 57) || (unit >= 65 && unit <= 90) || (unit >= 97 && unit <= 122) || unit === 95
  );
}

function sameUnit(letter: string): Test {
  const wanted = letter.charCodeAt(0);
  return foldedTest((unit) => unit === wanted);
}

/** Accepts a unit when its lower or upper case form passes. */
function foldedTest(test: Test): Test {
  return (unit) => {
    if (test(unit)) return true;
    const letter = String.fromCharCode(unit);
    return test(letter.toLowerCase().charCodeAt(0)) || test(letter.toUpperCase().charCodeAt(0));
  };
}

function emit(node: Node, program: Instruction[]): void {
  if (program.length > MAX_PROGRAM) throw new PatternError('pattern is too large');
  switch (node.kind) {
    case 'set':
    case 'edge':
      program.push(node);
      return;
    case 'sequence':
      for (const item of node.items) emit(item, program);
      return;
    case 'either':
      emitEither(node.items, program);
      return;
    case 'repeat':
      emitRepeat(node, program);
  }
}

function emitEither(items: readonly Node[], program: Instruction[]): void {
  const starts: number[] = [];
  const exits: number[][] = [];
  program.push({ kind: 'fork', targets: starts });
  for (const item of items) {
    starts.push(program.length);
    emit(item, program);
    const exit: number[] = [];
    exits.push(exit);
    program.push({ kind: 'fork', targets: exit });
  }
  for (const exit of exits) exit.push(program.length);
}

function emitRepeat(node: Extract<Node, { kind: 'repeat' }>, program: Instruction[]): void {
  for (let i = 0; i < node.min; i++) emit(node.item, program);
  if (node.max === Infinity) {
    const loop: number[] = [];
    const start = program.length;
    program.push({ kind: 'fork', targets: loop });
    loop.push(program.length);
    emit(node.item, program);
    program.push({ kind: 'fork', targets: [start] });
    loop.push(program.length);
    return;
  }
  const skips: number[][] = [];
  for (let i = node.min; i < node.max; i++) {
    const skip: number[] = [program.length + 1];
    skips.push(skip);
    program.push({ kind: 'fork', targets: skip });
    emit(node.item, program);
  }
  for (const skip of skips) skip.push(program.length);
}

function isFound(program: readonly Instruction[], text: string): boolean {
  const seen = new Int32Array(program.length).fill(-1);
  let states: number[] = [];
  for (let at = 0; at <= text.length; at++) {
    const before = at === 0 ? OUTSIDE : text.charCodeAt(at - 1);
    const after = at === text.length ? OUTSIDE : text.charCodeAt(at);
    // The search may begin at every position.
    const open = follow(program, [...states, 0], seen, at, before, after);
    if (open === null) return true;
    states = [];
    for (const state of open) {
      const instruction = program[state];
      if (instruction?.kind === 'set' && after !== OUTSIDE && instruction.test(after)) states.push(state + 1);
    }
  }
  return false;
}

/** All states reachable without taking a unit; null when the end is among them. */
function follow(
  program: readonly Instruction[],
  from: readonly number[],
  seen: Int32Array,
  mark: number,
  before: number,
  after: number,
): number[] | null {
  const open: number[] = [];
  const waiting = [...from];
  for (let state = waiting.pop(); state !== undefined; state = waiting.pop()) {
    if (seen[state] === mark) continue;
    seen[state] = mark;
    const instruction = program[state];
    if (instruction === undefined) continue;
    if (instruction.kind === 'end') return null;
    if (instruction.kind === 'fork') waiting.push(...instruction.targets);
    else if (instruction.kind === 'set') open.push(state);
    else if (instruction.test(before, after)) waiting.push(state + 1);
  }
  return open;
}
