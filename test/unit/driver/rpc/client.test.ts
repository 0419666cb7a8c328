/** Requests that no service takes at first: a broker that was restarted knows no queues. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BrokerConnection } from '../../../../driver/rpc/connection.ts';
import { RpcClient } from '../../../../driver/rpc/client.ts';
import type { Fate, Publication } from '../../../../driver/rpc/publisher.ts';
import { rabbitSettings } from '../../../../driver/rpc/settings.ts';
import { adminContext } from '../../../../driver/nova/context.ts';
import { computeOptions, listeningLog } from '../../../support/messaging.ts';

const CAST = { method: 'build_instances', version: '1.19', args: {}, context: adminContext() };

function clientOf(fates: readonly Fate[], responseTimeoutMs: number) {
  const sent: Publication[] = [];
  const heard = listeningLog();
  const settings = rabbitSettings(
    'rabbit://u:p@127.0.0.1:1/',
    computeOptions('').oslo_messaging_rabbit,
    'nova',
  );
  const client = new RpcClient({
    connection: new BrokerConnection(settings, 'test', heard.log),
    publisher: {
      publish: (publication) => {
        sent.push(publication);
        return Promise.resolve(fates[sent.length - 1] ?? 'returned');
      },
    },
    topology: settings.topology,
    names: () => 'reply_test',
    responseTimeoutMs,
    log: heard.log,
  });
  return { client, sent, lines: heard.lines };
}

test('a cast that no queue took is sent again, the same message', async () => {
  const { client, sent, lines } = clientOf(['returned', 'routed'], 60_000);
  await client.cast({ topic: 'conductor' }, CAST);
  assert.equal(sent.length, 2);
  assert.ok(sent.every(({ key, mandatory }) => key === 'conductor' && mandatory === true));
  assert.equal(sent[0]?.body, sent[1]?.body);
  assert.deepEqual(lines, []);
});

test('a cast that no queue takes in time is given up and told', async () => {
  const { client, sent, lines } = clientOf([], 0);
  await client.cast({ topic: 'compute', server: 'gone' }, CAST);
  assert.equal(sent.length, 1);
  assert.deepEqual(lines, ['a request reached no service {"to":"compute.gone"}']);
});

test('a cast that is not wanted any more is not sent again', async () => {
  const { client, sent } = clientOf([], 60_000);
  await assert.rejects(client.cast({ topic: 'conductor' }, CAST, AbortSignal.abort()), {
    name: 'AbortError',
  });
  assert.equal(sent.length, 1);
});
