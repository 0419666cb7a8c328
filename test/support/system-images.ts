/** Images of real systems for the tests, made once and kept in `.cache/images` until their recipe changes. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { buildDebianImage } from '../../api/setup/debian-image.ts';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { PROGRAM_ROOT } from '../../config/root.ts';

const FOLDER = join(PROGRAM_ROOT, '.cache', 'images');
const RECIPE = ['debian-image.ts', 'apt-mirror.ts', 'image-tree.ts'];

/** Path of a busybox image (unified, plain tar); made anew in `dir`, which takes milliseconds. */
export async function tinyImage(dir: string): Promise<string> {
  return buildTinyImage(dir);
}

/** Path of a systemd image of a Debian release (unified, tar.zst), such as `bookworm`, with some packages more. */
export async function systemImage(suite: string, packages: readonly string[] = []): Promise<string> {
  const kind = `${[suite, ...packages].join('+')}-`;
  const file = join(FOLDER, `${kind}${await recipeHash()}.tar.zst`);
  if (existsSync(file)) return file;
  await mkdir(FOLDER, { recursive: true });
  for (const old of await readdir(FOLDER)) {
    if (old.startsWith(kind)) await rm(join(FOLDER, old), { force: true });
  }
  await rename(await buildDebianImage(FOLDER, { suite, packages }), file);
  return file;
}

async function recipeHash(): Promise<string> {
  const hash = createHash('sha256');
  for (const name of RECIPE) hash.update(await readFile(join(PROGRAM_ROOT, 'api', 'setup', name)));
  return hash.digest('hex').slice(0, 12);
}
