/** From the groups of an ini file to the typed values of an option table. */
import { Fault } from '../process/fault.ts';
import { substitute, type IniGroups, type IniValue } from './oslo-ini.ts';
import { isMany, type Option, type OptionTable, type ValuesOf } from './options/option.ts';

export interface ReadOptions<T extends OptionTable> {
  readonly values: ValuesOf<T>;
  /** One line for each option or group that the table does not know. */
  readonly warnings: readonly string[];
}

/**
 * Reads every option of `table`. Fault bad_request names the first option with
 * a wrong value, the value and the place it stands.
 */
export function readOptions<T extends OptionTable>(table: T, groups: IniGroups): ReadOptions<T> {
  const values: Record<string, Record<string, unknown>> = {};
  for (const [group, options] of Object.entries(table)) {
    const mine: Record<string, unknown> = {};
    for (const [name, option] of Object.entries(options)) {
      mine[name] = readOption(table, groups, group, name, option);
    }
    values[group] = Object.freeze(mine);
  }
  return {
    // The loop above goes through the same table that ValuesOf maps.
    values: Object.freeze(values) as ValuesOf<T>,
    warnings: unknownOptions(table, groups),
  };
}

function readOption(
  table: OptionTable,
  groups: IniGroups,
  group: string,
  name: string,
  option: Option<unknown>,
): unknown {
  const given = writtenAt(groups, group, name) ?? writtenAt(groups, ...(option.formerly ?? ['', ''])) ?? [];
  const last = given.at(-1);
  if (last === undefined) return option.fallback;
  const parse = (parser: Option<unknown>, value: IniValue): unknown => {
    try {
      return parser.parse(substitute(value.text, group, (g, n) => textOf(table, groups, g, n)));
    } catch (cause) {
      const place = `${value.file} line ${String(value.line)}`;
      throw new Fault('bad_request', `option [${group}] ${name} (${place})`, { cause });
    }
  };
  return isMany(option) ? given.map((value) => parse(option.one, value)) : parse(option, last);
}

function writtenAt(groups: IniGroups, group: string, name: string): readonly IniValue[] | undefined {
  return groups.get(group)?.get(name);
}

/** What is written in one group, known options or not, with `$name` replaced; the last value of each. */
export function readTexts(table: OptionTable, groups: IniGroups, group: string): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const [name, values] of groups.get(group) ?? []) {
    const last = values.at(-1);
    if (last !== undefined) texts[name] = substitute(last.text, group, (g, n) => textOf(table, groups, g, n));
  }
  return texts;
}

/** The text of an option for `$name`: as written, else its default. */
function textOf(table: OptionTable, groups: IniGroups, group: string, name: string): string | undefined {
  const written = groups.get(group)?.get(name)?.at(-1);
  if (written !== undefined) return written.text;
  const fallback = table[group]?.[name]?.fallback;
  if (typeof fallback === 'string') return fallback;
  return typeof fallback === 'number' || typeof fallback === 'boolean' ? String(fallback) : undefined;
}

function unknownOptions(table: OptionTable, groups: IniGroups): string[] {
  const warnings: string[] = [];
  const former = new Set(
    Object.values(table).flatMap((options) =>
      Object.values(options).flatMap(({ formerly }) => (formerly === undefined ? [] : [formerly.join(' ')])),
    ),
  );
  for (const [group, options] of groups) {
    const known = table[group];
    for (const [name, values] of options) {
      if (known?.[name] !== undefined || former.has(`${group} ${name}`)) continue;
      const first = values[0];
      const place = first === undefined ? '' : ` (${first.file} line ${String(first.line)})`;
      warnings.push(`unknown option [${group}] ${name}${place} is ignored`);
    }
  }
  return warnings;
}
