/** The file that says which node this is. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { readIdentity, writeIdentity } from '../../../../driver/compute/identity.ts';
import { uptimeText } from '../../../../driver/compute/host-facts.ts';
import { isFault } from '../../../../process/fault.ts';

const ONE = '3e99e339-d388-4502-a2c2-d297bc98e370';
const TWO = '11111111-1111-4111-8111-111111111111';
let root = '';
let count = 0;

before(async () => {
  root = await mkdtemp(join(tmpdir(), 'slipway-identity-'));
});

after(() => rm(root, { recursive: true }));

async function folder(content?: string): Promise<string> {
  count += 1;
  const path = join(root, String(count));
  await mkdir(path);
  if (content !== undefined) await writeFile(join(path, 'compute_id'), content);
  return path;
}

test('an identity is written whole, and read again', async () => {
  const path = join(await folder(), 'state');
  assert.equal(await readIdentity([path]), null);
  assert.deepEqual(await writeIdentity(path, ONE), { uuid: ONE, file: join(path, 'compute_id') });
  assert.deepEqual(await readIdentity([path]), { uuid: ONE, file: join(path, 'compute_id') });
  assert.deepEqual(await readdir(path), ['compute_id']);
});

test('an identity that is there is not replaced', async () => {
  const path = await folder(`${ONE}\n`);
  assert.equal((await writeIdentity(path, TWO)).uuid, ONE);
  assert.deepEqual(await readdir(path), ['compute_id']);
});

test('copies beside configuration files must agree', async () => {
  const folders = [await folder(ONE), await folder(), await folder(`${ONE.toUpperCase()} \n`)];
  assert.equal((await readIdentity(folders))?.uuid, ONE);
  const wrong = [...folders, await folder(TWO)];
  await assert.rejects(readIdentity(wrong), (err) => isFault(err, 'conflict') && err.message.includes(TWO));
});

test('a file that holds no uuid is refused by its name', async () => {
  for (const content of ['', 'node-a', `${ONE} ${TWO}`]) {
    const path = await folder(content);
    await assert.rejects(
      readIdentity([path]),
      (err) => isFault(err, 'bad_request') && err.message.includes(path),
    );
  }
});

test('a folder that cannot be made is told with what to do', async () => {
  const file = join(await folder('x'), 'compute_id');
  await assert.rejects(
    writeIdentity(join(file, 'state'), ONE),
    (err) => isFault(err, 'bad_request') && err.message.includes('state_path'),
  );
});

test('uptime is told as uptime(1) does', () => {
  const at = new Date(2026, 0, 2, 3, 4, 5);
  const line = (upS: number): string => uptimeText(at, upS, [0.5, 1, 12.345]);
  assert.equal(line(90_061), ' 03:04:05 up 1 day,  1:01,  0 users,  load average: 0.50, 1.00, 12.35\n');
  assert.equal(
    line(2 * 86_400 + 300),
    ' 03:04:05 up 2 days, 5 min,  0 users,  load average: 0.50, 1.00, 12.35\n',
  );
  assert.equal(line(40_000), ' 03:04:05 up 11:06,  0 users,  load average: 0.50, 1.00, 12.35\n');
});
