/**
 * Renders a parsed template. Pure, and bounded: output, loop passes and the
 * length of every value in between have limits, since templates come from images.
 */
import { Fault } from '../../process/fault.ts';
import type { Expression } from './template-expression.ts';
import type { Node } from './template-parse.ts';
import { applyFilter } from './template-filters.ts';
import { isList, isMap, isTrue, numberOf, textOf } from './template-values.ts';
import type { Value, ValueMap } from './template-values.ts';

const MAX_OUTPUT = 1024 * 1024;
/** Units of work; one is a node, an expression, or a thousand letters of a value. */
const BUDGET = 200_000;

/** Fault bad_request for an unknown filter or a template that grows without end. */
export function renderNodes(nodes: readonly Node[], variables: ValueMap): string {
  const renderer = new Renderer(variables);
  renderer.run(nodes);
  return renderer.text();
}

class Renderer {
  private readonly scopes: Map<string, Value>[];
  private readonly out: string[] = [];
  private size = 0;
  private left = BUDGET;

  constructor(variables: ValueMap) {
    this.scopes = [new Map(Object.entries(variables))];
  }

  text(): string {
    return this.out.join('');
  }

  run(nodes: readonly Node[]): void {
    for (const node of nodes) this.runOne(node);
  }

  private spend(units: number): void {
    this.left -= units;
    if (this.left < 0)
      throw new Fault('bad_request', 'the template does too much work; its loops may be too long');
  }

  private runOne(node: Node): void {
    this.spend(1);
    switch (node.kind) {
      case 'text':
        this.write(node.text);
        return;
      case 'output':
        this.write(textOf(this.evaluate(node.value)));
        return;
      case 'set':
        this.scopes.at(-1)?.set(node.name, this.evaluate(node.value));
        return;
      case 'if': {
        const branch = node.branches.find((b) => isTrue(this.evaluate(b.condition)));
        this.run(branch?.body ?? node.otherwise);
        return;
      }
      case 'for':
        this.runFor(node);
    }
  }

  private runFor(node: Extract<Node, { kind: 'for' }>): void {
    const entries = entriesOf(this.evaluate(node.over));
    if (node.reversed) entries.reverse();
    if (entries.length === 0) {
      this.run(node.empty);
      return;
    }
    const [first = '', second] = node.names;
    entries.forEach(([key, value], index) => {
      this.spend(1);
      const scope = new Map<string, Value>([['forloop', loopFacts(index, entries.length)]]);
      // One name stands for the items of a list and the keys of a map, as in pongo2.
      scope.set(first, second === undefined && typeof key === 'number' ? value : key);
      if (second !== undefined) scope.set(second, value);
      this.scopes.push(scope);
      this.run(node.body);
      this.scopes.pop();
    });
  }

  private write(text: string): void {
    this.size += text.length;
    if (this.size > MAX_OUTPUT) throw new Fault('bad_request', 'the result is larger than 1 MiB');
    this.out.push(text);
  }

  private evaluate(expression: Expression): Value {
    const value = this.evaluateFree(expression);
    this.spend(1 + (typeof value === 'string' ? Math.floor(value.length / 1000) : 0));
    return value;
  }

  private evaluateFree(expression: Expression): Value {
    switch (expression.kind) {
      case 'literal':
        return expression.value;
      case 'variable':
        return this.lookUp(expression.name);
      case 'member':
        return memberOf(this.evaluate(expression.of), this.evaluate(expression.key));
      case 'call': {
        const target = this.evaluate(expression.of);
        if (typeof target !== 'function') throw new Fault('bad_request', 'only config_get can be called');
        return target(...expression.args.map((arg) => this.evaluate(arg)));
      }
      case 'filter': {
        const arg = expression.arg === null ? undefined : this.evaluate(expression.arg);
        return bounded(applyFilter(expression.name, this.evaluate(expression.of), arg));
      }
      case 'not':
        return !isTrue(this.evaluate(expression.of));
      case 'negative':
        return -numberOf(this.evaluate(expression.of));
      case 'binary':
        return this.binary(expression);
    }
  }

  private binary({ op, left, right }: Extract<Expression, { kind: 'binary' }>): Value {
    const a = this.evaluate(left);
    if (op === 'or' || op === '||') return isTrue(a) || isTrue(this.evaluate(right));
    if (op === 'and' || op === '&&') return isTrue(a) && isTrue(this.evaluate(right));
    const b = this.evaluate(right);
    switch (op) {
      case '==':
        return isEqual(a, b);
      case '!=':
      case '<>':
        return !isEqual(a, b);
      case 'in':
        return isIn(a, b);
      case '+':
        return typeof a === 'string' || typeof b === 'string'
          ? bounded(textOf(a) + textOf(b))
          : numberOf(a) + numberOf(b);
      default:
        return calculate(op, numberOf(a), numberOf(b));
    }
  }

  private lookUp(name: string): Value {
    for (let i = this.scopes.length - 1; i >= 0; i -= 1) {
      const found = this.scopes[i]?.get(name);
      if (found !== undefined) return found;
    }
    return null;
  }
}

function calculate(op: string, a: number, b: number): Value {
  switch (op) {
    case '<':
      return a < b;
    case '<=':
      return a <= b;
    case '>':
      return a > b;
    case '>=':
      return a >= b;
    case '-':
      return a - b;
    case '*':
      return a * b;
    default:
      if (b === 0) throw new Fault('bad_request', 'a division by zero');
      return op === '%' ? a % b : a / b;
  }
}

function loopFacts(index: number, length: number): ValueMap {
  return {
    Counter: index + 1,
    Counter0: index,
    Revcounter: length - index,
    Revcounter0: length - index - 1,
    First: index === 0,
    Last: index === length - 1,
  };
}

function bounded(value: Value): Value {
  if (typeof value === 'string' && value.length > MAX_OUTPUT) {
    throw new Fault('bad_request', 'a value is larger than 1 MiB');
  }
  return value;
}

function isEqual(a: Value, b: Value): boolean {
  if (typeof a === 'object' || typeof b === 'object') return JSON.stringify(a) === JSON.stringify(b);
  return a === b;
}

function isIn(item: Value, holder: Value): boolean {
  if (typeof holder === 'string') return holder.includes(textOf(item));
  if (isList(holder)) return holder.some((other) => isEqual(other, item));
  return isMap(holder) && Object.hasOwn(holder, textOf(item));
}

function memberOf(holder: Value, key: Value): Value {
  if (isList(holder)) return holder[numberOf(key)] ?? null;
  const name = textOf(key);
  return isMap(holder) && Object.hasOwn(holder, name) ? (holder[name] ?? null) : null;
}

function entriesOf(value: Value): [string | number, Value][] {
  if (isList(value)) return value.map((item, index) => [index, item]);
  if (isMap(value)) return Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return typeof value === 'string' ? [...value].map((letter, index) => [index, letter]) : [];
}
