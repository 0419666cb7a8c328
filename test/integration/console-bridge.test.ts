/** Serial consoles over plain TCP, as nova-serialproxy reaches them, at guests of a real daemon. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { after, before, test } from 'node:test';
import type { Caller } from '../../driver/lxd/client.ts';
import type { ConsoleAddress } from '../../driver/lxd/guest-types.ts';
import { isNovaError } from '../../driver/rpc/nova-error.ts';
import { GuestHost } from '../support/guest-host.ts';
import { until } from '../support/messaging.ts';
import { novaInstance } from '../support/nova-objects.ts';

const caller: Caller = { requestId: 'req-c0de' };
const TIMEOUT = { timeout: 60_000 };
const [first, second] = [
  novaInstance({ id: 0x7c1, uuid: '135877f5-8316-4b41-9393-0000000007c1' }),
  novaInstance({ id: 0x7c2, uuid: '135877f5-8316-4b41-9393-0000000007c2' }),
];

let host: GuestHost;

before(async () => {
  const config = '[serial_console]\nenabled = true\nport_range = 23830:23831\n';
  host = await GuestHost.open({ config });
  for (const instance of [first, second]) {
    await host.guests.spawn(caller, host.request(instance));
  }
});

after(() => host.close());

/** Somebody at a console. */
class Visitor {
  text = '';
  readonly socket: net.Socket;
  isGone = false;

  constructor(address: ConsoleAddress) {
    this.socket = net.connect(address.port, address.host);
    this.socket.setEncoding('utf8').on('data', (chunk: string) => (this.text += chunk));
    this.socket.on('error', () => undefined);
    this.socket.once('close', () => {
      this.isGone = true;
    });
  }

  /** Types until the guest has answered: its shell may not have started yet. */
  async ask(command: string, expected: string): Promise<void> {
    this.socket.write(`${command}\n`);
    await until(`the console shows ${expected}`, () => this.text.includes(expected));
  }

  async leave(): Promise<void> {
    this.socket.destroy();
    if (!this.isGone) await once(this.socket, 'close');
  }
}

test('who connects is at the console of that guest, one at a time', TIMEOUT, async () => {
  const address = await host.guests.serialConsole(caller, first.uuid);
  assert.deepEqual(await host.guests.serialConsole(caller, first.uuid), address);
  assert.notDeepEqual(await host.guests.serialConsole(caller, second.uuid), address);

  const visitor = new Visitor(address);
  await visitor.ask('echo I am $((40 + 2))', 'I am 42');
  const late = new Visitor(address);
  await until('the second is sent away', () => late.isGone);
  assert.match(late.text, /in use/);
  await visitor.ask('echo still $((40 + 3))', 'still 43');
  await visitor.leave();

  const next = new Visitor(address);
  await next.ask('echo again $((40 + 4))', 'again 44');
  await next.leave();
  assert.equal((await host.client.state(caller, 'instance-000007c1')).status, 'Running');
});

test('much output goes through whole', TIMEOUT, async () => {
  const visitor = new Visitor(await host.guests.serialConsole(caller, second.uuid));
  await visitor.ask('seq 100000 | md5sum; seq 100000; echo e"n"d', '\nend');
  const numbers = visitor.text.split(/\r*\n/).filter((line) => /^\d+$/.test(line));
  assert.equal(numbers.length, 100_000);
  assert.equal(numbers.at(-1), '100000');
  await visitor.leave();
});

test('a guest that stops sends its visitor away and frees the port', TIMEOUT, async () => {
  const address = await host.guests.serialConsole(caller, first.uuid);
  const visitor = new Visitor(address);
  await visitor.ask('echo here $((40 + 5))', 'here 45');
  await host.guests.powerOff(caller, first.uuid, 0);
  await until('the visitor is gone', () => visitor.isGone);
  const refused = new Visitor(address);
  await until('nobody listens', () => refused.isGone);
  assert.equal(refused.text, '');
  await assert.rejects(host.guests.serialConsole(caller, first.uuid), (err) =>
    isNovaError(err, 'InstanceNotRunning'),
  );
});

test('ports beyond the range, or of others, are not used', TIMEOUT, async () => {
  const others = net.createServer();
  others.listen(23830, '127.0.0.1');
  await once(others, 'listening');
  await host.guests.powerOn(caller, first.uuid, []);
  const before = await host.guests.serialConsole(caller, second.uuid);
  assert.equal(before.port, 23_831);
  await assert.rejects(host.guests.serialConsole(caller, first.uuid), (err) =>
    isNovaError(err, 'ConsoleNotAvailable'),
  );
  others.close();
  await once(others, 'close');
  assert.equal((await host.guests.serialConsole(caller, first.uuid)).port, 23_830);
});
