/** Console log, and the serial console as a browser opens it: through nova-serialproxy. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { WebSocket } from 'ws';
import { eventually } from '../../tempest/cloud/openstack.ts';
import { RunningCloud } from '../support/running-cloud.ts';

let cloud: RunningCloud;
let server = '';
const ANSWER_MS = 30_000;

before(async () => {
  cloud = await RunningCloud.open();
  server = await cloud.boot('test-console');
});

after(() => cloud.cleanUp());

async function consoleUrl(): Promise<string> {
  const wish = { remote_console: { protocol: 'serial', type: 'serial' } };
  const made = await cloud.demo.one(
    'compute',
    'POST',
    `/servers/${server}/remote-consoles`,
    'remote_console',
    wish,
  );
  return String(made['url']);
}

/** Opens a console and collects what it shows. */
async function attach(url: string): Promise<{ socket: WebSocket; shown: () => string }> {
  const { origin } = new URL(url.replace(/^ws/, 'http'));
  const socket = new WebSocket(url, ['binary'], { origin });
  let text = '';
  socket.on('message', (data) => {
    // ws hands over one buffer for a message, as asked for by its default binaryType.
    text += (data as Buffer).toString('utf8');
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve).once('error', reject);
  });
  return { socket, shown: () => text };
}

test('a command typed into the serial console is answered there', async () => {
  const { socket, shown } = await attach(await consoleUrl());
  try {
    socket.send(Buffer.from('\necho answer-$((40 + 2))\n'));
    await eventually('the console answers', ANSWER_MS, () =>
      Promise.resolve(shown().includes('answer-42') ? true : null),
    );
  } finally {
    socket.close();
  }
});

test('what the console showed is in the console log', async () => {
  const log = await eventually('the console log has it', ANSWER_MS, async () => {
    // Nova's answer to this action.
    const { output } = (await cloud.act(server, { 'os-getConsoleOutput': {} })) as { output: string };
    return output.includes('answer-42') ? output : null;
  });
  const last = (await cloud.openstack(['console', 'log', 'show', '--lines', '2', server])) as string;
  assert.ok(log.trimEnd().endsWith(last.trimEnd().split('\n').at(-1) ?? 'nothing'));
});

test('a console address with another token is refused', async () => {
  const url = (await consoleUrl()).replace(
    /token%3D[\w-]+|token=[\w-]+/,
    'token=00000000-0000-0000-0000-000000000000',
  );
  await assert.rejects(async () => {
    const { socket, shown } = await attach(url);
    // The proxy may accept the websocket and close it at once.
    await new Promise<void>((resolve) =>
      socket.once('close', () => {
        resolve();
      }),
    );
    assert.notEqual(shown(), '', 'nothing was shown');
  });
});

test('graphical consoles are refused as a request that cannot be met', async () => {
  const wish = { remote_console: { protocol: 'vnc', type: 'novnc' } };
  await assert.rejects(
    cloud.demo.request('compute', 'POST', `/servers/${server}/remote-consoles`, wish),
    (err: unknown) => err instanceof Error && /400/.test(err.message),
  );
});
