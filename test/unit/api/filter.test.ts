import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseFilter } from '../../../api/filter.ts';
import { compileSafely } from '../../../api/safe-regexp.ts';
import { isFault } from '../../../process/fault.ts';

const web = {
  name: 'web1',
  status: 'Running',
  ephemeral: false,
  config: { 'image.os': 'Debian', 'user.note': 'two words' },
  expanded_devices: { root: { pool: 'default', type: 'disk' } },
};

const CASES: readonly (readonly [filter: string, accepted: boolean])[] = [
  ['', true],
  ['   ', true],
  ['name eq web1', true],
  ['name eq WEB1', true],
  ['name eq web', false],
  ['name eq ^web', true],
  ['name eq web.', true],
  ['name eq web[0-9]+', true],
  ['name eq "web1|db1"', true],
  ['name eq b1$', true],
  ['name ne web1', false],
  ['not name eq web1', false],
  ['not name ne web1', true],
  ['name gt web1', true],
  ['config.image.os eq debian', true],
  ['config.user.note eq "two words"', true],
  ['expanded_devices.root.pool eq default', true],
  ['expanded_devices.eth0.pool eq default', false],
  ['nothing eq x', false],
  ['nothing ne x', true],
  ['ephemeral eq false', true],
  ['name eq db and status eq running or status eq running', true],
  ['status eq running or name eq db and name eq db', false],
  ['name eq (unclosed', false],
  ['__proto__.x eq y', false],
];

for (const [filter, accepted] of CASES) {
  test(`the filter «${filter}» ${accepted ? 'accepts' : 'refuses'} web1`, () => {
    assert.equal(parseFilter(filter)(web), accepted);
  });
}

for (const filter of [
  'name',
  'name eq',
  'name eq a b',
  'name eq a and',
  'name eq "a',
  'not',
  'x'.repeat(5000),
]) {
  test(`the filter «${filter.slice(0, 20)}» is malformed`, () => {
    assert.throws(
      () => parseFilter(filter),
      (err) => isFault(err, 'bad_request'),
    );
  });
}

test('a pattern that makes a backtracking engine explode is answered at once', () => {
  const found = compileSafely('^(a|a)*(a+)+(.*)*$b');
  assert.ok(found);
  assert.equal(found('a'.repeat(20_000)), false);
});

const PATTERNS = [
  '^a+$',
  'a|b',
  '^(ab)*c?$',
  '[^x-z]{2,3}$',
  '\\d+\\.\\d',
  '^\\w\\b',
  'x*?y',
  '[a\\-c]',
  '(?:q|w)e',
  '^$',
  'a{0}b',
  '[]a]',
];
const TEXTS = ['', 'a', 'aaa', 'ababc', 'xy', 'zz', 'qe', '10.5', 'b', '-', 'hello world', 'C'];

for (const pattern of PATTERNS) {
  test(`the pattern ${pattern} finds what the platform's engine finds`, () => {
    const mine = compileSafely(pattern);
    // "[]a]" means an empty class to the platform, a class with "]" to Go.
    const theirs = new RegExp(pattern === '[]a]' ? '[\\]a]' : pattern, 'i');
    assert.ok(mine);
    for (const text of TEXTS) assert.equal(mine(text), theirs.test(text), text);
  });
}

for (const pattern of [
  '(',
  'a)',
  '*a',
  '[a',
  'a{300}',
  '(?=a)',
  '\\1',
  '((((a{100}){100}){100}){100})',
  'a'.repeat(300),
  '[b-a]',
]) {
  test(`the pattern ${pattern.slice(0, 30)} is refused`, () => {
    assert.equal(compileSafely(pattern), null);
  });
}
