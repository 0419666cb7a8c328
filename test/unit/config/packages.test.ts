import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { findProgram, isInstalled, systemPackages } from '../../../config/packages.ts';

test('every line of the list is read, and each use has some', () => {
  const packages = systemPackages();
  const uses = new Set(packages.map((one) => one.use));
  assert.deepEqual([...uses].sort(), ['build', 'cloud', 'extra', 'image', 'run', 'test']);
  const proofs = packages.map((one) => `${one.use} ${one.proof.kind}:${one.proof.what}`);
  assert.equal(new Set(proofs).size, proofs.length, 'nothing is listed twice for one use');
});

test('a line that is not in the form of the list is refused with its number', () => {
  for (const line of [
    'run | program:x | y',
    'walk | program:x | y | why',
    'run | x | y | why',
    'run | program:x |  | why',
  ]) {
    assert.throws(() => systemPackages(`# head\n${line}\n`), /line 2/, line);
  }
});

test('programs are found in the folders of the path, files by a pattern', () => {
  const folder = mkdtempSync(join(tmpdir(), 'packages-'));
  try {
    mkdirSync(join(folder, 'lib', 'x86_64', 'deep'), { recursive: true });
    writeFileSync(join(folder, 'lib', 'x86_64', 'libx.so.1'), '');
    writeFileSync(join(folder, 'tool'), '#!/bin/sh\n');
    writeFileSync(join(folder, 'data'), '');
    chmodSync(join(folder, 'tool'), 0o755);
    assert.equal(findProgram('tool', `/nowhere:${folder}`), join(folder, 'tool'));
    assert.equal(findProgram('data', folder), null);
    assert.equal(findProgram('absent', folder), null);
    const proof = (what: string): boolean =>
      isInstalled({ use: 'run', proof: { kind: 'file', what }, names: ['x'], why: 'y' }, folder);
    assert.equal(proof(`${folder}/lib/*/libx.so.1`), true);
    assert.equal(proof(`${folder}/lib/*/libx.so.*`), true);
    assert.equal(proof(`${folder}/lib/x86_64/libx.so.1`), true);
    assert.equal(proof(`${folder}/lib/*/liby.so.1`), false);
    assert.equal(proof(`${folder}/absent/*/libx.so.1`), false);
    assert.equal(proof(`${folder}/lib/*/libx.so`), false);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
