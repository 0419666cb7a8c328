import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { startServer, type TestServer } from '../support/http-server.ts';

const CLIENT = '/usr/bin/lxc';
const run = promisify(execFile);
let server: TestServer;
let home = '';

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'lxc-client-'));
  server = await startServer({ https: true });
});

after(async () => {
  await server.close();
  await rm(home, { recursive: true, force: true });
});

/** Runs the unmodified client, with this server as its local one. */
async function lxc(...args: readonly string[]): Promise<string> {
  const env = { PATH: '/usr/bin:/bin', HOME: home, LXD_CONF: home, LXD_DIR: dirname(server.socketPath) };
  const { stdout } = await run(CLIENT, args, { env, timeout: 60_000 });
  return stdout;
}

function clientTest(name: string, act: () => Promise<void>): void {
  test(name, async (t: TestContext) => {
    if (existsSync(CLIENT)) await act();
    else t.skip(`needs ${CLIENT} (package lxd-client)`);
  });
}

clientTest('the client shows the server and changes its configuration', async () => {
  assert.match(await lxc('info'), /server_version: 5\.0\.2/);
  await lxc('config', 'set', 'user.note', 'two words');
  assert.equal((await lxc('config', 'get', 'user.note')).trim(), 'two words');
  await lxc('config', 'unset', 'user.note');
  assert.equal((await lxc('config', 'get', 'user.note')).trim(), '');
});

clientTest('the client lists operations and is told that this is no cluster', async () => {
  const slow = server.operations.create({
    class: 'task',
    description: 'Downloading image',
    project: 'default',
    mayCancel: true,
    run: ({ signal }) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          reject(signal.reason);
        });
      }),
  });
  assert.match(await lxc('operation', 'list'), /TASK +\| Downloading image +\| RUNNING/);
  await lxc('operation', 'delete', slow.id);
  await slow.finished;
  assert.equal(slow.render()['status'], 'Cancelled');
  await assert.rejects(lxc('cluster', 'list'), /clustering/);
});
