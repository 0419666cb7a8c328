/**
 * A program of its own: reads the root file system out of a disk image on
 * standard input and writes it as tar to standard output.
 *
 *     read-disk.js look MAXBYTES MAXENTRIES    one line of JSON instead, which may say `refused`
 *     read-disk.js tar [-d]                    -d is what tar gives to a decompressor
 *
 * It runs confined, apart from the daemon: what it reads was made by strangers.
 * Exit status: 0, or 3 with a sentence about the image on standard error.
 */
import { fstatSync, openSync, writeSync } from 'node:fs';
import { isFault } from '../../../process/fault.ts';
import { findRoot } from './find-root.ts';
import { FileSource, damaged } from './source.ts';
import { TarOut } from './tar-out.ts';
import { walkTree } from './walk.ts';

const BAD_IMAGE = 3;

function main(args: readonly string[]): void {
  const [verb, maxBytes, maxEntries] = args;
  const file = new FileSource(0, fstatSync(0).size);
  if (verb === 'look') writeSync(1, `${JSON.stringify(look(file, Number(maxBytes), Number(maxEntries)))}\n`);
  // Looked at when it was imported, and not changed since.
  else
    walkTree(
      findRoot(file, process.arch).system,
      { bytes: Infinity, entries: Infinity },
      new TarOut(output()),
    );
}

/** Node may have made the pipe one that never waits; opened once more it is an ordinary one. */
function output(): number {
  return fstatSync(1).isFIFO() ? openSync('/proc/self/fd/1', 'w') : 1;
}

function look(file: FileSource, bytes: number, entries: number): object {
  try {
    const { system, osRelease } = findRoot(file, process.arch);
    return { kind: system.kind, osRelease, ...walkTree(system, { bytes, entries }, null) };
  } catch (err) {
    return { refused: textOf(err) };
  }
}

/** What is wrong with the image; throws anything else on. */
function textOf(err: unknown): string {
  if (isFault(err, 'bad_request')) return err.message;
  // Reading beyond a table's end is what a damaged table leads to.
  if (err instanceof RangeError) return damaged(err.message).message;
  throw err;
}

try {
  main(process.argv.slice(2));
} catch (err) {
  writeSync(2, `${textOf(err)}\n`);
  process.exitCode = BAD_IMAGE;
}
