import assert from 'node:assert/strict';
import { test } from 'node:test';
import { execDirectory, execEnvironment } from '../../../../api/instances/exec-environment.ts';

const NOTHING = { config: {}, asked: {}, user: 0, searchExtras: [] };
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

test('root gets its home and name, everybody a search path and a language', () => {
  assert.deepEqual(execEnvironment(NOTHING), { PATH, HOME: '/root', USER: 'root', LANG: 'C.UTF-8' });
  assert.deepEqual(execEnvironment({ ...NOTHING, user: 1000 }), { PATH, LANG: 'C.UTF-8' });
});

test('what was asked for wins over the instance, the instance over the defaults', () => {
  const config = { 'environment.LANG': 'de_DE', 'environment.FOO': 'config', 'limits.cpu': '1' };
  const all = execEnvironment({ ...NOTHING, config, asked: { FOO: 'asked', HOME: '/' }, user: 5 });
  assert.deepEqual(all, { PATH, LANG: 'de_DE', FOO: 'asked', HOME: '/' });
});

test('folders that only some containers have are searched last', () => {
  assert.equal(execEnvironment({ ...NOTHING, searchExtras: ['/snap/bin'] })['PATH'], `${PATH}:/snap/bin`);
  assert.equal(
    execEnvironment({ ...NOTHING, asked: { PATH: '/x' }, searchExtras: ['/snap/bin'] })['PATH'],
    '/x',
  );
});

test('a name that no variable can have is refused', () => {
  for (const name of ['', 'A=B']) {
    assert.throws(() => execEnvironment({ ...NOTHING, asked: { [name]: 'x' } }), { code: 'bad_request' });
  }
});

test('a variable with the name of a property of objects is a variable', () => {
  const asked = JSON.parse('{"__proto__":"x","constructor":"y"}') as Record<string, string>;
  const all = execEnvironment({ ...NOTHING, asked });
  assert.equal(Object.entries(all).find(([name]) => name === '__proto__')?.[1], 'x');
  assert.equal(all['constructor'], 'y');
});

test('a command begins where it was asked to, else in HOME, else at the root', () => {
  assert.equal(execDirectory('/tmp', { HOME: '/root' }), '/tmp');
  assert.equal(execDirectory('', { HOME: '/root' }), '/root');
  assert.equal(execDirectory('', { HOME: '' }), '/');
  assert.equal(execDirectory('', {}), '/');
});
