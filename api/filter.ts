/**
 * The `filter=` of lists: `[not] FIELD eq|ne VALUE [and|or …]`, from left to
 * right, without precedence or brackets, as LXD reads it.
 */
import { Fault } from '../process/fault.ts';
import { compileSafely } from './safe-regexp.ts';

const MAX_LENGTH = 4096;
const MAX_CLAUSES = 64;

type Predicate = (value: unknown) => boolean;

/** A test for objects of a list; accepts everything when the text is empty. Fault bad_request when it is malformed. */
export function parseFilter(text: string): Predicate {
  if (text.length > MAX_LENGTH) {
    throw new Fault('bad_request', `filter is longer than ${String(MAX_LENGTH)} characters`);
  }
  const tokens = splitTokens(text);
  if (tokens.length === 0) return () => true;
  const clauses: { readonly joins: 'and' | 'or'; readonly test: Predicate }[] = [];
  let at = 0;
  let joins: 'and' | 'or' = 'and';
  for (;;) {
    const { test, next } = parseClause(tokens, at);
    clauses.push({ joins, test });
    if (clauses.length > MAX_CLAUSES) {
      throw new Fault('bad_request', `filter has more than ${String(MAX_CLAUSES)} clauses`);
    }
    if (next === tokens.length) break;
    joins = parseJoin(tokens[next] ?? '');
    at = next + 1;
  }
  return (value) =>
    clauses.reduce((so, { joins: how, test }, index) => {
      if (index === 0) return test(value);
      return how === 'and' ? so && test(value) : so || test(value);
    }, true);
}

function parseClause(tokens: readonly string[], from: number): { test: Predicate; next: number } {
  let at = from;
  const negated = tokens[at]?.toLowerCase() === 'not';
  if (negated) at += 1;
  const field = tokens[at];
  const operator = tokens[at + 1];
  const wanted = tokens[at + 2];
  if (field === undefined || operator === undefined || wanted === undefined) {
    throw new Fault(
      'bad_request',
      'filter is incomplete; write for example "name eq web1 and status eq Running"',
    );
  }
  // Same oddity as LXD: every operator but "ne" means "eq".
  const inverted = (operator.toLowerCase() === 'ne') !== negated;
  const path = field.split('.');
  const matches = textTest(wanted);
  return {
    test: (value) => {
      const text = comparable(lookUp(value, path));
      return (text !== null && matches(text)) !== inverted;
    },
    next: at + 3,
  };
}

function parseJoin(token: string): 'and' | 'or' {
  const word = token.toLowerCase();
  if (word === 'and' || word === 'or') return word;
  throw new Fault('bad_request', `filter has "${token.slice(0, 40)}" where "and" or "or" was expected`);
}

function textTest(wanted: string): (text: string) => boolean {
  const folded = wanted.toLowerCase();
  const isPlain = !/[\\^$.*+?()[\]{}|]/.test(wanted);
  if (isPlain) return (text) => text.toLowerCase() === folded;
  const pattern = /[$^]/.test(wanted) ? wanted : `^(?:${wanted})$`;
  return compileSafely(pattern) ?? ((text) => text.toLowerCase() === folded);
}

/** Differs: LXD 5.0 compares strings only; numbers and booleans compare here by their text, as in later versions. */
function comparable(value: unknown): string | null {
  if (typeof value === 'string') return value;
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : null;
}

/** Dots descend; inside a map of strings the rest of the path is one key. */
function lookUp(value: unknown, path: readonly string[]): unknown {
  let at: unknown = value;
  for (let i = 0; i < path.length; i++) {
    if (typeof at !== 'object' || at === null) return undefined;
    const rest = path.slice(i).join('.');
    const holder: object = at;
    if (Object.hasOwn(holder, rest)) return property(holder, rest);
    const key = path[i] ?? '';
    if (!Object.hasOwn(holder, key)) return undefined;
    at = property(holder, key);
  }
  return undefined;
}

function property(holder: object, key: string): unknown {
  const value: unknown = Reflect.get(holder, key);
  return value;
}

/** Blanks part tokens; double quotes keep them together. */
function splitTokens(text: string): string[] {
  const tokens: string[] = [];
  let token: string | null = null;
  let quoted = false;
  for (const letter of text) {
    if (letter === '"') {
      quoted = !quoted;
      token ??= '';
    } else if (!quoted && /\s/.test(letter)) {
      if (token !== null) tokens.push(token);
      token = null;
    } else {
      token = (token ?? '') + letter;
    }
  }
  if (quoted) throw new Fault('bad_request', 'filter has a quote that is not closed');
  if (token !== null) tokens.push(token);
  return tokens;
}
