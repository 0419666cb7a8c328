/**
 * Where a text stops being JSON. The platform's own message names the place
 * for some mistakes only. Called for texts that JSON.parse has refused.
 */

type Expect = 'value' | 'value-or-end' | 'key' | 'key-or-end' | 'colon' | 'more';

/** `line 3, column 14`, counted from 1; or `its end` for a text that stops early. */
export function jsonErrorPlace(text: string): string {
  const offset = errorOffset(text);
  if (offset >= text.length) return 'its end';
  const before = text.slice(0, offset);
  const line = before.split('\n').length;
  const column = offset - before.lastIndexOf('\n');
  return `line ${String(line)}, column ${String(column)}`;
}

function errorOffset(text: string): number {
  const open: ('{' | '[')[] = [];
  let expect: Expect = 'value';
  let at = 0;
  for (;;) {
    at = skipBlanks(text, at);
    const letter: string | undefined = text[at];
    if (letter === undefined) return at;
    const wantsKey: boolean = expect === 'key' || expect === 'key-or-end';
    const wantsValue: boolean = expect === 'value' || expect === 'value-or-end';
    if ((letter === '}' || letter === ']') && closes(letter, open.at(-1), expect)) {
      open.pop();
      expect = 'more';
      at += 1;
    } else if (letter === ':' && expect === 'colon') {
      expect = 'value';
      at += 1;
    } else if (letter === ',' && expect === 'more' && open.length > 0) {
      expect = open.at(-1) === '{' ? 'key' : 'value';
      at += 1;
    } else if ((letter === '{' || letter === '[') && wantsValue) {
      open.push(letter);
      expect = letter === '{' ? 'key-or-end' : 'value-or-end';
      at += 1;
    } else if (letter === '"' && (wantsKey || wantsValue)) {
      const end = stringEnd(text, at);
      if (end.bad) return end.at;
      at = end.at;
      expect = wantsKey ? 'colon' : 'more';
    } else if (wantsValue) {
      const length = scalarLength(text, at);
      if (length === 0) return at;
      at += length;
      expect = 'more';
    } else {
      return at;
    }
  }
}

function closes(letter: string, opened: '{' | '[' | undefined, expect: Expect): boolean {
  if (letter === '}') return opened === '{' && (expect === 'more' || expect === 'key-or-end');
  return opened === '[' && (expect === 'more' || expect === 'value-or-end');
}

function skipBlanks(text: string, from: number): number {
  let at = from;
  while (' \t\n\r'.includes(text[at] ?? 'x')) at += 1;
  return at;
}

function stringEnd(text: string, from: number): { at: number; bad: boolean } {
  let at = from + 1;
  for (;;) {
    const letter = text[at];
    if (letter === undefined || letter < ' ') return { at, bad: true };
    if (letter === '"') return { at: at + 1, bad: false };
    if (letter === '\\') {
      const escape = /^\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/.exec(text.slice(at, at + 6));
      if (escape === null) return { at, bad: true };
      at += escape[0].length;
    } else {
      at += 1;
    }
  }
}

function scalarLength(text: string, at: number): number {
  const found = /^(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.])/.exec(
    text.slice(at, at + 400),
  );
  return found?.[0].length ?? 0;
}
