/**
 * The template language of image templates: text -> tree.
 *
 * Pure. The subset of pongo2 (Django's language) that images use: variables,
 * filters, if/elif/else, for, set, comments. A tag that is not known is an
 * error that names it and its line.
 */
import { Fault } from '../../process/fault.ts';
import { parseExpression } from './template-expression.ts';
import type { Expression } from './template-expression.ts';

export type Node =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'output'; readonly value: Expression }
  | { readonly kind: 'if'; readonly branches: readonly Branch[]; readonly otherwise: readonly Node[] }
  | {
      readonly kind: 'for';
      readonly names: readonly string[];
      readonly over: Expression;
      readonly reversed: boolean;
      readonly body: readonly Node[];
      readonly empty: readonly Node[];
    }
  | { readonly kind: 'set'; readonly name: string; readonly value: Expression };

export interface Branch {
  readonly condition: Expression;
  readonly body: readonly Node[];
}

const MAX_TEMPLATE = 256 * 1024;
const MAX_TAG = 4096;
const MAX_DEPTH = 32;

interface Piece {
  readonly kind: 'text' | 'output' | 'tag';
  readonly text: string;
  readonly line: number;
}

/** Fault bad_request, with the line, for what is no template of this subset. */
export function parseTemplate(source: string): Node[] {
  if (source.length > MAX_TEMPLATE) {
    throw new Fault('bad_request', `the template is larger than ${String(MAX_TEMPLATE / 1024)} KiB`);
  }
  return new Parser(splitPieces(source)).parseAll();
}

function problem(line: number, text: string): Fault {
  return new Fault('bad_request', `line ${String(line)}: ${text}`);
}

const CLOSERS: Readonly<Record<string, string>> = { '{{': '}}', '{%': '%}', '{#': '#}' };

function splitPieces(source: string): Piece[] {
  const pieces: Piece[] = [];
  let at = 0;
  let line = 1;
  let trimNext = false;
  const pushText = (raw: string): void => {
    const text = trimNext ? raw.trimStart() : raw;
    if (text !== '') pieces.push({ kind: 'text', text, line });
  };
  while (at < source.length) {
    const open = nextOpener(source, at);
    const head = source.slice(at, open);
    const opener = source.slice(open, open + 2);
    const closer = CLOSERS[opener];
    if (closer === undefined) {
      pushText(head);
      break;
    }
    const trimsLeft = source[open + 2] === '-';
    pushText(trimsLeft ? head.trimEnd() : head);
    line += countLines(head);
    const end = findCloser(source, open + 2, closer);
    if (end < 0) throw problem(line, `"${opener}" has no "${closer}"`);
    if (opener !== '{#' && end - open > MAX_TAG)
      throw problem(line, `a tag is longer than ${String(MAX_TAG)} letters`);
    const inner = source.slice(open + 2 + (trimsLeft ? 1 : 0), end);
    trimNext = inner.endsWith('-');
    const text = (trimNext ? inner.slice(0, -1) : inner).trim();
    if (opener === '{{') pieces.push({ kind: 'output', text, line });
    if (opener === '{%') pieces.push({ kind: 'tag', text, line });
    line += countLines(inner);
    at = end + 2;
  }
  return pieces;
}

function nextOpener(source: string, from: number): number {
  for (let at = source.indexOf('{', from); at >= 0; at = source.indexOf('{', at + 1)) {
    const next = source[at + 1];
    if (next === '{' || next === '%' || next === '#') return at;
  }
  return source.length;
}

/** The end of a tag; a closer inside a quoted string does not count. */
function findCloser(source: string, from: number, closer: string): number {
  if (closer === '#}') return source.indexOf(closer, from);
  let quote = '';
  for (let at = from; at < source.length; at += 1) {
    const letter = source[at] ?? '';
    if (quote !== '') {
      if (letter === '\\') at += 1;
      else if (letter === quote) quote = '';
    } else if (letter === '"' || letter === "'") {
      quote = letter;
    } else if (source.startsWith(closer, at)) {
      return at;
    }
  }
  return -1;
}

function countLines(text: string): number {
  return text.split('\n').length - 1;
}

class Parser {
  private readonly pieces: readonly Piece[];
  private at = 0;
  private depth = 0;

  constructor(pieces: readonly Piece[]) {
    this.pieces = pieces;
  }

  parseAll(): Node[] {
    const { nodes, end } = this.parseUntil([]);
    if (end !== null) throw problem(end.line, `"${end.text}" has no beginning`);
    return nodes;
  }

