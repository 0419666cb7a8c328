import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  booleanOption,
  choiceOption,
  integerOption,
  listOption,
  manyOption,
  numberOption,
  pathOption,
  textOption,
} from '../../../config/options/option.ts';
import { readIni } from '../../../config/oslo-ini.ts';
import { readOptions } from '../../../config/read-options.ts';
import { renderManual, renderSample } from '../../../config/render-options.ts';

const TABLE = {
  DEFAULT: {
    debug: booleanOption({ fallback: false, help: 'More lines.' }),
    workers: integerOption({ fallback: 4, min: 1, max: 64, help: 'How many.' }),
    ratio: numberOption({ fallback: 1.5, min: 0, max: 16, help: 'How much.' }),
    state_path: pathOption({ fallback: '/var/lib/x', help: 'Where.' }),
    names: listOption({ fallback: [], help: 'Which.' }),
    alias: manyOption(textOption({ fallback: '', help: '' }), { fallback: [], help: 'Each of them.' }),
    mode: choiceOption(['fast', 'safe'], { fallback: 'safe', help: 'How.' }),
    tree: pathOption({ fallback: '$state_path/tree', help: 'Below.' }),
  },
} as const;

test('values get the types of their options', () => {
  const text = `[DEFAULT]
debug = Yes
workers = 8
ratio = 0.5
state_path = /srv/
names = a, b,,c
alias = one
alias = two
mode = FAST
tree = $state_path/t
`;
  const { values, warnings } = readOptions(TABLE, readIni(text, 'f'));
  assert.deepEqual(warnings, []);
  assert.deepEqual(values.DEFAULT, {
    debug: true,
    workers: 8,
    ratio: 0.5,
    state_path: '/srv',
    names: ['a', 'b', 'c'],
    alias: ['one', 'two'],
    mode: 'fast',
    tree: '/srv//t',
  });
});

test('what is not written has its default', () => {
  const { values } = readOptions(TABLE, new Map());
  assert.equal(values.DEFAULT.workers, 4);
  assert.deepEqual(values.DEFAULT.alias, []);
});

test('each type refuses what it is not', () => {
  const cases: [string, string][] = [
    ['debug', 'perhaps'],
    ['workers', '0'],
    ['workers', '65'],
    ['workers', '4.5'],
    ['workers', ''],
    ['ratio', 'many'],
    ['ratio', ''],
    ['state_path', 'var/lib'],
    ['mode', 'slow'],
  ];
  for (const [name, value] of cases) {
    assert.throws(
      () => readOptions(TABLE, readIni(`[DEFAULT]\n${name} = ${value}\n`, 'f')),
      new RegExp(`option \\[DEFAULT\\] ${name} \\(f line 2\\)`),
      `${name} = ${value}`,
    );
  }
});

test('a sample that is switched on by removing its signs reads as the defaults', () => {
  const sample = renderSample('A head.', TABLE).replace(/^#(?=\w+ =)/gm, '');
  const { values } = readOptions(TABLE, readIni(sample, 'sample'));
  const defaults = readOptions(TABLE, new Map()).values;
  assert.deepEqual({ ...values.DEFAULT, alias: [], tree: '' }, { ...defaults.DEFAULT, tree: '' });
  assert.equal(values.DEFAULT.tree, '/var/lib/x/tree');
});

test('the manual names every option with its help', () => {
  const manual = renderManual(TABLE);
  for (const [name, option] of Object.entries(TABLE.DEFAULT)) {
    assert.ok(manual.includes(`**${name}**`), name);
    assert.ok(manual.includes(option.help), name);
  }
});
