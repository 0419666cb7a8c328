import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { z } from 'zod';
import { API_EXTENSIONS, OWN_EXTENSIONS } from '../../../api/api-extensions.ts';
import { buildOpenApi, currentOpenApi } from '../../../api/openapi.ts';
import { answers, type Route } from '../../../api/http/route.ts';
import { PROGRAM_ROOT } from '../../../config/root.ts';
import { readMetadata } from '../../support/http-fakes.ts';

test('docs/openapi.json is what the routes say; npm run docs writes it', () => {
  const kept = readFileSync(join(PROGRAM_ROOT, 'docs/openapi.json'), 'utf8');
  assert.ok(kept === currentOpenApi(), 'docs/openapi.json is not current: npm run docs');
});

test('a route is described with its parameters, its body and its answer', () => {
  const route: Route = {
    method: 'PUT',
    path: '/1.0/images/aliases/{name*}',
    access: 'project',
    summary: 'Changes it.',
    body: z.object({ target: z.string() }),
    answer: z.object({ done: z.boolean() }),
    handle: async () => answers.empty(),
  };
  const paths = readMetadata(buildOpenApi([route], [])['paths']);
  const described = JSON.stringify(readMetadata(paths['/1.0/images/aliases/{name}'])['put']);
  assert.match(described, /"name":"name","in":"path","required":true/);
  assert.match(described, /"required":\["target"\]/);
  assert.match(described, /"done":\{"type":"boolean"\}/);
  assert.match(described, /"operationId":"put_1_0_images_aliases_name"/);
});

test('no extension is announced twice, and each of our own has its paragraph', () => {
  assert.equal(new Set(API_EXTENSIONS).size, API_EXTENSIONS.length);
  const text = readFileSync(join(PROGRAM_ROOT, 'docs/api-extensions.md'), 'utf8');
  for (const name of OWN_EXTENSIONS) assert.match(text, new RegExp(`^### ${name}$`, 'm'));
});
