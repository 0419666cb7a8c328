/** The websockets of LXD 5.0: events of each change in their order, and the frames of commands and consoles. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import WebSocket from 'ws';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { check, holds, type Line } from '../support/conformance.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';
import { mustOpen, openWebSocket } from '../support/websocket-client.ts';

const I = '/1.0/instances';
const REQUESTOR = { username: 'root', protocol: 'unix', address: '@' };

/** All that came over one socket: binary data, and texts with a mark before them. */
interface Channel {
  readonly socket: WebSocket;
  readonly frames: string[];
  readonly closed: Promise<void>;
  /** Resolves when the condition holds for the frames so far. */
  until(isThere: (frames: readonly string[]) => boolean): Promise<void>;
}

function connect(daemon: SlipwayDaemon, operation: string, secret: string): Promise<Channel> {
  const socket = new WebSocket(`ws+unix://${daemon.socket}:${operation}/websocket?secret=${secret}`);
  const frames: string[] = [];
  const watchers = new Set<() => void>();
  socket.on('message', (data: Buffer, isBinary) => {
    frames.push(isBinary ? data.toString() : `text:${data.toString()}`);
    for (const watch of watchers) watch();
  });
  const closed = new Promise<void>((resolve) => {
    socket.once('close', () => {
      resolve();
    });
  });
  const until: Channel['until'] = (isThere) =>
    new Promise((resolve) => {
      const watch = (): void => {
        if (!isThere(frames)) return;
        watchers.delete(watch);
        resolve();
      };
      watchers.add(watch);
      watch();
    });
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.once('open', () => {
      resolve({ socket, frames, closed, until });
    });
  });
}

interface Started {
  readonly operation: string;
  readonly fds: Readonly<Record<string, string>>;
}

async function start(daemon: SlipwayDaemon, path: string, body: object): Promise<Started> {
  const answer = await daemon.request('POST', path, body);
  assert.equal(answer.metadata.class, 'websocket');
  assert.equal(answer.metadata.status, 'Running');
  return { operation: answer.operation, fds: answer.metadata.metadata.fds };
}

const exec = (daemon: SlipwayDaemon, command: string[], more: object = {}): Promise<Started> =>
  start(daemon, `${I}/cfx/exec`, { command, 'wait-for-websocket': true, interactive: false, ...more });

