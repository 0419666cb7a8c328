/** `slipway up` and `slipway down` as a user runs them, with a state folder of their own. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { RestClient } from '../../api/setup/rest-client.ts';
import { PROGRAM_ROOT } from '../../config/root.ts';

let state = '';
let scratch = '';
before(() => {
  scratch = mkdtempSync(join(tmpdir(), 'setup-'));
  // Root of a container must be able to walk to its files.
  chmodSync(scratch, 0o711);
  state = join(scratch, 'state');
});
after(async () => {
  // The last test purges; this is for the case that one before it failed.
  await slipway(['down', '--purge']);
  rmSync(scratch, { recursive: true, force: true });
});

interface Ended {
  readonly code: number | null;
  readonly out: string;
}

function slipway(
  args: readonly string[],
  onText: (text: string, pid: number) => void = () => undefined,
): Promise<Ended> {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', 'process/slipway.ts', ...args, '--state-dir', state],
    {
      cwd: PROGRAM_ROOT,
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  let out = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      out += chunk.toString();
      onText(out, child.pid ?? 0);
    });
  }
  return new Promise((resolve) => {
    child.on('close', (code) => {
      resolve({ code, out });
    });
  });
}

function client(): RestClient {
  return new RestClient(join(state, 'unix.socket'));
}

interface Instance {
  readonly status: string;
}

const statusOf = async (name: string): Promise<string> =>
  ((await client().get(`/1.0/instances/${name}`)) as Instance).status;

async function bridges(): Promise<string[]> {
  const all = (await client().get('/1.0/networks?recursion=1')) as { name: string; managed: boolean }[];
  return all.filter((network) => network.managed).map((network) => network.name);
}

let bridge = '';

test('the first up starts everything and a container with an address', async () => {
  const { code, out } = await slipway(['up', '--tiny', '--name', 'setup-a']);
  assert.equal(code, 0, out);
  assert.match(out, /pool default made, driver overlay/);
  assert.match(out, /setup-a is Running/);
  assert.match(out, /addresses +\d+\.\d+\.\d+\.\d+/);
  assert.match(out, new RegExp(`LXD_DIR=${state} lxc list`));
  assert.equal(await statusOf('setup-a'), 'Running');
  [bridge = ''] = await bridges();
  assert.match(bridge, /^slipbr\d+$/);
});

test('the second up finds everything there', async () => {
  const { code, out } = await slipway(['up', '--tiny', '--name', 'setup-a']);
  assert.equal(code, 0, out);
  assert.match(out, /running already, process \d+/);
  assert.doesNotMatch(out, / made|-> (image|create|start) /);
});

test('an interrupted up leaves what is done, and says how to go on', async () => {
  let interrupted = false;
  const { code, out } = await slipway(['up', '--tiny', '--name', 'setup-b'], (text, pid) => {
    if (interrupted || !text.includes('-> create')) return;
    interrupted = true;
    process.kill(pid, 'SIGINT');
  });
  assert.equal(code, 130, out);
  assert.match(out, /interrupted/);
  const again = await slipway(['up', '--tiny', '--name', 'setup-b']);
  assert.equal(again.code, 0, again.out);
  assert.equal(await statusOf('setup-b'), 'Running');
});

test('down stops all and leaves no bridge, and up brings back what ran', async () => {
  const pid = Number(readFileSync(join(state, 'run', 'slipway.pid'), 'utf8'));
  const { code, out } = await slipway(['down']);
  assert.equal(code, 0, out);
  assert.match(out, /2 containers stopped/);
  assert.equal(existsSync(`/proc/${String(pid)}/fd/0`), false);
  assert.equal(existsSync(`/sys/class/net/${bridge}`), false);
  assert.equal(readFileSync('/proc/self/mountinfo', 'utf8').includes(state), false);
  const up = await slipway(['up', '--tiny', '--name', 'setup-a']);
  assert.equal(up.code, 0, up.out);
  const deadline = Date.now() + 30_000;
  while ((await statusOf('setup-b')) !== 'Running' && Date.now() < deadline) await sleep(50);
  assert.equal(await statusOf('setup-b'), 'Running');
});

test('down finds containers whose daemon was killed', async () => {
  process.kill(Number(readFileSync(join(state, 'run', 'slipway.pid'), 'utf8')), 'SIGKILL');
  const { code, out } = await slipway(['down']);
  assert.equal(code, 0, out);
  assert.match(out, /daemon, to find what is running/);
  assert.match(out, /2 containers stopped/);
});

test('down --purge removes the data, and a down after it has nothing to do', async () => {
  const { code, out } = await slipway(['down', '--purge']);
  assert.equal(code, 0, out);
  assert.equal(existsSync(state), false);
  assert.equal(existsSync(`/sys/class/net/${bridge}`), false);
  const again = await slipway(['down']);
  assert.equal(again.code, 0);
  assert.match(again.out, /nothing to take down/);
});

test('an image that is none ends with one line that says so', async () => {
  const { code, out } = await slipway([
    'up',
    '--name',
    'setup-c',
    '--image',
    join(PROGRAM_ROOT, 'README.md'),
  ]);
  assert.equal(code, 1);
  assert.match(out, /\nslipway: .*no image/);
  assert.doesNotMatch(out, /\n {4}at /);
});
