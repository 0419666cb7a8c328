import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { Progress, type Terminal } from '../../../../api/setup/progress.ts';

const CLEAR_LINE = '\r\u001b[2K';

function sink(isTTY: boolean): { out: Terminal; text: () => string } {
  let text = '';
  const out = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString();
      done();
    },
  });
  return { out: Object.assign(out, { isTTY, columns: 80 }), text: () => text };
}

test('without a terminal a step is a line at its start and one at its end', async () => {
  const { out, text } = sink(false);
  const progress = new Progress(out);
  const value = await progress.step('storage', (report) => {
    report.detail('unpacking');
    report.result('pool made');
    return Promise.resolve(7);
  });
  assert.equal(value, 7);
  assert.match(text(), /^-> storage \.\.\.\n {3}pool made, \d+\.\d s\n$/);
  assert.equal(progress.times[0]?.what, 'storage');
});

test('a failed step says so and hands the error on', async () => {
  const { out, text } = sink(false);
  const failing = new Progress(out).step('image', () => Promise.reject(new Error('no mirror')));
  await assert.rejects(failing, /no mirror/);
  assert.match(text(), /failed after \d/);
});

test('on a terminal one line is rewritten and ends as a whole line, never wider than the screen', async () => {
  const { out, text } = sink(true);
  await new Progress(out).step('image', (report) => {
    report.detail('x'.repeat(300));
    return Promise.resolve();
  });
  for (const part of text().split(CLEAR_LINE)) assert.ok(part.length <= 80, part);
  assert.match(text().split(CLEAR_LINE).at(-1) ?? '', /^-> image: done, \d+\.\d s\n$/);
});

test('a reader that leaves does not end the work', async () => {
  const out = new Writable({
    write(_chunk, _encoding, done) {
      done(new Error('EPIPE'));
    },
  });
  assert.equal(await new Progress(out).step('a', () => Promise.resolve('done')), 'done');
});