describe('websockets, as LXD 5.0 has them', () => {
  let daemon: SlipwayDaemon;
  let folder: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'slipway-images-'));
    daemon = await SlipwayDaemon.start();
    await daemon.furnish('cfsock0');
    await daemon.importImage(await buildTinyImage(folder), 'tiny');
    const source = { type: 'image', alias: 'tiny' };
    await daemon.done('POST', I, { name: 'cfx', source, start: true });
  });

  after(async () => {
    await daemon.destroy();
    await rm(folder, { recursive: true, force: true });
  });

  test('events of a life, in order', async () => {
    const events = await mustOpen(daemon.socket, '/1.0/events?type=operation,lifecycle');
    const target = { socketPath: daemon.socket };
    const url = `${I}/cfe`;
    const operation = (description: string, lifecycle: object, class_ = 'task'): unknown[] => [
      ...['Pending', 'Running'].map((status) => ({
        type: 'operation',
        metadata: { description, status, class: class_ },
      })),
      { type: 'lifecycle', metadata: { source: url, requestor: REQUESTOR, ...lifecycle } },
      { type: 'operation', metadata: { description, status: 'Success', status_code: 200, err: '' } },
    ];
    const steps: readonly (readonly [Line, unknown[]])[] = [
      [
        {
          ask: `POST ${I}`,
          body: { name: 'cfe', source: { type: 'image', alias: 'tiny' } },
          code: 202,
          ends: 'Success',
        },
        operation('Creating instance', { action: 'instance-created', context: { type: 'container' } }),
      ],
      [
        { ask: `PUT ${url}/state`, body: { action: 'start' }, code: 202, ends: 'Success' },
        operation('Starting instance', { action: 'instance-started' }),
      ],
      [
        { ask: `PUT ${url}/state`, body: { action: 'restart', force: true }, code: 202, ends: 'Success' },
        operation('Restarting instance', { action: 'instance-restarted' }),
      ],
      [
        { ask: `POST ${url}/files?path=/root/f`, body: 'x', code: 200 },
        [{ type: 'lifecycle', metadata: { action: 'instance-file-pushed', context: { path: '/root/f' } } }],
      ],
      [
        { ask: `PUT ${url}/state`, body: { action: 'stop', force: true }, code: 202, ends: 'Success' },
        operation('Stopping instance', { action: 'instance-stopped' }),
      ],
      [
        { ask: `PATCH ${url}`, body: { config: { 'user.a': '1' } }, code: 200 },
        [{ type: 'lifecycle', metadata: { action: 'instance-updated', source: url } }],
      ],
      [
        { ask: `DELETE ${url}`, code: 202, ends: 'Success' },
        operation('Deleting instance', { action: 'instance-deleted' }),
      ],
      [
        { ask: 'POST /1.0/profiles', body: { name: 'p1' }, code: 201 },
        [{ type: 'lifecycle', metadata: { action: 'profile-created', source: '/1.0/profiles/p1' } }],
      ],
      [
        { ask: 'POST /1.0/profiles/p1', body: { name: 'p2' }, code: 201 },
        [{ type: 'lifecycle', metadata: { action: 'profile-renamed', context: { old_name: 'p1' } } }],
      ],
    ];
    for (const [line, expected] of steps) {
      await check(target, line);
      for (const one of expected) {
        const event = await events.next();
        holds(event, one, `${line.ask}: ${JSON.stringify(event)}`);
        holds(event, { timestamp: /^20\d\d-.*Z$/, location: 'none', project: 'default' }, line.ask);
      }
    }
    events.socket.close();
  });

  test('an unknown type of event is refused', async () => {
    const refused = await openWebSocket(daemon.socket, '/1.0/events?type=bogus');
    assert.ok('status' in refused);
    assert.equal(refused.status, 400);
  });

  test('a command without a terminal: data, an empty text at the end of each stream, then the end', async () => {
    const { operation, fds } = await exec(daemon, ['sh', '-c', 'cat; echo err >&2; exit 3'], {
      ...{
        environment: { TERM: 'xterm' },
        width: 0,
        height: 0,
        'record-output': false,
        user: 0,
        group: 0,
        cwd: '',
      },
    });
    assert.deepEqual(Object.keys(fds).sort(), ['0', '1', '2', 'control']);
    for (const secret of Object.values(fds)) assert.match(secret, /^[0-9a-f]{64}$/);
    const refused = await openWebSocket(daemon.socket, `${operation}/websocket?secret=${'0'.repeat(64)}`);
    assert.equal('status' in refused && refused.status, 403);
    const control = await connect(daemon, operation, fds['control'] ?? '');
    const [stdin, stdout, stderr] = await Promise.all(
      ['0', '1', '2'].map((fd) => connect(daemon, operation, fds[fd] ?? '')),
    );
    assert.ok(stdin !== undefined && stdout !== undefined && stderr !== undefined);
    stdin.socket.send(Buffer.from('hello\n'));
    stdin.socket.send('');
    await Promise.all([stdout.closed, stderr.closed, control.closed, stdin.closed]);
    assert.equal(stdout.frames.join('|'), 'hello\n|text:');
    assert.equal(stderr.frames.join('|'), 'err\n|text:');
    const { metadata } = await daemon.request('GET', operation);
    holds(metadata, { status: 'Success', metadata: { return: 3, fds, interactive: false } }, operation);
    const late = await openWebSocket(daemon.socket, `${operation}/websocket?secret=${fds['0'] ?? ''}`);
    assert.equal('status' in late && late.status, 400);
  });

  test('pylxd never opens the control socket, and reads the result while it drains', async () => {
    const { operation, fds } = await exec(daemon, ['echo', 'hi']);
    const [, stdout, stderr] = await Promise.all(
      ['0', '1', '2'].map((fd) => connect(daemon, operation, fds[fd] ?? '')),
    );
    await Promise.all([stdout?.closed, stderr?.closed]);
    assert.deepEqual(stdout?.frames, ['hi\n', 'text:']);
    const ended = await daemon.request('GET', `${operation}/wait`);
    assert.equal(ended.metadata.metadata.return, 0);
  });

  const ends: readonly { title: string; does: (control: WebSocket) => void; gives: number }[] = [
    {
      title: 'a signal',
      gives: 143,
      does: (control) => {
        control.send(JSON.stringify({ command: 'signal', signal: 15 }));
      },
    },
    {
      title: 'the end of the control socket',
      gives: 137,
      does: (control) => {
        control.close();
      },
    },
  ];
  for (const { title, does, gives } of ends) {
    test(`${title} ends the command with ${String(gives)}`, async () => {
      const { operation, fds } = await exec(daemon, ['sh', '-c', 'echo up; exec sleep 1000']);
      const control = await connect(daemon, operation, fds['control'] ?? '');
      const channels = await Promise.all(
        ['0', '1', '2'].map((fd) => connect(daemon, operation, fds[fd] ?? '')),
      );
      await channels[1]?.until((frames) => frames.length > 0);
      control.socket.send('no JSON');
      control.socket.send(JSON.stringify({ command: 'bogus' }));
      does(control.socket);
      const ended = await daemon.request('GET', `${operation}/wait`);
      assert.equal(ended.metadata.metadata.return, gives);
      assert.equal(ended.metadata.status, 'Success');
    });
  }

  test('a command with a terminal: one stream both ways, sizes over control', async () => {
    const { operation, fds } = await exec(daemon, ['sh'], { interactive: true, width: 80, height: 24 });
    assert.deepEqual(Object.keys(fds).sort(), ['0', 'control']);
    const control = await connect(daemon, operation, fds['control'] ?? '');
    const terminal = await connect(daemon, operation, fds['0'] ?? '');
    control.socket.send(JSON.stringify({ command: 'window-resize', args: { width: '100', height: '30' } }));
    terminal.socket.send(Buffer.from('stty size; exit 5\n'));
    await terminal.until((frames) => frames.includes('text:'));
    assert.match(terminal.frames.join(''), /(30 100|24 80)\r\n/);
    terminal.socket.close();
    await control.closed;
    const ended = await daemon.request('GET', `${operation}/wait`);
    holds(ended.metadata, { status: 'Success', metadata: { return: 5 } }, operation);
  });

  const failures: readonly { command: string[]; gives: number; err: string }[] = [
    { command: ['no-such-program'], gives: 127, err: 'Command not found' },
    { command: ['/etc/hostname'], gives: 126, err: 'Command not executable' },
    { command: [''], gives: -1, err: 'no command given' },
  ];
  for (const { command, gives, err } of failures) {
    test(`${command.join(' ')} fails with ${String(gives)}`, async () => {
      await check(
        { socketPath: daemon.socket },
        {
          ...{ ask: `POST ${I}/cfx/exec`, body: { command, environment: { A: null }, cwd: null }, code: 202 },
          ...{ ends: { err }, result: { metadata: { return: gives } } },
        },
      );
    });
  }

  test('sockets that nobody opens fail the command after five seconds', async () => {
    const { operation } = await exec(daemon, ['true']);
    const early = await daemon.request('GET', `${operation}/wait?timeout=0`);
    assert.equal(early.metadata.status, 'Running');
    const ended = await daemon.request('GET', `${operation}/wait`);
    holds(ended.metadata, { status: 'Failure', err: 'timed out waiting for websockets' }, operation);
    const cancelled = await daemon.request('DELETE', operation);
    assert.equal(cancelled.error_code, 400);
  });

  test('a console: data both ways until control is closed', async () => {
    const { operation, fds } = await start(daemon, `${I}/cfx/console`, { width: 80, height: 24, type: '' });
    assert.deepEqual(Object.keys(fds).sort(), ['0', 'control']);
    const control = await connect(daemon, operation, fds['control'] ?? '');
    const data = await connect(daemon, operation, fds['0'] ?? '');
    data.socket.send(Buffer.from('\necho se""en\n'));
    await data.until((frames) => frames.join('').includes('\nseen'));
    control.socket.close(1000, 'Detaching from console');
    await data.closed;
    const ended = await daemon.request('GET', `${operation}/wait`);
    assert.equal(ended.metadata.status, 'Success');
    const vga = await daemon.request('POST', `${I}/cfx/console`, { type: 'vga' });
    assert.equal(vga.error_code, 400);
  });
});
