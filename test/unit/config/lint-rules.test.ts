import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { Linter, type ESLint } from 'eslint';
import tseslint from 'typescript-eslint';
import { PROGRAM_ROOT } from '../../../config/root.ts';

/** The rules are plain JavaScript, as ESLint loads them. */
const { slipway } = (await import(join(PROGRAM_ROOT, 'config/lint/rules.js'))) as { slipway: ESLint.Plugin };
const linter = new Linter({ cwd: PROGRAM_ROOT });

function broken(file: string, code: string): string[] {
  const rules = Object.fromEntries(
    Object.keys(slipway.rules ?? {}).map((name) => [`slipway/${name}`, 'error' as const]),
  );
  const messages = linter.verify(
    code,
    [
      {
        files: ['**/*.ts'],
        languageOptions: { parser: tseslint.parser as Linter.Parser },
        plugins: { slipway },
        rules,
      },
    ],
    { filename: join(PROGRAM_ROOT, file) },
  );
  return messages.map((message) => message.ruleId?.replace('slipway/', '') ?? message.message);
}

const CASES: [string, string, string[]][] = [
  ['api/a.ts', "import { spawn } from 'node:child_process';", ['P001']],
  ['api/a.ts', "await import('child_process');", ['P001']],
  ['api/a.ts', "export { spawn } from 'node:child_process';", ['P001']],
  ['api/tools.ts', "import { spawn } from 'node:child_process';", []],
  ['native/helper.ts', "import { spawn } from 'node:child_process';", []],
  ['test/unit/a.test.ts', "import { spawn } from 'node:child_process';", []],
  ['api/a.ts', "const home = process.env['HOME'];", ['P002']],
  ['api/a.ts', "const home = process['env'];", ['P002']],
  ['api/a.ts', "import { env } from 'node:process';", ['P002']],
  ['api/a.ts', 'const id = process.pid;', []],
  ['config/environment.ts', "const home = process.env['HOME'];", []],
  ['api/instances/lxc-config.ts', 'const now = Date.now();', ['P003']],
  ['api/instances/lxc-config.ts', 'const now = new Date();', ['P003']],
  ['api/instances/lxc-config.ts', 'const then = new Date(0);', []],
  ['api/instances/power.ts', "import { readFileSync } from 'node:fs';", ['P003']],
  ['api/instances/power.ts', "import type { Stats } from 'node:fs';", []],
  ['api/network/addresses.ts', "/** Texts. Pure. */\nimport { isIPv4 } from 'node:net';", []],
  ['api/network/addresses.ts', "/** Texts. Pure. */\nimport { connect } from 'node:net';", ['P003']],
  ['api/network/dnsmasq.ts', 'const now = Date.now();', []],
  ['api/a.ts', 'log.info(`started ${name}`);', ['P004']],
  ['api/a.ts', "this.log.warn('gone: ' + name);", ['P004']],
  ['api/a.ts', "this.parts.log.error('gone', { name });", []],
  ['api/a.ts', 'log.info(`started`);', []],
  ['api/a.ts', 'dialog.info(`is ${name}`);', ['P004']],
  ['api/a.ts', 'console.info(`is ${name}`);', []],
  ['api/a.ts', "import winston from 'winston';", ['P005']],
  ['process/log.ts', "import winston from 'winston';", []],
  ['api/a.ts', 'const a = b as string;', ['P006']],
  ['api/a.ts', '// b was looked at above\nconst a = b as string;', []],
  ['api/a.ts', 'const a = b as string; // b was looked at above', []],
  ['api/a.ts', 'const a = [1] as const;', []],
];

for (const [file, code, expected] of CASES) {
  test(`${file}: ${code.replace(/\n/g, ' ')} breaks ${expected.join(', ') || 'nothing'}`, () => {
    assert.deepEqual(broken(file, code), expected);
  });
}
