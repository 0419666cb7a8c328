/** What must hold for the files of the project as a whole. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { generatedDocs } from '../../../config/generated-docs.ts';
import { systemPackages } from '../../../config/packages.ts';
import { PROGRAM_ROOT } from '../../../config/root.ts';

/** What is made or installed, not written. */
const MADE = /^(\.git|\.cache|node_modules|dist|coverage|native\/build)(\/|$)/;

/** Every file under version control, and those that are new and not ignored; in an unpacked archive, every file. */
function projectFiles(): string[] {
  if (!existsSync(join(PROGRAM_ROOT, '.git'))) {
    return readdirSync(PROGRAM_ROOT, { recursive: true, encoding: 'utf8' }).filter(
      (file) => !MADE.test(file) && statSync(join(PROGRAM_ROOT, file)).isFile(),
    );
  }
  const args = ['ls-files', '--cached', '--others', '--exclude-standard', '-z'];
  // A clone that belongs to another user is still ours to read.
  const text = execFileSync('git', ['-c', `safe.directory=${PROGRAM_ROOT}`, ...args], {
    cwd: PROGRAM_ROOT,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  return text.split('\0').filter((file) => file !== '' && existsSync(join(PROGRAM_ROOT, file)));
}

function textOf(file: string): string {
  return readFileSync(join(PROGRAM_ROOT, file), 'utf8');
}

const files = projectFiles();

/** Written in pieces, so that this file does not hold them. */
const FORBIDDEN: readonly [RegExp, string][] = [
  [new RegExp(['registry', 'npmjs', 'org'].join('\\.')), 'the name of a package registry'],
  [new RegExp(['registry', 'yarnpkg', 'com'].join('\\.')), 'the name of a package registry'],
  [new RegExp(`"resolved": "https?:`), 'a download address'],
  [new RegExp(`${['FIX', 'ME'].join('')}|${['TO', 'DO'].join('')}:`), 'a promise for later'],
  [
    new RegExp(`\\b(test|it|describe)\\.(${['on', 'ly'].join('')}|${['sk', 'ip'].join('')}|todo)\\(`),
    'a test that is switched off',
  ],
  [
    new RegExp(`@ts-(${['ig', 'nore'].join('')}|${['no', 'check'].join('')})`),
    'a type check that is switched off',
  ],
];

test('no file holds a path of this machine, a registry, or something switched off', () => {
  const wrong: string[] = [];
  for (const file of files) {
    const text = textOf(file);
    if (file !== 'LICENSE' && PROGRAM_ROOT.length > 5 && text.includes(`${PROGRAM_ROOT}/`)) {
      wrong.push(`${file}: the path of this checkout`);
    }
    for (const [pattern, what] of FORBIDDEN) {
      const found = pattern.exec(text);
      if (found !== null) wrong.push(`${file}: ${what}: ${found[0]}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test('file names are kebab-case in TypeScript and snake_case in C', () => {
  const wrong = files.filter((file) => {
    const name = file.split('/').at(-1) ?? '';
    if (name.endsWith('.ts')) return !/^[a-z0-9]+(-[a-z0-9]+)*(\.test)?\.ts$/.test(name);
    if (/\.(c|cc|h)$/.test(name)) return !/^[a-z0-9]+(_[a-z0-9]+)*\.(c|cc|h)$/.test(name);
    return false;
  });
  assert.deepEqual(wrong, []);
});

test('file names say what a file does, not what kind of thing it is', () => {
  const vague = /(^|\/)(utils?|helpers?|common|misc|base|index)\.ts$/;
  assert.deepEqual(
    files.filter((file) => vague.test(file) && file !== 'native/index.ts' && file !== 'native/helper.ts'),
    [],
  );
});

test('every C file says its licence in the first line', () => {
  const wrong = files.filter(
    (file) =>
      /\.(c|cc|h)$/.test(file) && !textOf(file).startsWith('// SPDX-License-Identifier: Apache-2.0\n'),
  );
  assert.deepEqual(wrong, []);
});

test('scripts can be executed', () => {
  const scripts = files.filter((file) => file.endsWith('.sh') || file === '.ci/run');
  assert.ok(scripts.includes('config/bootstrap.sh'));
  const wrong = scripts.filter((file) => (statSync(join(PROGRAM_ROOT, file)).mode & 0o111) === 0);
  assert.deepEqual(wrong, []);
});

test('shell scripts parse', () => {
  for (const file of files.filter((one) => one.endsWith('.sh') || one === '.ci/run')) {
    execFileSync('bash', ['-n', join(PROGRAM_ROOT, file)]);
  }
});

test('what is made from the option tables is current', () => {
  for (const [file, text] of generatedDocs()) {
    assert.equal(textOf(file), text, `${file}: run npm run docs`);
  }
});

test('every dependency stands in the table of dependencies with its reason', () => {
  const table = textOf('docs/dependencies.md');
  const described = JSON.parse(textOf('package.json')) as Record<string, Record<string, string> | undefined>;
  for (const group of ['dependencies', 'devDependencies', 'optionalDependencies']) {
    for (const [name, version] of Object.entries(described[group] ?? {})) {
      const row = table.split('\n').find((line) => line.split('|')[1]?.trim() === name);
      assert.ok(row !== undefined, `${name} has no row in docs/dependencies.md`);
      assert.match(version, /^\d+\.\d+\.\d+$/, `${name} is not pinned`);
    }
  }
});

test('every package that an error text tells the user to install stands in the list of packages', () => {
  const listed = new Set(systemPackages().flatMap((one) => one.names));
  const table = /const PACKAGES[^{]*\{([^}]*)\}/.exec(textOf('api/tools.ts'))?.[1] ?? '';
  const told = [...table.matchAll(/: '([^']+)'/g)].map((found) => found[1] ?? '');
  assert.ok(told.length > 10);
  assert.deepEqual(
    told.filter((name) => !listed.has(name)),
    [],
  );
});

test('the README names the two commands that it promises', () => {
  const readme = textOf('README.md');
  for (const command of ['npm run up', 'npm test', 'npm run down'])
    assert.ok(readme.includes(command), command);
});

test('every npm script that a document names exists', () => {
  const scripts = Object.keys(
    (JSON.parse(textOf('package.json')) as { scripts: Record<string, string> }).scripts,
  );
  const wrong: string[] = [];
  for (const file of files.filter((one) => one.endsWith('.md'))) {
    for (const [, name = ''] of textOf(file).matchAll(/`npm run ([a-z:-]+)/g)) {
      if (!scripts.includes(name)) wrong.push(`${file}: npm run ${name}`);
    }
  }
  assert.deepEqual(wrong, []);
});
