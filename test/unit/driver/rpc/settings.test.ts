import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rabbitSettings } from '../../../../driver/rpc/settings.ts';
import { fanoutExchange, fanoutQueue, replyQueue, topicQueue } from '../../../../driver/rpc/topology.ts';
import { parseTransportUrl } from '../../../../driver/rpc/transport-url.ts';
import { queueNames, SeenIds } from '../../../../driver/rpc/unique-id.ts';
import { describeChain, isFault } from '../../../../process/fault.ts';
import { computeOptions } from '../../../support/messaging.ts';

function settings(rabbit: string, url = 'rabbit://h') {
  const options = computeOptions(`[oslo_messaging_rabbit]\n${rabbit}`).oslo_messaging_rabbit;
  return rabbitSettings(url, options, 'nova');
}

test('transport URLs are read', () => {
  const several = parseTransportUrl('rabbit://a:p%40ss@h1:5673,b:x@y@[fd00::1]:1,h3/my%2Fhost?ssl=1&x=y');
  assert.deepEqual(several.brokers, [
    { host: 'h1', port: 5673, user: 'a', password: 'p@ss' },
    { host: 'fd00::1', port: 1, user: 'b', password: 'x@y' },
    { host: 'h3', port: 5671, user: 'guest', password: 'guest' },
  ]);
  assert.equal(several.vhost, 'my/host');
  assert.equal(several.options.get('x'), 'y');
  for (const url of ['rabbit://', 'rabbit://h', 'rabbit://h/', 'kombu://h:5672/']) {
    assert.equal(parseTransportUrl(url).vhost, '/', url);
  }
  assert.equal(parseTransportUrl('rabbit://u:100%@h/').brokers[0]?.password, '100%');
});

test('a wrong transport URL is refused without its password', () => {
  for (const url of [
    '',
    'nova',
    'amqp1://u:secret@h',
    'rabbit://u:secret@h:99999/',
    'rabbit://u:secret@h:x/',
  ]) {
    assert.throws(
      () => parseTransportUrl(url),
      (err) => isFault(err, 'bad_request') && !describeChain(err).includes('secret'),
      url,
    );
  }
});

test('options of the URL go before those of the file, unknown ones are left alone', () => {
  const made = settings(
    'heartbeat_timeout_threshold = 10',
    'rabbit://h/?heartbeat_timeout_threshold=7&amqp_durable_queues=true&other=1',
  );
  assert.equal(made.heartbeatS, 7);
  assert.equal(made.topology.durable, true);
  assert.throws(() => settings('', 'rabbit://h/?rabbit_quorum_queue=perhaps'), /option rabbit_quorum_queue/);
});

test('queues are as oslo.messaging declares them', () => {
  const plain = settings('').topology;
  assert.deepEqual(topicQueue(plain, 'compute.a.b').args, {});
  assert.deepEqual(fanoutQueue(plain, 'compute', 'x').args, { 'x-expires': 1_800_000 });
  assert.equal(fanoutExchange(plain, 'compute').durable, false);
  const quorum = settings('rabbit_quorum_queue = true\nrabbit_quroum_max_memory_length = 5').topology;
  const args = { 'x-queue-type': 'quorum', 'x-max-in-memory-length': 5 };
  assert.deepEqual(topicQueue(quorum, 'compute').args, args);
  assert.equal(topicQueue(quorum, 'compute').durable, true);
  assert.equal(replyQueue(quorum, 'x').durable, false);
  const transient = settings(
    'rabbit_transient_quorum_queue = true\nrabbit_transient_queues_ttl = 0',
  ).topology;
  assert.deepEqual(replyQueue(transient, 'x').args, { 'x-queue-type': 'quorum' });
  assert.equal(fanoutExchange(transient, 'compute').durable, true);
  const stream = settings('rabbit_stream_fanout = true\nrabbit_qos_prefetch_count = 10').topology;
  const fanout = fanoutQueue(stream, 'compute', 'x');
  assert.equal(fanout.name, 'compute_fanout');
  assert.deepEqual(fanout.args, { 'x-queue-type': 'stream', 'x-max-age': '1800s' });
  assert.deepEqual(replyQueue(settings('rabbit_ha_queues = yes').topology, 'x').args, {
    'x-ha-policy': 'all',
    'x-expires': 1_800_000,
  });
});

test('options that cannot hold together are refused', () => {
  assert.throws(() => settings('rabbit_ha_queues = true\nrabbit_quorum_queue = true'), /cannot both be set/);
  assert.throws(() => settings('rabbit_stream_fanout = true'), /rabbit_qos_prefetch_count/);
  assert.throws(() => settings('ssl = true\nssl_ca_file = /no/such.pem'), /ssl_ca_file/);
});

test('the queue manager counts names through all queues of the process', () => {
  const names = queueNames(
    settings('use_queue_manager = true\nhostname = h\nprocessname = p').topology.namedQueues,
  );
  assert.deepEqual([names(), names()], ['h:p:1', 'h:p:2']);
  assert.match(queueNames(null)(), /^[0-9a-f]{32}$/);
});

test('ids are remembered up to a limit', () => {
  const seen = new SeenIds(2);
  assert.deepEqual(
    ['a', 'b', 'a', 'c', 'a'].map((id) => seen.add(id)),
    [true, true, false, true, true],
  );
});
