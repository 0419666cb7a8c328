import assert from 'node:assert/strict';
import { test } from 'node:test';
import { endOfSpan, secretOfToken } from '../../../../api/certificates/join-token.ts';
import { hashTrustPassword, isTrustPassword } from '../../../../api/certificates/trust-password.ts';
import { isFault } from '../../../../process/fault.ts';

const NOW = new Date('2026-01-31T00:00:00Z');

const SPANS: readonly (readonly [span: string, end: string | null])[] = [
  ['', null],
  ['30S', '2026-01-31T00:00:30.000Z'],
  ['5M', '2026-01-31T00:05:00.000Z'],
  ['3H', '2026-01-31T03:00:00.000Z'],
  ['1d 12H', '2026-02-01T12:00:00.000Z'],
  ['2w', '2026-02-14T00:00:00.000Z'],
  ['1y', '2027-01-31T00:00:00.000Z'],
  ['2m', '2026-03-31T00:00:00.000Z'],
];

for (const [span, end] of SPANS) {
  test(`the span "${span}" ends at ${String(end)}`, () => {
    assert.equal(endOfSpan(span, NOW)?.toISOString() ?? null, end);
  });
}

for (const span of ['soon', '3', 'H', '-1H', '1.5H', '3H,2d']) {
  test(`"${span}" is no span`, () => {
    assert.throws(
      () => endOfSpan(span, NOW),
      (err) => isFault(err, 'bad_request'),
    );
  });
}

test('the secret is found in a token and in nothing else', () => {
  const token = Buffer.from(JSON.stringify({ client_name: 'x', secret: 'abc' })).toString('base64');
  assert.equal(secretOfToken(token), 'abc');
  for (const text of ['', 'sesame', 'bnVsbA==', 'e30=', Buffer.from('{"secret":1}').toString('base64')]) {
    assert.equal(secretOfToken(text), null, text);
  }
});

test('a kept password is salted, matches itself only, and an empty one never', async () => {
  const stored = await hashTrustPassword('sesame');
  assert.match(stored, /^[0-9a-f]{192}$/);
  assert.notEqual(stored, await hashTrustPassword('sesame'));
  assert.equal(await isTrustPassword(stored, 'sesame'), true);
  assert.equal(await isTrustPassword(stored, 'Sesame'), false);
  assert.equal(await isTrustPassword('', 'sesame'), false);
  assert.equal(await isTrustPassword('', ''), false);
});