  /** Nodes up to a tag whose first word is in `enders`, and that tag; null at the end of the text. */
  private parseUntil(enders: readonly string[]): { nodes: Node[]; end: Piece | null } {
    this.depth += 1;
    if (this.depth > MAX_DEPTH)
      throw new Fault('bad_request', `blocks are nested deeper than ${String(MAX_DEPTH)}`);
    const nodes: Node[] = [];
    for (;;) {
      const piece = this.pieces[this.at];
      if (piece === undefined) break;
      this.at += 1;
      if (piece.kind === 'text') nodes.push({ kind: 'text', text: piece.text });
      else if (piece.kind === 'output')
        nodes.push({ kind: 'output', value: this.expression(piece, piece.text) });
      else {
        const word = firstWord(piece.text);
        if (enders.includes(word) || isEnder(word)) {
          this.depth -= 1;
          return { nodes, end: piece };
        }
        nodes.push(...this.parseTag(piece, word));
      }
    }
    this.depth -= 1;
    return { nodes, end: null };
  }

  private parseTag(piece: Piece, word: string): Node[] {
    const rest = piece.text.slice(word.length).trim();
    switch (word) {
      case 'if':
        return [this.parseIf(piece, rest)];
      case 'for':
        return [this.parseFor(piece, rest)];
      case 'set':
        return [this.parseSet(piece, rest)];
      case 'comment':
        this.body(piece, ['endcomment']);
        return [];
      case 'autoescape':
        // Nothing is ever escaped: the results are files, not web pages.
        return this.body(piece, ['endautoescape']).nodes;
      default:
        throw problem(piece.line, `the tag "${word}" is not known; use if, for, set or comment`);
    }
  }

  private parseIf(piece: Piece, rest: string): Node {
    const branches: Branch[] = [];
    let condition = this.expression(piece, rest);
    for (;;) {
      const { nodes, end } = this.body(piece, ['elif', 'else', 'endif']);
      branches.push({ condition, body: nodes });
      const word = firstWord(end.text);
      if (word === 'endif') return { kind: 'if', branches, otherwise: [] };
      if (word === 'else') return { kind: 'if', branches, otherwise: this.body(piece, ['endif']).nodes };
      condition = this.expression(end, end.text.slice('elif'.length).trim());
    }
  }

  private parseFor(piece: Piece, rest: string): Node {
    const match = /^([A-Za-z_]\w*)(?:\s*,\s*([A-Za-z_]\w*))?\s+in\s+(.+?)(\s+reversed)?(\s+sorted)?$/s.exec(
      rest,
    );
    if (match === null)
      throw problem(piece.line, 'a for is written "for item in list" or "for key, value in map"');
    const [, first = '', second, over = '', reversed] = match;
    const { nodes, end } = this.body(piece, ['empty', 'endfor']);
    const empty = firstWord(end.text) === 'empty' ? this.body(piece, ['endfor']).nodes : [];
    return {
      kind: 'for',
      names: second === undefined ? [first] : [first, second],
      over: this.expression(piece, over),
      reversed: reversed !== undefined,
      body: nodes,
      empty,
    };
  }

  private parseSet(piece: Piece, rest: string): Node {
    const match = /^([A-Za-z_]\w*)\s*=\s*(.+)$/s.exec(rest);
    if (match === null) throw problem(piece.line, 'a set is written "set name = value"');
    return { kind: 'set', name: match[1] ?? '', value: this.expression(piece, match[2] ?? '') };
  }

  /** The nodes of a block and the tag that ends it. */
  private body(opened: Piece, enders: readonly string[]): { nodes: Node[]; end: Piece } {
    const { nodes, end } = this.parseUntil(enders);
    if (end === null)
      throw problem(opened.line, `"${firstWord(opened.text)}" has no "${enders.at(-1) ?? ''}"`);
    if (!enders.includes(firstWord(end.text))) {
      throw problem(end.line, `"${firstWord(end.text)}" does not end "${firstWord(opened.text)}"`);
    }
    return { nodes, end };
  }

  private expression(piece: Piece, text: string): Expression {
    try {
      return parseExpression(text);
    } catch (err) {
      if (err instanceof Fault) throw problem(piece.line, err.message);
      throw err;
    }
  }
}

function firstWord(text: string): string {
  return /^\S*/.exec(text)?.[0] ?? '';
}

function isEnder(word: string): boolean {
  return word.startsWith('end') || word === 'else' || word === 'elif' || word === 'empty';
}
