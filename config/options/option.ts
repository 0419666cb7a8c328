/**
 * How an option is declared: a table of groups, each a table of options made
 * with the functions below. The readers, the sample file and the manual page
 * are made from these tables, so an option is described once.
 */
export interface Option<T> {
  readonly kind: string;
  /** What holds when nothing is written; shown as it is in the sample file. */
  readonly fallback: T;
  readonly help: string;
  /** True when a change takes effect only with the next start. */
  readonly restart: boolean;
  /** Shown in place of the default when that depends on other options. */
  readonly shown?: string;
  /** Never printed. */
  readonly secret: boolean;
  /** Group and name it had in older releases; read when nothing is written at its own place. */
  readonly formerly?: readonly [string, string];
  /** Throws an Error whose text says what the value must be. */
  parse(text: string): T;
}

/** An option that may be written several times; every value counts. */
export interface ManyOption<T> extends Option<readonly T[]> {
  readonly many: true;
  readonly one: Option<T>;
}

export type OptionTable = Readonly<Record<string, Readonly<Record<string, Option<unknown>>>>>;

/** The typed object a table is read into. */
export type ValuesOf<T extends OptionTable> = {
  readonly [G in keyof T]: {
    readonly [K in keyof T[G]]: T[G][K] extends Option<infer V> ? V : never;
  };
};

interface Common<T> {
  readonly fallback: T;
  readonly help: string;
  readonly restart?: boolean;
  readonly shown?: string;
  readonly secret?: boolean;
  readonly formerly?: readonly [string, string];
}

function option<T>(kind: string, given: Common<T>, parse: (text: string) => T): Option<T> {
  return {
    kind,
    fallback: given.fallback,
    help: given.help,
    restart: given.restart ?? true,
    secret: given.secret ?? false,
    ...(given.shown === undefined ? {} : { shown: given.shown }),
    ...(given.formerly === undefined ? {} : { formerly: given.formerly }),
    parse,
  };
}

export function textOption(given: Common<string>): Option<string> {
  return option('text', given, (text) => text);
}

/** A path; '' for none. */
export function pathOption(given: Common<string>): Option<string> {
  return option('path', given, (text) => {
    if (text !== '' && !text.startsWith('/')) throw new Error(`"${text}" is not a path that starts with "/"`);
    return text.length > 1 && text.endsWith('/') ? text.replace(/\/+$/, '') : text;
  });
}

export function choiceOption<const C extends string>(
  choices: readonly C[],
  given: Common<NoInfer<C>>,
): Option<C> {
  return option(`one of ${choices.join(', ')}`, given, (text) => {
    const found = choices.find((choice) => choice === text.toLowerCase());
    if (found === undefined) throw new Error(`"${text}" is none of ${choices.join(', ')}`);
    return found;
  });
}

/** The words oslo.config takes for a boolean. */
const BOOLEANS: Readonly<Record<string, boolean>> = {
  true: true,
  1: true,
  yes: true,
  on: true,
  false: false,
  0: false,
  no: false,
  off: false,
};

export function booleanOption(given: Common<boolean>): Option<boolean> {
  return option('true or false', given, (text) => {
    const value = BOOLEANS[text.toLowerCase()];
    if (value === undefined) throw new Error(`"${text}" is neither true nor false`);
    return value;
  });
}

export function integerOption(
  given: Common<number> & { readonly min: number; readonly max: number },
): Option<number> {
  return option(`integer, ${String(given.min)} to ${String(given.max)}`, given, (text) => {
    const value = /^[+-]?\d+$/.test(text) ? Number(text) : NaN;
    if (!(value >= given.min && value <= given.max)) {
      throw new Error(`"${text}" is not an integer from ${String(given.min)} to ${String(given.max)}`);
    }
    return value;
  });
}

export function numberOption(
  given: Common<number> & { readonly min: number; readonly max: number },
): Option<number> {
  return option(`number, ${String(given.min)} to ${String(given.max)}`, given, (text) => {
    const value = text === '' ? NaN : Number(text);
    if (!(value >= given.min && value <= given.max)) {
      throw new Error(`"${text}" is not a number from ${String(given.min)} to ${String(given.max)}`);
    }
    return value;
  });
}

/** A list in one value, parted by commas; empty parts are dropped. */
export function listOption(given: Common<readonly string[]>): Option<readonly string[]> {
  return option('list, parted by commas', given, (text) =>
    text
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== ''),
  );
}

/** An option that is repeated, one value a line (oslo.config's MultiOpt). */
export function manyOption<T>(one: Option<T>, given: Common<readonly T[]>): ManyOption<T> {
  return {
    ...option(`${one.kind}; may be repeated`, given, (text): readonly T[] => [one.parse(text)]),
    many: true,
    one,
  };
}

export function isMany(given: Option<unknown>): given is ManyOption<unknown> {
  return 'many' in given;
}
