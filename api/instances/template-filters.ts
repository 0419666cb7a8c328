/** The filters of the template language: those of Django that make sense for configuration files. Pure. */
import { Fault } from '../../process/fault.ts';
import { isMap, isTrue, numberOf, textOf } from './template-values.ts';
import type { Value } from './template-values.ts';

type Filter = (value: Value, arg: Value) => Value;

/** Widest padding a filter gives; images have no use for more. */
const MAX_PAD = 1000;

const FILTERS: Readonly<Record<string, Filter>> = {
  add: (value, arg) =>
    typeof value === 'number' && typeof arg === 'number' ? value + arg : textOf(value) + textOf(arg),
  addslashes: (value) => textOf(value).replace(/[\\"']/g, '\\$&'),
  capfirst: (value) => capitalise(textOf(value)),
  center: (value, arg) => {
    const text = textOf(value);
    const space = Math.max(0, pad(arg) - text.length);
    return ' '.repeat(Math.floor(space / 2)) + text + ' '.repeat(Math.ceil(space / 2));
  },
  cut: (value, arg) => (textOf(arg) === '' ? textOf(value) : textOf(value).replaceAll(textOf(arg), '')),
  default: (value, arg) => (isTrue(value) ? value : arg),
  default_if_none: (value, arg) => value ?? arg,
  divisibleby: (value, arg) => numberOf(arg) !== 0 && numberOf(value) % numberOf(arg) === 0,
  escape: (value) => value,
  first: (value) => listOf(value)[0] ?? null,
  float: numberOf,
  integer: (value) => Math.trunc(numberOf(value)),
  join: (value, arg) => listOf(value).map(textOf).join(textOf(arg)),
  last: (value) => listOf(value).at(-1) ?? null,
  length: (value) => (isMap(value) ? Object.keys(value).length : listOf(value).length),
  length_is: (value, arg) => listOf(value).length === numberOf(arg),
  linenumbers: (value) =>
    textOf(value)
      .split('\n')
      .map((line, i) => `${String(i + 1)}. ${line}`)
      .join('\n'),
  ljust: (value, arg) => textOf(value).padEnd(pad(arg)),
  lower: (value) => textOf(value).toLowerCase(),
  rjust: (value, arg) => textOf(value).padStart(pad(arg)),
  safe: (value) => value,
  slice: (value, arg) => slice(value, textOf(arg)),
  split: (value, arg) => (textOf(arg) === '' ? [textOf(value)] : textOf(value).split(textOf(arg))),
  title: (value) =>
    textOf(value)
      .toLowerCase()
      .replace(/(^|\s)\S/g, (match) => match.toUpperCase()),
  trim: (value) => textOf(value).trim(),
  truncatechars: (value, arg) => truncate(textOf(value), numberOf(arg)),
  upper: (value) => textOf(value).toUpperCase(),
  urlencode: (value) => encodeURIComponent(textOf(value)),
  wordcount: (value) =>
    textOf(value)
      .split(/\s+/)
      .filter((word) => word !== '').length,
  yesno: (value, arg) => {
    const [yes = 'yes', no = 'no', maybe = no] = arg === null ? [] : textOf(arg).split(',');
    return value === null ? maybe : isTrue(value) ? yes : no;
  },
};

/** Fault bad_request for a filter that is not known. */
export function applyFilter(name: string, value: Value, arg: Value | undefined): Value {
  const filter = Object.hasOwn(FILTERS, name) ? FILTERS[name] : undefined;
  if (filter === undefined) {
    throw new Fault(
      'bad_request',
      `the filter "${name}" is not known; these are: ${Object.keys(FILTERS).join(', ')}`,
    );
  }
  return filter(value, arg ?? null);
}

function pad(arg: Value): number {
  return Math.min(Math.max(numberOf(arg), 0), MAX_PAD);
}

function capitalise(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function listOf(value: Value): readonly Value[] {
  if (typeof value === 'string') return [...value];
  if (isMap(value)) return Object.values(value);
  return typeof value === 'object' && value !== null ? value : [];
}

function slice(value: Value, range: string): Value {
  const [from = '', to = ''] = range.split(':');
  const start = from === '' ? 0 : numberOf(from);
  const end = to === '' ? undefined : numberOf(to);
  return typeof value === 'string' ? value.slice(start, end) : listOf(value).slice(start, end);
}

function truncate(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, Math.max(0, length - 3))}...`;
}
