import assert from 'node:assert/strict';
import { test } from 'node:test';
import { errorAnswer } from '../../../api/http/faults.ts';
import { Fault, FAULTS, type FaultCode } from '../../../process/fault.ts';

const CODES = Object.keys(FAULTS) as FaultCode[];

test('every code of a fault becomes an error that REST clients know, and is no bug', () => {
  for (const code of CODES) {
    const answer = errorAnswer(new Fault(code, 'do a thing'), true);
    assert.ok([400, 403, 404, 409, 412, 413, 423, 500, 501, 503, 507].includes(answer.status), code);
    assert.equal(answer.isBug, false, code);
    assert.equal(answer.text, 'do a thing', code);
  }
});

test('what is no fault is a bug and tells nothing of itself', () => {
  const answer = errorAnswer(new TypeError('x of undefined'), true);
  assert.equal(answer.status, 500);
  assert.equal(answer.isBug, true);
  assert.doesNotMatch(answer.text, /undefined/);
});
