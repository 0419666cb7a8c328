/** `npm run docs`: writes the files that are made from the option tables. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { generatedDocs } from './generated-docs.ts';
import { PROGRAM_ROOT } from './root.ts';

for (const [path, text] of generatedDocs()) {
  const file = join(PROGRAM_ROOT, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  process.stdout.write(`${path}\n`);
}
