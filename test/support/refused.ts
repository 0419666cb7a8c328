import assert from 'node:assert/strict';
import { isFault } from '../../process/fault.ts';
import type { FaultCode } from '../../process/fault.ts';

/** The work must fail with a Fault of this code whose message has the text. */
export async function refusedWith(work: Promise<unknown>, code: FaultCode, text: string): Promise<void> {
  await assert.rejects(work, (err) => {
    assert.ok(isFault(err, code), `expected ${code}, got ${String(err)}`);
    assert.ok(err.message.includes(text), err.message);
    return true;
  });
}
