import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { LxcClient, SKIP } from '../support/lxc-client.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

let daemon: SlipwayDaemon;
let lxc: LxcClient;
let url = '';

before(async () => {
  daemon = await SlipwayDaemon.start();
  await daemon.furnish('rclrbr0');
  await daemon.importImage(await buildTinyImage(daemon.dir), 'tiny');
  lxc = await LxcClient.create(daemon);
  const address = `127.0.0.1:${String(await freePort())}`;
  await daemon.done('PATCH', '/1.0', {
    config: { 'core.https_address': address, 'core.trust_password': 'sesame' },
  });
  url = `https://${address}`;
  await daemon.done('POST', '/1.0/instances', { name: 'm', source: { type: 'image', alias: 'tiny' } });
  await daemon.done('PUT', '/1.0/instances/m/state', { action: 'start' });
});

after(async () => {
  await daemon.destroy();
  await lxc.close();
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  assert.ok(address !== null && typeof address === 'object');
  return address.port;
}

test('a remote joined with the password does what the socket does', { skip: SKIP }, async () => {
  const wrong = ['remote', 'add', 'bad', url, '--accept-certificate', '--password', 'wrong'];
  assert.match(await lxc.refused(...wrong), /not authorized|Forbidden|authoriz/i);
  await lxc.ok('remote', 'add', 'far', url, '--accept-certificate', '--password', 'sesame');
  assert.match(await lxc.ok('remote', 'list', '-f', 'csv'), /^far,https:.*,lxd,tls,NO,NO,NO$/m);
  await lxc.ok('launch', 'far:tiny', 'far:r');
  assert.equal(await lxc.ok('list', 'far:r', '-f', 'csv', '-c', 'ns'), 'r,RUNNING\n');
  const ran = await lxc.run(['exec', 'far:r', '--', 'sh', '-c', 'cat; exit 3'], { input: 'typed' });
  assert.deepEqual([ran.code, ran.out], [3, 'typed']);
  assert.match((await lxc.terminal(['exec', 'far:r', '--', 'tty'])).out, /\/dev\/pts/);
  await lxc.shell('echo sent | lxc file push - far:r/root/sent');
  assert.equal(await lxc.ok('file', 'pull', 'far:r/root/sent', '-'), 'sent\n');
  await lxc.ok('remote', 'switch', 'far');
  await lxc.ok('config', 'set', 'r', 'user.a=1');
  await lxc.ok('stop', '-f', 'r');
  await lxc.ok('remote', 'switch', 'local');
  assert.equal(await lxc.ok('config', 'get', 'r', 'user.a'), '1\n');
  await lxc.ok('delete', 'far:r');
});

test('a token lets one client in, once', { skip: SKIP }, async () => {
  const token = (await lxc.ok('config', 'trust', 'add', '--name', 'guest')).trim().split('\n').at(-1) ?? '';
  assert.match(await lxc.ok('config', 'trust', 'list-tokens', '-f', 'csv'), /^guest,/);
  const other = await LxcClient.create(daemon);
  const third = await LxcClient.create(daemon);
  try {
    await other.ok('remote', 'add', 'by-token', token, '--accept-certificate');
    assert.match(await other.ok('info', 'by-token:'), /auth: trusted/);
    assert.equal((await lxc.ok('config', 'trust', 'list-tokens', '-f', 'csv')).trim(), '');
    const again = await third.run(['remote', 'add', 'again', token, '--accept-certificate']);
    assert.notEqual(again.code, 0);
    const row = (await lxc.ok('config', 'trust', 'list', '-f', 'csv'))
      .split('\n')
      .find((l) => l.includes('guest'));
    const mark = row?.split(',')[3] ?? '';
    assert.match(await lxc.ok('config', 'trust', 'show', mark), /^name: guest$/m);
    await lxc.ok('config', 'trust', 'remove', mark);
    assert.notEqual((await other.run(['list', 'by-token:'])).code, 0);
  } finally {
    await other.close();
    await third.close();
  }
});

test('a client that joined with the password is listed, shown and shut out', { skip: SKIP }, async () => {
  const other = await LxcClient.create(daemon);
  try {
    await other.ok('remote', 'add', 'joined', url, '--accept-certificate', '--password', 'sesame');
    const mark = await fingerprintOf(other);
    const listed = await other.ok('config', 'trust', 'list', 'joined:');
    const heading = listed.split('\n').find((line) => line.includes('TYPE')) ?? '';
    const columns = heading.split('|').map((column) => column.trim());
    assert.deepEqual(columns, [
      '',
      'TYPE',
      'NAME',
      'COMMON NAME',
      'FINGERPRINT',
      'ISSUE DATE',
      'EXPIRY DATE',
      '',
    ]);
    const row = listed.split('\n').find((line) => line.includes(mark.slice(0, 12))) ?? '';
    assert.match(row, /^\| client +\| 127\.0\.0\.1 +\| /);
    const shown = await lxc.ok('config', 'trust', 'show', mark);
    assert.match(shown, /^name: 127\.0\.0\.1$/m);
    assert.match(shown, /^type: client$/m);
    assert.match(shown, /^restricted: false$/m);
    await lxc.ok('config', 'trust', 'remove', mark);
    assert.doesNotMatch(await lxc.ok('config', 'trust', 'list'), new RegExp(mark.slice(0, 12)));
    assert.match(await other.refused('config', 'trust', 'list', 'joined:'), /not authorized|Forbidden/i);
  } finally {
    await other.close();
  }
});

test('a token for some projects makes a client of those projects', { skip: SKIP }, async () => {
  await lxc.ok('project', 'create', 'p1');
  await lxc.ok('config', 'trust', 'add', '--name', 'laptop', '--restricted', '--projects', 'p1');
  const tokens = await lxc.ok('config', 'trust', 'list-tokens', '--format', 'csv');
  const token = /^laptop,([A-Za-z0-9+/=]+),/m.exec(tokens)?.[1];
  assert.ok(token !== undefined, tokens);
  const other = await LxcClient.create(daemon);
  try {
    await other.ok('remote', 'add', 'tokened', token);
    assert.equal((await lxc.ok('config', 'trust', 'list-tokens', '--format', 'csv')).trim(), '');
    const mark = await fingerprintOf(other);
    const shown = await lxc.ok('config', 'trust', 'show', mark);
    assert.match(shown, /^name: laptop$/m);
    assert.match(shown, /^restricted: true$/m);
    assert.match(shown, /^projects:\n- p1$/m);
    assert.equal(await other.ok('list', 'tokened:', '--project', 'p1', '-f', 'csv'), '');
    assert.match(
      await other.refused('list', 'tokened:', '--project', 'default'),
      /not authorized|Forbidden/i,
    );
    await lxc.ok('config', 'trust', 'remove', mark);
  } finally {
    await other.close();
  }
  await lxc.ok('project', 'delete', 'p1');
});

test('a client that is trusted already is told so when it comes with a token', { skip: SKIP }, async () => {
  const other = await LxcClient.create(daemon);
  try {
    await other.ok('remote', 'add', 'once', url, '--accept-certificate', '--password', 'sesame');
    const lines = (await lxc.ok('config', 'trust', 'add', '--name', 'twice')).trim().split('\n');
    const again = await other.run(['remote', 'add', 'again', lines.at(-1) ?? '', '--accept-certificate']);
    assert.notEqual(again.code, 0);
    assert.match(again.err, /already trusted/);
    await lxc.ok('config', 'trust', 'revoke-token', 'twice');
    await lxc.ok('config', 'trust', 'remove', await fingerprintOf(other));
  } finally {
    await other.close();
  }
});

/** Of the certificate that the client has made for itself. */
async function fingerprintOf(client: LxcClient): Promise<string> {
  const certificate = new X509Certificate(await readFile(join(client.conf, 'client.crt')));
  return certificate.fingerprint256.replaceAll(':', '').toLowerCase();
}

const EVENTS: readonly (readonly [string, readonly string[], RegExp])[] = [
  ['lifecycle', ['--type=lifecycle'], /^ *action: profile-updated$/m],
  ['lifecycle as JSON', ['--type=lifecycle', '--format=json'], /"action":"profile-updated"/],
  ['operation', ['--type=operation'], /^ *description: Executing command$/m],
  ['logging', ['--pretty', '--type=logging'], /operation failed/],
  ['every', [], /^type: lifecycle$/m],
];

for (const [name, args, wanted] of EVENTS) {
  test(`monitor shows ${name} events as they happen`, { skip: SKIP }, async () => {
    const child = lxc.start('/usr/bin/lxc', ['monitor', ...args]);
    const ended = once(child, 'exit');
    let seen = '';
    assert.ok(child.stdout !== null);
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (seen += chunk));
    // Nothing tells when the monitor listens, so there is something to hear until it has heard.
    const poke = setInterval(() => {
      void daemon.request('PATCH', '/1.0/profiles/default', { description: String(Date.now()) });
      void daemon.request('POST', '/1.0/instances/m/exec', { command: ['nosuch'] });
    }, 300);
    try {
      while (!wanted.test(seen)) await once(child.stdout, 'data', { signal: AbortSignal.timeout(20_000) });
    } finally {
      clearInterval(poke);
      child.kill('SIGTERM');
      await ended;
    }
  });
}

