import assert from 'node:assert/strict';
import { test } from 'node:test';
import { watchMonitor } from '../../../../api/instances/monitors.ts';
import type { Monitor } from '../../../../native/types.ts';
import { Fault } from '../../../../process/fault.ts';
import { fakeNative } from '../../../support/fake-native.ts';

type Parts = Parameters<typeof watchMonitor>[0];

function partsOf(monitor: Partial<Monitor>, onEnded: (id: string) => void): Parts {
  return {
    native: fakeNative({ monitor: () => monitor as Monitor }), // what a watch asks is there
    paths: { lxc: '/nowhere' },
    host: { unified: '/sys/fs/cgroup', v1: {} },
    onEnded,
  } as Parts; // and of the parts as well
}

test('a guest that ends as soon as its monitor is followed is noticed', async () => {
  const ended: string[] = [];
  const parts = partsOf(
    {
      cgroupPath: () => Promise.reject(new Fault('unavailable', 'container is not running')),
      watch: (onState) => {
        onState('RUNNING');
        onState('STOPPED');
        return Promise.resolve({ close: () => undefined });
      },
    },
    (id) => ended.push(id),
  );
  const running = await watchMonitor(parts, 'a', 'c1', 42);
  await running.gone;
  assert.deepEqual(ended, ['a']);
  running.close();
});
