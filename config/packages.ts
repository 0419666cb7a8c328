/** Reads config/packages.txt and tells what of it this machine lacks. */
import { accessSync, constants, existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { readEnvironment } from './environment.ts';
import { PROGRAM_ROOT } from './root.ts';

export const PACKAGE_USES = ['run', 'image', 'build', 'extra', 'test', 'cloud'] as const;
export type PackageUse = (typeof PACKAGE_USES)[number];

export interface SystemPackage {
  readonly use: PackageUse;
  readonly proof: { readonly kind: 'program' | 'file'; readonly what: string };
  /** The first that a release has is the one to install. */
  readonly names: readonly string[];
  readonly why: string;
}

/** The list, in its order. */
export function systemPackages(
  text = readFileSync(join(PROGRAM_ROOT, 'config', 'packages.txt'), 'utf8'),
): SystemPackage[] {
  const packages: SystemPackage[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    packages.push(parseLine(line, index + 1));
  }
  return packages;
}

function parseLine(line: string, number: number): SystemPackage {
  const [use, proof, names, why] = line.split('|').map((part) => part.trim());
  const found = PACKAGE_USES.find((known) => known === use);
  const kind = (['program', 'file'] as const).find((known) => proof?.startsWith(`${known}:`));
  if (found === undefined || kind === undefined || proof === undefined || !names || !why) {
    throw new Error(`config/packages.txt line ${String(number)} is not "use | proof | packages | why"`);
  }
  return {
    use: found,
    proof: { kind, what: proof.slice(kind.length + 1) },
    names: names.split(/\s+/),
    why,
  };
}

/** True when the package's proof is there. */
export function isInstalled(wanted: SystemPackage, path = readEnvironment().path): boolean {
  const { kind, what } = wanted.proof;
  return kind === 'program' ? findProgram(what, path) !== null : matchesFile(what);
}

/** Full path of a program, or null when no folder of `path` has it. */
export function findProgram(name: string, path = readEnvironment().path): string | null {
  for (const folder of path.split(':')) {
    const file = join(folder, name);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      continue;
    }
  }
  return null;
}

/** A path whose parts may hold `*`, as in the shell. */
function matchesFile(pattern: string): boolean {
  const star = pattern.indexOf('*');
  if (star < 0) return existsSync(pattern);
  const before = dirname(pattern.slice(0, star + 1));
  const rest = pattern.slice(before === '/' ? 1 : before.length + 1);
  const slash = rest.indexOf('/');
  const part = slash < 0 ? rest : rest.slice(0, slash);
  const after = slash < 0 ? '' : rest.slice(slash);
  const name = new RegExp(`^${part.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*')}$`);
  return foldersOf(before).some((entry) => name.test(entry) && matchesFile(`${join(before, entry)}${after}`));
}

function foldersOf(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
