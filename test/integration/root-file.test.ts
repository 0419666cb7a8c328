/** Root disks of a size, as files: what the tools make of them. Needs e2fsprogs. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { makeRootFile, resizeDetached } from '../../api/storage/root-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'slipway-root-file-'));
const MIB = 2 ** 20;

after(() => {
  rmSync(folder, { recursive: true, force: true });
});

for (const from of [24, 50, 128]) {
  test(`a disk of ${String(from)} MiB grows to what a pool holds, and is sound`, async () => {
    const contents = join(folder, `tree${String(from)}`);
    mkdirSync(contents);
    writeFileSync(join(contents, 'file'), Buffer.alloc(8 * MIB, 1));
    const path = join(folder, `${String(from)}.img`);
    await makeRootFile(path, from * MIB, contents, new AbortController().signal);
    await resizeDetached(path, 256 * 1024 * MIB);
    assert.equal(statSync(path).size, 256 * 1024 * MIB);
    // Fails unless it is clean.
    execFileSync('e2fsck', ['-f', '-n', path], { stdio: 'pipe' });
  });
}
