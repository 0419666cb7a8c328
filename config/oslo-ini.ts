/**
 * The syntax of nova.conf, as oslo.config reads it; slipway.conf is written in
 * it too.
 *
 * Repeated keys are kept in order (the last wins, unless the option takes many
 * values); a line that starts with white space continues the value above it; a
 * value may be wrapped in quotes; `$name`, `${name}` and `${group.name}` stand
 * for other options, `$$` and `\$` for a dollar sign. A percent sign means
 * nothing: `%(message)s` and `%%` come through as they are written, because
 * that is how oslo.config hands them on (an option whose own format doubles
 * them undoes that itself).
 */
import { Fault } from '../process/fault.ts';

/** One assignment and where it stands. */
export interface IniValue {
  readonly text: string;
  readonly file: string;
  readonly line: number;
}

/** Group -> key -> every value given to it, in the order of the files. */
export type IniGroups = Map<string, Map<string, IniValue[]>>;

/** oslo.config's name for options without a section. */
export const DEFAULT_GROUP = 'DEFAULT';

interface Reader {
  readonly file: string;
  readonly groups: IniGroups;
  group: string | null;
  open: { readonly key: string; readonly line: number; readonly lines: string[] } | null;
}

/**
 * Adds the options of one file to `groups`. Fault bad_request names the file
 * and the line of the first thing that is not nova.conf syntax.
 */
export function readIni(text: string, file: string, groups: IniGroups = new Map()): IniGroups {
  const reader: Reader = { file, groups, group: null, open: null };
  for (const [index, raw] of text.split('\n').entries()) {
    readLine(reader, raw.trimEnd(), index + 1);
  }
  closeValue(reader);
  return groups;
}

function readLine(reader: Reader, line: string, number: number): void {
  if (line === '') {
    closeValue(reader);
    return;
  }
  if (line.startsWith(' ') || line.startsWith('\t')) {
    if (reader.open === null) throw wrong(reader, number, 'a continuation line without an option above it');
    reader.open.lines.push(line.trimStart());
    return;
  }
  closeValue(reader);
  if (line.startsWith('#') || line.startsWith(';')) return;
  if (line.startsWith('[')) {
    if (!line.endsWith(']')) throw wrong(reader, number, 'a section that does not end with "]"');
    if (line.length <= 2) throw wrong(reader, number, 'a section without a name');
    reader.group = groupName(line.slice(1, -1));
    return;
  }
  openValue(reader, line, number);
}

function openValue(reader: Reader, line: string, number: number): void {
  const at = line.search(/[=:]/);
  if (at < 0) throw wrong(reader, number, 'no "=" after the name of an option');
  const key = optionName(line.slice(0, at));
  if (key === '') throw wrong(reader, number, 'an option without a name');
  // oslo.config refuses options above the first section; so do we.
  if (reader.group === null) throw wrong(reader, number, `option "${key}" stands before the first section`);
  reader.open = { key, line: number, lines: [unquoted(line.slice(at + 1).trim())] };
}

function closeValue(reader: Reader): void {
  const { open, group } = reader;
  reader.open = null;
  if (open === null || group === null) return;
  let options = reader.groups.get(group);
  if (options === undefined) reader.groups.set(group, (options = new Map()));
  const values = options.get(open.key) ?? [];
  values.push({ text: open.lines.join('\n'), file: reader.file, line: open.line });
  options.set(open.key, values);
}

/** Quotes at both ends belong to the syntax; quotes inside belong to the value. */
function unquoted(value: string): string {
  const first = value[0];
  if (value.length < 2 || (first !== '"' && first !== "'") || !value.endsWith(first)) return value;
  return value.slice(1, -1);
}

/** oslo.config takes `my-ip` and `my_ip` for the same option. */
function optionName(text: string): string {
  return text.trim().replaceAll('-', '_');
}

/** Section names are compared without case, but for the one that is written in capitals. */
function groupName(text: string): string {
  const name = text.trim();
  return name.toUpperCase() === DEFAULT_GROUP ? DEFAULT_GROUP : name.toLowerCase();
}

function wrong(reader: Reader, line: number, what: string): Fault {
  return new Fault('bad_request', `read ${reader.file}: line ${String(line)} has ${what}`, {
    facts: { file: reader.file, line },
  });
}

/** Looks up an option by group and name; undefined when it is neither set nor has a default. */
export type Lookup = (group: string, name: string) => string | undefined;

const REFERENCE = /\$(?:\$|\{(?:(\w+)\.)?(\w+)\}|(?:(\w+)\.)?(\w+))/g;
const DEEPEST = 10;

/**
 * Replaces `$name` by the option of that name, of `group` first, then of
 * DEFAULT. What names no option stays as it is, so a password may hold a
 * dollar sign. Fault bad_request when options refer to each other in a circle.
 */
export function substitute(value: string, group: string, lookup: Lookup, depth = 0): string {
  if (depth > DEEPEST) {
    throw new Fault('bad_request', `options refer to each other in a circle at "${value}"`);
  }
  const text = value.replaceAll('\\$', '$$$$');
  return text.replace(REFERENCE, (whole: string, ...found: (string | undefined)[]) => {
    if (whole === '$$') return '$';
    const [braceGroup, braceName, plainGroup, plainName] = found;
    const named = braceGroup ?? plainGroup;
    const name = braceName ?? plainName ?? '';
    const from = named === undefined ? group : groupName(named);
    let other = lookup(from, name);
    if (other === undefined && named === undefined) other = lookup(DEFAULT_GROUP, name);
    // `$host.example` without an option group `host` is `$host` and a text after it.
    if (other === undefined && plainGroup !== undefined) {
      const head = lookup(group, plainGroup) ?? lookup(DEFAULT_GROUP, plainGroup);
      if (head !== undefined) return `${substitute(head, group, lookup, depth + 1)}.${name}`;
    }
    return other === undefined ? whole : substitute(other, from, lookup, depth + 1);
  });
}
