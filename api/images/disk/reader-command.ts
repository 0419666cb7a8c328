/** The command line of the program that reads disks (read-disk.ts), from the sources and from dist/ alike. */
import { extname, join } from 'node:path';
import { PROGRAM_ROOT } from '../../../config/root.ts';

/** Bounds what a disk can make it take beside its buffers. */
const HEAP = '--max-old-space-size=512';

export function readerCommand(): string[] {
  const isBuilt = extname(import.meta.url) === '.js';
  const place = isBuilt ? 'dist/api/images/disk/read-disk.js' : 'api/images/disk/read-disk.ts';
  const loader = isBuilt ? [] : ['--import', import.meta.resolve('tsx')];
  return [process.execPath, HEAP, ...loader, join(PROGRAM_ROOT, place)];
}

/** The same as one string that tar splits into words again, and runs to decompress. */
export function readerForTar(): string {
  const words = [...readerCommand(), 'tar'];
  return words.map((word) => `'${word.replaceAll("'", `'"'"'`)}'`).join(' ');
}
