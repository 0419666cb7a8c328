import assert from 'node:assert/strict';
import { get } from 'node:http';
import { after, before, test } from 'node:test';
import { openNative } from '../../native/index.ts';
import { openGuestApi } from '../../api/guest/guest-api.ts';
import type { GuestApi } from '../../api/guest/guest-api.ts';
import { Events } from '../../api/events/events.ts';
import { pathsBelow } from '../../api/paths.ts';
import type { StringMap } from '../../api/db/rows.ts';
import { SILENT } from '../../process/log.ts';
import { chmodSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { instanceParts } from '../support/tiny-instances.ts';
import { makeTinyContainer, outputOf } from '../support/tiny-container.ts';
import type { TinyContainer } from '../support/tiny-container.ts';

const native = openNative();
const state = mkdtempSync(join(tmpdir(), 'slipway-guest-'));
const events = new Events();
const configs: Record<string, StringMap> = {
  'reach-guest1': {
    'user.foo': 'one',
    'cloud-init.user-data': '#cloud-config\n',
    'limits.cpu': '1',
    'volatile.cloud-init.instance-id': 'id-1',
  },
  'reach-guest2': { 'user.foo': 'two', 'user.meta-data': 'more: 1\n' },
};
let api: GuestApi;
let one: TinyContainer;
let two: TinyContainer;

before(async () => {
  // As the daemon's own folder: the container's root goes through it while it mounts.
  chmodSync(state, 0o711);
  const known: TinyContainer[] = [];
  api = await openGuestApi({
    native,
    log: SILENT,
    events,
    paths: pathsBelow(state, join(state, 'log')),
    ...instanceParts(known, configs),
  });
  const lines = [
    `lxc.mount.entry = ${api.dir} dev/lxd none bind,create=dir 0 0`,
    // busybox has no client for unix sockets; every Debian has perl.
    'lxc.mount.entry = /usr usr none bind,ro,create=dir 0 0',
  ];
  one = await makeTinyContainer(native, 'reach-guest1', { lines });
  two = await makeTinyContainer(native, 'reach-guest2', { lines });
  known.push(one, two);
  for (const { rootfs } of known) {
    for (const lib of ['lib', 'lib64']) symlinkSync(`usr/${lib}`, join(rootfs, lib));
  }
  await one.start();
  await two.start();
});

after(async () => {
  await one.remove();
  await two.remove();
  await api.close();
  rmSync(state, { recursive: true });
});

const CLIENT = String.raw`
  use IO::Socket::UNIX;
  my $socket = IO::Socket::UNIX->new(Peer => '/dev/lxd/sock') or die "connect: $!";
  $socket->print("GET $ARGV[0] HTTP/1.0\r\n\r\n");
  while (<$socket>) { print; exit 0 if $ARGV[1] && /$ARGV[1]/ }
`;

function client(path: string, until = ''): string[] {
  return ['/usr/bin/perl', '-e', CLIENT, path, until];
}

/** Status and body of a request made inside. */
async function ask(container: TinyContainer, path: string, user = 0): Promise<string> {
  return statusAndBody(await outputOf(native, container, client(path), user));
}

function statusAndBody(text: string): string {
  const [head = '', ...body] = text.split('\r\n\r\n');
  return `${head.split(' ')[1] ?? ''} ${body.join('\r\n\r\n').trim()}`;
}

test('a guest reads what concerns itself, and each guest only that', async () => {
  assert.equal(await ask(one, '/'), '200 ["/1.0"]');
  assert.match(
    await ask(one, '/1.0'),
    /^200 \{"api_version":"1.0","instance_type":"container","location":"none","state":"Started"\}$/,
  );
  assert.equal(
    await ask(one, '/1.0/config'),
    '200 ["/1.0/config/cloud-init.user-data","/1.0/config/user.foo"]',
  );
  assert.equal(await ask(one, '/1.0/config/user.foo'), '200 one');
  assert.equal(await ask(two, '/1.0/config/user.foo'), '200 two');
  assert.equal(await ask(one, '/1.0/config/limits.cpu'), '403 not authorized');
  assert.equal(await ask(one, '/1.0/config/user.nothing'), '404 not found');
  assert.equal(await ask(one, '/1.0/nothing'), '404 not found');
  assert.equal(await ask(one, '/1.0/config/%zz'), '400 bad request');
  assert.equal(
    await ask(one, '/1.0/meta-data'),
    '200 #cloud-config\ninstance-id: id-1\nlocal-hostname: reach-guest1',
  );
  assert.equal(
    await ask(two, '/1.0/meta-data'),
    '200 #cloud-config\ninstance-id: reach-guest2\nlocal-hostname: reach-guest2\nmore: 1',
  );
  assert.equal(await ask(one, '/1.0/devices'), '200 {}');
});

test('only root of the container may ask', async () => {
  assert.match(await ask(one, '/1.0', 33), /^403 /);
});

test('a process in a nested pid namespace is known as its outer container', async () => {
  const text = await outputOf(native, two, ['unshare', '-p', '-f', ...client('/1.0/config/user.foo')]);
  assert.equal(statusAndBody(text), '200 two');
});

test('a process of the host is nobody', async () => {
  const status = await new Promise<number | undefined>((resolve, reject) => {
    get({ socketPath: join(api.dir, 'sock'), path: '/1.0' }, (res) => {
      res.resume();
      resolve(res.statusCode);
    }).on('error', reject);
  });
  assert.equal(status, 403);
});

test('security.devlxd=false ends it at once', async () => {
  const kept = configs['reach-guest2'];
  configs['reach-guest2'] = { ...kept, 'security.devlxd': 'false' };
  assert.match(await ask(two, '/1.0'), /^403 /);
  configs['reach-guest2'] = kept ?? {};
});

test('changes of keys come as events to the guest concerned', async () => {
  const pending = outputOf(native, one, client('/1.0/events?type=config', 'user.foo'));
  const kept = configs['reach-guest1'];
  const controller = new AbortController();
  const done = pending.finally(() => {
    controller.abort();
  });
  // Nothing tells when the guest listens; changes are made until one has arrived.
  for (let turn = 0; !controller.signal.aborted; turn++) {
    configs['reach-guest1'] = { ...kept, 'user.foo': `changed ${String(turn)}`, 'limits.cpu': String(turn) };
    events.lifecycle('instance-updated', '/1.0/instances/reach-guest1', { project: 'default' });
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const text = await done;
  assert.match(
    text,
    /"type":"config","metadata":\{"key":"user\.foo","old_value":"[^"]*","value":"changed \d+"\}/,
  );
  assert.ok(!text.includes('limits.cpu'));
  configs['reach-guest1'] = kept ?? {};
});
