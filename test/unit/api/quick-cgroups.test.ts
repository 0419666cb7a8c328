import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isQuick } from '../../../api/quick-cgroups.ts';

const line = (path: string, type: string, options: string): string =>
  `31 24 0:27 / ${path} rw,nosuid shared:9 - ${type} ${type} ${options}\n`;

test('a v2 tree is mounted anew only when it has not the option yet', () => {
  const other = line('/sys/fs/cgroup/pids', 'cgroup', 'rw,pids,favordynmods');
  const plain = line('/sys/fs/cgroup/unified', 'cgroup2', 'rw,nsdelegate');
  const quick = line('/sys/fs/cgroup/unified', 'cgroup2', 'rw,nsdelegate,favordynmods');
  assert.equal(isQuick(other + plain, '/sys/fs/cgroup/unified'), false);
  assert.equal(isQuick(other + quick, '/sys/fs/cgroup/unified'), true);
  assert.equal(isQuick(quick, '/sys/fs/cgroup'), false);
});
