import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runTool } from '../../../api/tools.ts';
import { isFault } from '../../../process/fault.ts';

test('a program gets its input and gives its output, and inherits nothing of our environment', async () => {
  process.env['SLIPWAY_TEST_SECRET'] = 'secret';
  const { stdout } = await runTool('sh', ['-c', 'cat; env'], { stdin: 'hello\n', env: { EXTRA: 'yes' } });
  assert.match(stdout, /^hello$/m);
  assert.match(stdout, /^EXTRA=yes$/m);
  assert.doesNotMatch(stdout, /SECRET/);
});

test('a failure carries the exit code and the last lines of standard error', async () => {
  const running = runTool('sh', [
    '-c',
    'echo first >&2; echo second >&2; echo third >&2; echo fourth >&2; exit 3',
  ]);
  await assert.rejects(running, (err) => {
    assert.ok(isFault(err, 'tool_failed'));
    assert.equal(err.message, 'run sh: exit code 3: second; third; fourth');
    assert.equal(err.facts['exitCode'], 3);
    return true;
  });
});

test('an exit code that is no failure is told', async () => {
  assert.equal((await runTool('sh', ['-c', 'exit 1'], { okCodes: [0, 1] })).code, 1);
});

test('a program that is not installed is named with its package', async () => {
  const running = runTool('/nonexistent/unsquashfs', []);
  await assert.rejects(
    running,
    /unsquashfs: the program is not installed; install the package squashfs-tools/,
  );
});

test('a program that hangs is ended at the time limit', async () => {
  await assert.rejects(runTool('sleep', ['60'], { timeoutMs: 50 }), (err) => isFault(err, 'timeout'));
});

test('an aborted run throws the reason of the signal', async () => {
  const controller = new AbortController();
  const reason = new Error('enough');
  const running = runTool('sleep', ['60'], { signal: controller.signal });
  controller.abort(reason);
  await assert.rejects(running, reason);
  await assert.rejects(runTool('true', [], { signal: controller.signal }), reason);
});

test('a program that prints without end is stopped', async () => {
  const running = runTool('yes', [], { maxOutputBytes: 1000 });
  await assert.rejects(running, /printed more than 1000 bytes/);
});

test('a program that does not read its input is no failure', async () => {
  await runTool('true', [], { stdin: 'x'.repeat(1_000_000) });
});
