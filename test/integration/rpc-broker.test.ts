/** The RPC layer on a real RabbitMQ. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { deflateSync } from 'node:zlib';
import { connect, type Channel, type ChannelModel } from 'amqplib';
import { openEnvelope, sealEnvelope, type Outgoing } from '../../driver/rpc/envelope.ts';
import { BrokerConnection } from '../../driver/rpc/connection.ts';
import { KeptChannel } from '../../driver/rpc/channel.ts';
import type { Json } from '../../driver/rpc/json.ts';
import type { Messaging } from '../../driver/rpc/messaging.ts';
import { NovaError, novaError } from '../../driver/rpc/nova-error.ts';
import type { RpcServer } from '../../driver/rpc/server.ts';
import { rabbitSettings } from '../../driver/rpc/settings.ts';
import { adminContext } from '../../driver/nova/context.ts';
import { isFault } from '../../process/fault.ts';
import { SILENT } from '../../process/log.ts';
import { PrivateRabbit, rabbitLacks } from '../support/private-rabbitmq.ts';
import { computeEndpoint, computeOptions, listeningLog, messaging, until } from '../support/messaging.ts';

const lacks = rabbitLacks();
const context = { ...adminContext(), project_id: 'p1', strange: [1, { a: null }] };

let rabbit: PrivateRabbit;
let model: ChannelModel;
let raw: Channel;
let service: Messaging;
let server: RpcServer;
let peer: Messaging;
const casts: Json[] = [];
const heard = listeningLog();
let release: () => void = () => undefined;

if (lacks === null) {
  before(async () => {
    rabbit = await PrivateRabbit.start();
    model = await connect(rabbit.url.replace('rabbit:', 'amqp:'));
    raw = await model.createChannel();
    service = messaging(rabbit.url, 'node-a.example', '', heard.log);
    server = service.server('compute', [
      computeEndpoint({
        echo: (request) => Promise.resolve({ args: request.args, context: request.context }),
        nothing: () => Promise.resolve(undefined),
        note: (request) => Promise.resolve(casts.push(request.args)),
        missing: () => Promise.reject(novaError('InstanceNotFound', { instance_id: 'u1' })),
        broken: () => Promise.reject(new TypeError('x is not a function')),
        circle: () => {
          const circle: Json = {};
          circle['self'] = circle;
          return Promise.resolve(circle);
        },
        wait: () =>
          new Promise((resolve) => {
            release = () => {
              resolve('waited');
            };
          }),
      }),
    ]);
    await server.start();
    peer = messaging(rabbit.url, 'node-b', 'rpc_response_timeout = 20\n');
  });
  after(async () => {
    await peer.close();
    await server.stop(1000);
    await service.close();
    await model.close();
    await rabbit.remove();
  });
}

const skip = lacks ?? false;
const here = { topic: 'compute', server: 'node-a.example' };

function request(method: string, args: Json = {}, version = '6.0'): Outgoing {
  return { method, version, args, context };
}

test('a call is answered with the result, context and arguments come whole', { skip }, async () => {
  const answer = await peer.client.call(here, request('echo', { text: 'ä\u0000', none: null }, '6.5'));
  assert.deepEqual(answer, { args: { text: 'ä\u0000', none: null }, context });
  assert.equal(await peer.client.call(here, request('nothing')), null);
});

test('requests of a cloud that packs its messages are read', { skip }, async () => {
  casts.length = 0;
  const message = { method: 'note', args: { by: 'packed' }, version: '6.0', _unique_id: 'packed-1' };
  const headers = { compression: 'application/x-gzip' };
  raw.publish('nova', 'compute.node-a.example', deflateSync(sealEnvelope(message)), { headers });
  await until('the cast came', () => casts.length === 1);
  assert.deepEqual(casts, [{ by: 'packed' }]);
});

test('the shared topic and the fanout reach the service, casts are not answered', { skip }, async () => {
  casts.length = 0;
  await peer.client.cast({ topic: 'compute' }, request('note', { by: 'topic' }));
  await peer.client.cast(here, request('note', { by: 'host' }));
  await peer.client.fanout('compute', request('note', { by: 'fanout' }));
  await until('three casts came', () => casts.length === 3);
  assert.deepEqual(casts.map((each) => each['by']).sort(), ['fanout', 'host', 'topic']);
});

test('failures come as the exception they were thrown as', { skip }, async () => {
  const cases = [
    ['missing', '6.0', 'InstanceNotFound', 'nova.exception'],
    ['broken', '6.0', 'NovaException', 'nova.exception'],
    ['circle', '6.0', 'NovaException', 'nova.exception'],
    ['nobody_knows_it', '6.0', 'NoSuchMethod', 'oslo_messaging.rpc.dispatcher'],
    ['_private', '6.0', 'NoSuchMethod', 'oslo_messaging.rpc.dispatcher'],
    ['echo', '5.13', 'UnsupportedVersion', 'oslo_messaging.rpc.dispatcher'],
    ['echo', 'six', 'UnsupportedVersion', 'oslo_messaging.rpc.dispatcher'],
  ] as const;
  for (const [method, version, className, module] of cases) {
    const failed = await peer.client.call(here, request(method, {}, version)).catch((err: unknown) => err);
    assert.ok(failed instanceof NovaError, method);
    assert.equal(failed.className, className, method);
    assert.equal(failed.module, module, method);
  }
});

test('the baseapi ping is answered with the name of the service', { skip }, async () => {
  const ping = { method: 'ping', namespace: 'baseapi', version: '1.0', args: { arg: 'x' }, context };
  assert.deepEqual(await peer.client.call(here, ping), { service: 'compute', arg: 'x' });
});

test('queues and exchanges have the options oslo.messaging gives them', { skip }, () => {
  const queues = rabbit.control(
    'list_queues',
    '--no-table-headers',
    'name',
    'durable',
    'auto_delete',
    'arguments',
  );
  const lines = queues.split('\n').map((line) => line.split('\t'));
  assert.deepEqual(
    lines.find(([name]) => name === 'compute.node-a.example'),
    ['compute.node-a.example', 'false', 'false', '[]'],
  );
  const fanout = lines.find(([name]) => /^compute_fanout_[0-9a-f]{32}$/.test(name ?? ''));
  assert.deepEqual(fanout?.slice(1), ['false', 'false', '[{"x-expires",1800000}]']);
  const reply = lines.find(([name]) => /^reply_[0-9a-f]{32}$/.test(name ?? ''));
  assert.deepEqual(reply?.slice(1), ['false', 'false', '[{"x-expires",1800000}]']);
  const exchanges = rabbit.control(
    'list_exchanges',
    '--no-table-headers',
    'name',
    'type',
    'durable',
    'auto_delete',
  );
  assert.ok(exchanges.split('\n').includes('nova\ttopic\tfalse\tfalse'));
  assert.ok(exchanges.split('\n').includes('compute_fanout\tfanout\tfalse\ttrue'));
  assert.match(rabbit.control('list_connections', 'client_properties'), /slipway-compute:\d+:[0-9a-f-]{36}/);
});

test('broken messages are dropped with a log line and the service goes on', { skip }, async () => {
  const bodies = [
    Buffer.from('{not json'),
    Buffer.from([0xff, 0xfe, 0x00]),
    Buffer.from('[]'),
    Buffer.from('{"oslo.version":"3.0","oslo.message":"{}"}'),
    Buffer.from('{"oslo.version":"2.0","oslo.message":{}}'),
    sealEnvelope({ method: 7, args: {} }),
    sealEnvelope({ method: 'echo', args: [1], version: '6.0' }),
    sealEnvelope({ method: 'echo', args: {}, version: '6.0', _msg_id: 1, _reply_q: {} }),
    sealEnvelope({ method: 'note', args: { ['__proto__']: 1, big: 'x'.repeat(10_000_000) }, version: '6.0' }),
  ];
  casts.length = 0;
  heard.lines.length = 0;
  for (const body of bodies) raw.publish('nova', 'compute.node-a.example', body);
  await until('the big one came', () => casts.length === 1);
  assert.equal(heard.lines.filter((line) => line.startsWith('a message is dropped')).length, 5);
  assert.equal(heard.lines.filter((line) => line.startsWith('a request failed')).length, 2);
  assert.equal(await peer.client.call(here, request('nothing')), null);
});

test('a request that comes twice is worked on once', { skip }, async () => {
  casts.length = 0;
  const body = sealEnvelope({ method: 'note', args: { n: 1 }, version: '6.0', _unique_id: 'f'.repeat(32) });
  for (let n = 0; n < 3; n += 1) raw.publish('nova', 'compute.node-a.example', body);
  // Answers come in the order of the queue: when this one is there, the others were seen.
  await peer.client.call(here, request('nothing'));
  assert.equal(casts.length, 1);
});

test('a watched call gets signs of life until it ends', { skip }, async () => {
  const queue = await raw.assertQueue('', { exclusive: true });
  const replies: Json[] = [];
  await raw.consume(queue.queue, (message) => {
    if (message === null) return;
    replies.push(openEnvelope(message.content));
    if (replies.length === 2) release();
  });
  const call = {
    method: 'wait',
    args: {},
    version: '6.0',
    _msg_id: 'm1',
    _reply_q: queue.queue,
    _timeout: 2,
  };
  raw.publish('nova', 'compute.node-a.example', sealEnvelope(call));
  await until('it was answered', () => replies.at(-1)?.['ending'] === true);
  assert.ok(replies.length >= 3);
  assert.deepEqual(
    replies.slice(0, 2).map((each) => [each['result'], each['failure'], each['ending']]),
    Array.from({ length: 2 }, () => [null, null, false]),
  );
  assert.equal(replies.at(-1)?.['result'], 'waited');
  assert.equal(replies.at(-1)?.['_msg_id'], 'm1');
});

test('a call that nobody answers ends in time', { skip }, async () => {
  const hasty = messaging(rabbit.url, 'node-c', 'rpc_response_timeout = 1\n');
  const nowhere = { topic: 'compute', server: 'no-such-host' };
  const plain = await hasty.client.call(nowhere, request('echo')).catch((err: unknown) => err);
  assert.ok(isFault(plain, 'timeout'));
  // A watched one has a minute, but there is no sign of life.
  const watched = await hasty.client
    .call(nowhere, request('echo'), { timeoutMs: 600_000 })
    .catch((err: unknown) => err);
  assert.ok(isFault(watched, 'timeout'));
  await hasty.close();
});

test('a call and a cast wait for a service that is away for a moment', { skip }, async () => {
  const late = { topic: 'compute', server: 'node-late' };
  const seen: string[] = [];
  const call = peer.client.call(late, request('echo', { n: 7 }));
  const cast = peer.client.cast(late, request('note', { n: 8 }));
  // On the same channel, so the two before it have come back by now.
  await peer.client.call(here, request('nothing'));
  const other = messaging(rabbit.url, 'node-late');
  const serves = other.server('compute', [
    computeEndpoint({
      echo: ({ args }) => Promise.resolve(seen.push(`echo ${String(args['n'])}`)),
      note: ({ args }) => Promise.resolve(seen.push(`note ${String(args['n'])}`)),
    }),
  ]);
  await serves.start();
  await Promise.all([call, cast]);
  await until('the cast came', () => seen.length === 2);
  assert.deepEqual(seen.toSorted(), ['echo 7', 'note 8']);
  await serves.stop(1000);
  await other.close();
});

test('an answer waits for the queue of a caller that is away for a moment', { skip }, async () => {
  const call = { method: 'echo', args: { n: 5 }, version: '6.0', _msg_id: 'm2', _reply_q: 'reply_late' };
  heard.lines.length = 0;
  raw.publish('nova', 'compute.node-a.example', sealEnvelope(call));
  await peer.client.call(here, request('nothing'));
  await raw.assertQueue('reply_late', { durable: false });
  let reply: Json | null = null;
  await raw.consume('reply_late', (message) => {
    if (message !== null) reply = openEnvelope(message.content);
  });
  await until('the reply came', () => reply !== null);
  await raw.deleteQueue('reply_late');
});

test('a consumer that the broker cancels comes back', { skip }, async () => {
  await raw.deleteQueue('compute.node-a.example');
  await until('the queue is there again', async () => {
    const look = await model.createChannel();
    look.on('error', () => undefined);
    return look.checkQueue('compute.node-a.example').then(
      async (found) => {
        await look.close();
        return found.consumerCount === 1;
      },
      () => false,
    );
  });
  assert.equal(await peer.client.call(here, request('nothing')), null);
});

test('a channel that the broker closes is built anew', { skip }, async () => {
  const { oslo_messaging_rabbit: options } = computeOptions('');
  const connection = new BrokerConnection(rabbitSettings(rabbit.url, options, 'nova'), 'test', SILENT);
  connection.start();
  let setups = 0;
  const kept = new KeptChannel({
    connection,
    log: SILENT,
    setup: () => {
      setups += 1;
      return Promise.resolve();
    },
  });
  const first = await kept.get();
  // An exchange of another type under a name that is taken: the broker closes the channel.
  await assert.rejects(first.channel.assertExchange('nova', 'fanout', { durable: false }));
  await until('there is another channel', () => kept.now !== null && kept.now.channel !== first.channel);
  assert.equal(setups, 2);
  await kept.close();
  await connection.close();
});

test('what is there with other durability is used as it is', { skip }, async () => {
  await raw.assertExchange('old', 'topic', { durable: true });
  await raw.assertQueue('compute.node-d', { durable: true });
  const odd = messaging(rabbit.url, 'node-d', 'control_exchange = old\n', heard.log);
  heard.lines.length = 0;
  const other = odd.server('compute', [computeEndpoint({ hello: () => Promise.resolve('hello') })]);
  await other.start();
  const answer = await odd.client.call({ topic: 'compute', server: 'node-d' }, request('hello'));
  assert.equal(answer, 'hello');
  assert.ok(heard.lines.some((line) => line.includes("inequivalent arg 'durable'")));
  await other.stop(1000);
  await odd.close();
});

test('notifications wait in their queues for a reader and carry no token', { skip }, async () => {
  const extra =
    '[oslo_messaging_notifications]\ndriver = messagingv2\n[notifications]\nnotification_format = both\n';
  const told = messaging(rabbit.url, 'node-e', extra);
  const secret = { ...context, auth_token: 'secret', service_catalog: [{ type: 'image' }] };
  told.notifier.legacy(secret, 'compute.instance.create.start', { instance_id: 'u1' });
  told.notifier.versioned(
    secret,
    'instance.create.start',
    { 'nova_object.name': 'InstanceCreatePayload' },
    'error',
  );
  await told.notifier.settled();
  const legacy = await raw.get('notifications.info', { noAck: true });
  const versioned = await raw.get('versioned_notifications.error', { noAck: true });
  assert.ok(legacy !== false && versioned !== false);
  const message = openEnvelope(legacy.content);
  assert.equal(message['event_type'], 'compute.instance.create.start');
  assert.equal(message['publisher_id'], 'compute.node-e');
  assert.equal(message['priority'], 'INFO');
  assert.match(String(message['timestamp']), /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}$/);
  assert.equal(message['_context_project_id'], 'p1');
  assert.ok(!legacy.content.includes('secret') && !('_context_service_catalog' in message));
  assert.equal(openEnvelope(versioned.content)['publisher_id'], 'nova-compute:node-e');
  await told.close();
});

test('a server that stops lets its work end and leaves no fanout queue', { skip }, async () => {
  const leaving = messaging(rabbit.url, 'node-f');
  let finish: (value: string) => void = () => undefined;
  const last = leaving.server('compute-alt', [
    computeEndpoint({
      slow: () =>
        new Promise((resolve) => {
          finish = resolve;
        }),
    }),
  ]);
  await last.start();
  const answer = peer.client.call({ topic: 'compute-alt', server: 'node-f' }, request('slow'));
  await until('it is being worked on', () => last.busy === 1);
  const stopped = last.stop(30_000);
  finish('done');
  assert.equal(await stopped, 0);
  assert.equal(await answer, 'done');
  await leaving.close();
  assert.ok(!rabbit.control('list_queues', 'name').includes('compute-alt_fanout_'));
});

test(
  'a server that drains takes what its work waits for, and leaves the rest to the next',
  { skip },
  async () => {
    const taken: string[] = [];
    const endpoint = (who: string) =>
      computeEndpoint({
        event: () => Promise.resolve(taken.push(`${who} event`)),
        build: () => Promise.resolve(taken.push(`${who} build`)),
      });
    const old = service.server('drained', [endpoint('old')]);
    await old.start();
    await old.drain(new Set(['event']));
    const there = { topic: 'drained', server: 'node-a.example' };
    await peer.client.cast(there, request('build'));
    await peer.client.cast(there, request('event'));
    await until('the event was taken', () => taken.length > 0);
    assert.deepEqual(taken, ['old event']);
    await old.stop(0);
    const next = service.server('drained', [endpoint('new')]);
    await next.start();
    await until('the build was taken', () => taken.length > 1);
    assert.deepEqual(taken, ['old event', 'new build']);
    await next.stop(0);
  },
);
