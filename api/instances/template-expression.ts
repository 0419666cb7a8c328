/**
 * Expressions of the template language: text -> tree. Pure.
 *
 *   or:  and:  not:  comparison:  sum:  product:  value|filter:argument
 */
import { Fault } from '../../process/fault.ts';

export type Expression =
  | { readonly kind: 'literal'; readonly value: string | number | boolean | null }
  | { readonly kind: 'variable'; readonly name: string }
  | { readonly kind: 'member'; readonly of: Expression; readonly key: Expression }
  | { readonly kind: 'call'; readonly of: Expression; readonly args: readonly Expression[] }
  | {
      readonly kind: 'filter';
      readonly of: Expression;
      readonly name: string;
      readonly arg: Expression | null;
    }
  | { readonly kind: 'not' | 'negative'; readonly of: Expression }
  | { readonly kind: 'binary'; readonly op: string; readonly left: Expression; readonly right: Expression };

interface Token {
  readonly kind: 'word' | 'string' | 'number' | 'sign';
  readonly text: string;
}

const MAX_DEPTH = 40;
const TOKEN =
  /\s*(?:([A-Za-z_]\w*)|(\d+(?:\.\d+)?)|"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|(==|!=|<>|<=|>=|&&|\|\||[-+*/%<>!|:.,()[\]]))/sy;

/** Binary operators from the loosest to the tightest. */
const LEVELS: readonly (readonly string[])[] = [
  ['or', '||'],
  ['and', '&&'],
  ['==', '!=', '<>', '<', '<=', '>', '>=', 'in'],
  ['+', '-'],
  ['*', '/', '%'],
];
const COMPARISON = 2;

/** Fault bad_request for text that is no expression. */
export function parseExpression(text: string): Expression {
  const parser = new ExpressionParser(tokensOf(text));
  return parser.parseWhole(text);
}

function tokensOf(text: string): Token[] {
  const tokens: Token[] = [];
  const whole = text.trimEnd();
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < whole.length) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(whole);
    if (match === null) throw new Fault('bad_request', `"${whole.slice(at, at + 20)}" is not understood`);
    const [, word, number, double, single, sign] = match;
    if (word !== undefined) tokens.push({ kind: 'word', text: word });
    else if (number !== undefined) tokens.push({ kind: 'number', text: number });
    else if (sign !== undefined) tokens.push({ kind: 'sign', text: sign });
    else tokens.push({ kind: 'string', text: unescape(double ?? single ?? '') });
  }
  return tokens;
}

function unescape(text: string): string {
  const known: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r' };
  return text.replace(/\\(.)/gs, (_, letter: string) => known[letter] ?? letter);
}

class ExpressionParser {
  private readonly tokens: readonly Token[];
  private at = 0;
  private depth = 0;

  constructor(tokens: readonly Token[]) {
    this.tokens = tokens;
  }

  parseWhole(text: string): Expression {
    const expression = this.parse();
    const left = this.tokens[this.at];
    if (left !== undefined)
      throw new Fault('bad_request', `"${left.text}" in "${text.slice(0, 60)}" is out of place`);
    return expression;
  }

  private parse(): Expression {
    this.depth += 1;
    if (this.depth > MAX_DEPTH) throw new Fault('bad_request', 'an expression is nested too deep');
    const expression = this.parseLevel(0);
    this.depth -= 1;
    return expression;
  }

  private parseLevel(level: number): Expression {
    const operators = LEVELS[level];
    if (operators === undefined) return this.parseFiltered();
    if (level === COMPARISON && (this.takes('not') || this.takes('!'))) {
      return { kind: 'not', of: this.guarded(() => this.parseLevel(level)) };
    }
    let left = this.parseLevel(level + 1);
    for (;;) {
      const op = this.takeOperator(operators, level);
      if (op === null) return left;
      left = { kind: 'binary', op, left, right: this.parseLevel(level + 1) };
      if (op === 'not in') left = { kind: 'not', of: { ...left, op: 'in' } };
    }
  }

  private takeOperator(operators: readonly string[], level: number): string | null {
    const token = this.tokens[this.at];
    if (token === undefined || token.kind === 'string' || token.kind === 'number') return null;
    const next = this.tokens[this.at + 1];
    if (level === COMPARISON && token.text === 'not' && next?.kind === 'word' && next.text === 'in') {
      this.at += 2;
      return 'not in';
    }
    if (!operators.includes(token.text)) return null;
    this.at += 1;
    return token.text;
  }

  private guarded(work: () => Expression): Expression {
    this.depth += 1;
    if (this.depth > MAX_DEPTH) throw new Fault('bad_request', 'an expression is nested too deep');
    const expression = work();
    this.depth -= 1;
    return expression;
  }

  private parseFiltered(): Expression {
    if (this.takes('-')) return { kind: 'negative', of: this.guarded(() => this.parseFiltered()) };
    let value = this.parseMembers();
    while (this.takes('|')) {
      const name = this.takeWord('a filter');
      const arg = this.takes(':') ? this.parseMembers() : null;
      value = { kind: 'filter', of: value, name, arg };
    }
    return value;
  }

  private parseMembers(): Expression {
    let value = this.parsePrimary();
    for (;;) {
      if (this.takes('.')) {
        value = { kind: 'member', of: value, key: this.takeKey() };
      } else if (this.takes('[')) {
        const key = this.parse();
        this.must(']');
        value = { kind: 'member', of: value, key };
      } else if (this.takes('(')) {
        value = { kind: 'call', of: value, args: this.parseArguments() };
      } else {
        return value;
      }
    }
  }

  private parseArguments(): Expression[] {
    const args: Expression[] = [];
    if (this.takes(')')) return args;
    do args.push(this.parse());
    while (this.takes(','));
    this.must(')');
    return args;
  }

  private parsePrimary(): Expression {
    const token = this.tokens[this.at];
    if (token === undefined) throw new Fault('bad_request', 'a value is missing');
    this.at += 1;
    if (token.kind === 'string') return { kind: 'literal', value: token.text };
    if (token.kind === 'number') return { kind: 'literal', value: Number(token.text) };
    if (token.kind === 'word') return wordValue(token.text);
    if (token.text !== '(') throw new Fault('bad_request', `"${token.text}" is out of place`);
    const inner = this.parse();
    this.must(')');
    return inner;
  }

  private takeKey(): Expression {
    const token = this.tokens[this.at];
    if (token?.kind !== 'word' && token?.kind !== 'number')
      throw new Fault('bad_request', 'a name is missing behind "."');
    this.at += 1;
    return { kind: 'literal', value: token.text };
  }

  private takeWord(what: string): string {
    const token = this.tokens[this.at];
    if (token?.kind !== 'word') throw new Fault('bad_request', `${what} is missing`);
    this.at += 1;
    return token.text;
  }

  private takes(text: string): boolean {
    const token = this.tokens[this.at];
    if (token === undefined || token.kind === 'string' || token.text !== text) return false;
    this.at += 1;
    return true;
  }

  private must(text: string): void {
    if (!this.takes(text)) throw new Fault('bad_request', `"${text}" is missing`);
  }
}

function wordValue(word: string): Expression {
  switch (word.toLowerCase()) {
    case 'true':
      return { kind: 'literal', value: true };
    case 'false':
      return { kind: 'literal', value: false };
    case 'nil':
    case 'none':
      return { kind: 'literal', value: null };
    default:
      return { kind: 'variable', name: word };
  }
}
