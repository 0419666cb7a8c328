/** docs/ARCHITECTURE.md is read by people who change the code: what it says of files must be true. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { PROGRAM_ROOT } from '../../../config/root.ts';

const text = readFileSync(join(PROGRAM_ROOT, 'docs/ARCHITECTURE.md'), 'utf8');

/** The tables below the headings that begin with "Walk:". */
function walks(): { title: string; files: string[] }[] {
  return text
    .split(/^#+ /m)
    .filter((section) => section.startsWith('Walk:'))
    .map((section) => ({
      title: section.split('\n', 1)[0] ?? '',
      files: section
        .split('\n')
        .filter((line) => /^\| \d+/.test(line))
        .flatMap((line) =>
          [...(line.split('|')[2] ?? '').matchAll(/`([^`]+)`/g)].map((found) => found[1] ?? ''),
        ),
    }));
}

test('there is a walk for a launch, a list, an exec and a build of Nova', () => {
  const titles = walks().map((walk) => walk.title);
  for (const what of [
    'POST /1.0/instances',
    'GET /1.0/instances?recursion=2',
    'exec',
    'build_and_run_instance to clone()',
  ]) {
    assert.ok(
      titles.some((title) => title.includes(what)),
      what,
    );
  }
});

test('every file of a walk exists', () => {
  for (const walk of walks()) {
    assert.ok(walk.files.length >= 4, walk.title);
    for (const file of walk.files) assert.ok(existsSync(join(PROGRAM_ROOT, file)), `${walk.title}: ${file}`);
  }
});

test('no walk is longer than ten files', () => {
  for (const walk of walks())
    assert.ok(walk.files.length <= 10, `${walk.title}: ${String(walk.files.length)} files`);
});

test('every path of the project that the page names exists', () => {
  const named = [...text.matchAll(/`((?:process|config|native|api|driver|test|docs|tempest)\/[\w./-]*)`/g)];
  const missing = named
    .map((found) => found[1] ?? '')
    .filter((path) => !existsSync(join(PROGRAM_ROOT, path)));
  assert.deepEqual(missing, []);
});
