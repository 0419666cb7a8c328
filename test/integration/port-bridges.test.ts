/** Bridges that are made for nics, when somebody else removes them as well. Needs root. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { PortBridges } from '../../api/network/port-bridges.ts';
import { runTool } from '../../api/tools.ts';

test('a bridge that somebody else removes at the same moment is released all the same', async () => {
  const bridge = `pb${String(process.pid % 100_000)}`;
  const bridges = new PortBridges(async (program, args, options) => {
    if (args[1] === 'delete') await runTool(program, args, options);
    return runTool(program, args, options);
  }, '/nowhere');
  await bridges.hold(bridge, 'port');
  assert.ok(existsSync(`/sys/class/net/${bridge}`));
  await bridges.release(bridge, 'port');
  assert.ok(!existsSync(`/sys/class/net/${bridge}`));
});
