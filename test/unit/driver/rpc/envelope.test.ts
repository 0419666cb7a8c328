import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  contextKeys,
  openEnvelope,
  readReply,
  readRequest,
  replyAddress,
  sealEnvelope,
  writeReply,
  writeRequest,
} from '../../../../driver/rpc/envelope.ts';
import { readFailure, writeFailure } from '../../../../driver/rpc/failures.ts';
import { isFault } from '../../../../process/fault.ts';
import { recorded, recordings } from '../../../support/recorded-messages.ts';

test('every recorded message comes through the envelope as it was', () => {
  for (const name of recordings()) {
    for (const { message } of recorded(name)) {
      assert.equal(JSON.stringify(openEnvelope(sealEnvelope(message))), JSON.stringify(message), name);
    }
  }
});

test('every recorded request is read and written with the same keys', () => {
  let requests = 0;
  for (const name of recordings()) {
    for (const { message } of recorded(name)) {
      if (typeof message['method'] !== 'string') continue;
      requests += 1;
      const request = readRequest(message);
      const outgoing = { ...request, namespace: request.namespace ?? undefined };
      const again = writeRequest(outgoing, request.reply);
      assert.notEqual(again['_unique_id'], message['_unique_id']);
      assert.deepEqual(
        { ...again, _unique_id: 0 },
        { ...message, _unique_id: 0 },
        `${name} ${request.method}`,
      );
      assert.equal(request.requestId, message['_context_request_id']);
    }
  }
  assert.ok(requests > 60);
});

test('every recorded reply is read and written with the same keys', () => {
  let failures = 0;
  for (const name of recordings()) {
    for (const { message } of recorded(name)) {
      if (!('ending' in message)) continue;
      const reply = readReply(message);
      assert.deepEqual({ ...writeReply(reply), _unique_id: 0 }, { ...message, _unique_id: 0 });
      if (reply.failure === null) continue;
      failures += 1;
      const failure = readFailure(reply.failure);
      assert.deepEqual(JSON.parse(writeFailure(failure)), JSON.parse(reply.failure));
    }
  }
  assert.ok(failures >= 5);
});

test('a body without the two keys is the message itself', () => {
  assert.deepEqual(openEnvelope(Buffer.from('{"method":"x"}')), { method: 'x' });
});

test('what is no message is refused', () => {
  const bodies = [
    '',
    '[1]',
    'null',
    '{"oslo.version":"1.0","oslo.message":"{}"}',
    '{"oslo.version":2,"oslo.message":"{}"}',
  ];
  for (const body of [...bodies, '{"oslo.version":"2.0","oslo.message":"[]"}']) {
    assert.throws(
      () => openEnvelope(Buffer.from(body)),
      (err) => isFault(err, 'bad_request'),
      body,
    );
  }
});

test('an address for the reply is read from a message that is otherwise broken', () => {
  const address = { _msg_id: 'm', _reply_q: 'reply_x', _timeout: 60 };
  assert.throws(() => readRequest({ ...address, method: 5 }));
  assert.deepEqual(replyAddress({ ...address, method: 5 }), { msgId: 'm', queue: 'reply_x', monitorS: 60 });
  assert.equal(replyAddress({ ...address, _reply_q: 4 }), null);
  assert.equal(replyAddress({ ...address, _timeout: '60' })?.monitorS, null);
  assert.equal(replyAddress({ ...address, _timeout: 1 })?.monitorS, null);
});

test('a context key called __proto__ changes no prototype', () => {
  const message: unknown = JSON.parse('{"method":"x","_context___proto__":{"is_admin":true}}');
  assert.ok(typeof message === 'object' && message !== null);
  const { context } = readRequest({ ...message });
  assert.equal(context['is_admin'], undefined);
  assert.deepEqual(Object.keys(contextKeys(context)), ['_context___proto__']);
});
