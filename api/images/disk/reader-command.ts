/** The command line of the program that reads disks (read-disk.ts), from the sources and from dist/ alike. */
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Bounds what a disk can make it take beside its buffers. */
const HEAP = '--max-old-space-size=512';

export function readerCommand(): string[] {
  const own = import.meta.url;
  const extension = extname(own);
  const program = fileURLToPath(new URL(`read-disk${extension}`, own));
  const loader = extension === '.ts' ? ['--import', import.meta.resolve('tsx')] : [];
  return [process.execPath, HEAP, ...loader, program];
}

/** The same as one string that tar splits into words again, and runs to decompress. */
export function readerForTar(): string {
  const words = [...readerCommand(), 'tar'];
  return words.map((word) => `'${word.replaceAll("'", `'"'"'`)}'`).join(' ');
}