test('operations are listed, shown and cancelled', { skip: SKIP }, async () => {
  await lxc.ok('config', 'trust', 'add', '--name', 'later');
  const line = (await lxc.ok('operation', 'list', '-f', 'csv'))
    .split('\n')
    .find((one) => one.includes(',TOKEN,') && /running/i.test(one));
  const id = line?.split(',')[0] ?? '';
  assert.match(await lxc.ok('operation', 'show', id), /^class: token$/m);
  await lxc.ok('operation', 'delete', id);
  assert.equal((await lxc.ok('config', 'trust', 'list-tokens', '-f', 'csv')).trim(), '');
  assert.match(await lxc.refused('operation', 'show', 'nope'), /not found/i);
});

test('query, warnings and what there is not', { skip: SKIP }, async () => {
  const server = JSON.parse(await lxc.ok('query', '/1.0')) as { auth: string }; // as printed
  assert.equal(server.auth, 'trusted');
  const body = '{"name":"q","config":{"user.a":"1"}}';
  await lxc.ok('query', '-X', 'POST', '-d', body, '/1.0/profiles');
  assert.match(await lxc.ok('query', '/1.0/profiles/q'), /"user\.a": "1"/);
  await lxc.ok('query', '-X', 'DELETE', '/1.0/profiles/q');
  assert.match(await lxc.refused('query', '/1.0/nope'), /not found/);
  assert.equal(await lxc.ok('warning', 'list', '-f', 'csv'), '');
  assert.match(await lxc.refused('cluster', 'list'), /clustering/);
});
