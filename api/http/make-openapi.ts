/** `npm run docs`: writes docs/openapi.json from the table of routes. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PROGRAM_ROOT } from '../../config/root.ts';
import { currentOpenApi } from '../openapi.ts';

writeFileSync(join(PROGRAM_ROOT, 'docs/openapi.json'), currentOpenApi());
process.stdout.write('docs/openapi.json\n');
