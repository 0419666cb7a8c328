/**
 * `npm run build`: puts the program into dist/, a few files in place of the
 * thousand it and its packages consist of. Loading them takes half the time.
 *
 * Types are not looked at here (`npm run types` does). Native packages stay
 * where they are, and so do those that a package may have but need not.
 */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { PROGRAM_ROOT } from './root.ts';

const OUT = 'dist';
/** Programs that are started by their path. */
const PROGRAMS = ['process/slipway.ts', 'api/images/disk/read-disk.ts'];
/** What the last build wrote: a daemon that runs may still load parts of it. */
const LIST = join(PROGRAM_ROOT, OUT, 'files.json');
const KEPT = new Set(['.built', 'files.json']);

const result = await build({
  absWorkingDir: PROGRAM_ROOT,
  entryPoints: PROGRAMS,
  outdir: OUT,
  outbase: '.',
  chunkNames: 'parts/[name]-[hash]',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  sourcemap: true,
  // The text of what is loaded stays in memory: without blanks it is 6 MB less.
  minifyWhitespace: true,
  lineLimit: 200,
  external: ['better-sqlite3', 'pg-native', 'pg-hstore'],
  // Packages that are not modules ask for others by require().
  banner: {
    js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
  },
  logLevel: 'warning',
  metafile: true,
});

const written = Object.keys(result.metafile.outputs);
removeOthers(new Set([...written, ...lastFiles()]));
writeFileSync(LIST, JSON.stringify(written));

function lastFiles(): string[] {
  try {
    // Written by this program.
    return JSON.parse(readFileSync(LIST, 'utf8')) as string[];
  } catch {
    return []; // the first build
  }
}

function removeOthers(kept: ReadonlySet<string>): void {
  for (const entry of readdirSync(join(PROGRAM_ROOT, OUT), { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const isOurs = kept.has(path.slice(PROGRAM_ROOT.length + 1)) || KEPT.has(entry.name);
    if (entry.isFile() && !isOurs) rmSync(path);
  }
}
