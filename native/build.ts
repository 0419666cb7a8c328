/**
 * Builds the native parts: the addon, the helper and the programs beside them,
 * and better-sqlite3 where its ready-made binary was out of reach. What is up
 * to date is left alone. Run it with `node --import tsx native/build.ts`.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const native = dirname(fileURLToPath(import.meta.url));
const project = dirname(native);
const release = join(native, 'build', 'Release');
const OUTPUTS = ['slipway.node', 'slipway-helper', 'slipway-floor', 'slipway-test'];
const SOURCE_FOLDERS = ['src', 'helper', 'floor', 'test'];

function newestSource(): number {
  const files = [join(native, 'binding.gyp')];
  for (const folder of SOURCE_FOLDERS) {
    for (const name of readdirSync(join(native, folder))) {
      if (/\.(c|cc|h)$/.test(name)) files.push(join(native, folder, name));
    }
  }
  return Math.max(...files.map((file) => statSync(file).mtimeMs));
}

function isUpToDate(): boolean {
  const outputs = OUTPUTS.map((name) => join(release, name));
  if (!outputs.every((file) => existsSync(file))) return false;
  const built = Math.min(...outputs.map((file) => statSync(file).mtimeMs));
  // A file linked in an earlier second than its source was saved is stale; equal is not.
  return built >= newestSource();
}

/** Distributions put Node's headers beside it; otherwise node-gyp downloads them. */
function headerOptions(): string[] {
  const prefix = dirname(dirname(process.execPath));
  return existsSync(join(prefix, 'include', 'node', 'node.h')) ? [`--nodedir=${prefix}`] : [];
}

function nodeGyp(args: readonly string[]): void {
  const program = join(project, 'node_modules', 'node-gyp', 'bin', 'node-gyp.js');
  const all = [program, ...args, ...headerOptions(), '--loglevel=error'];
  const done = spawnSync(process.execPath, all, { cwd: project, stdio: 'inherit' });
  if (done.error !== undefined) throw done.error;
  if (done.status !== 0) {
    process.stderr.write(`node-gyp ${args.join(' ')}: exit status ${String(done.status)}\n`);
    process.exit(1);
  }
}

function checkHeaders(): void {
  if (existsSync('/usr/include/lxc/lxccontainer.h')) return;
  process.stderr.write('liblxc has no headers here: install lxc-dev (liblxc-dev on newer releases)\n');
  process.exit(1);
}

function buildOurs(): void {
  if (isUpToDate()) {
    process.stdout.write('native parts are up to date\n');
    return;
  }
  checkHeaders();
  nodeGyp(['rebuild', '-C', native]);
  process.stdout.write(`native parts are built in ${release}\n`);
}

function buildSqlite(): void {
  const folder = join(project, 'node_modules', 'better-sqlite3');
  if (!existsSync(folder) || existsSync(join(folder, 'build', 'Release', 'better_sqlite3.node'))) return;
  nodeGyp(['rebuild', '--release', '--directory', folder]);
  process.stdout.write('better-sqlite3 is built\n');
}

buildOurs();
buildSqlite();
