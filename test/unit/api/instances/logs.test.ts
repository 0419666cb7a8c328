import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { deleteLog, expireLogs, findLogFile, listLogs } from '../../../../api/instances/logs.ts';
import { pathsBelow } from '../../../../api/paths.ts';
import { SILENT } from '../../../../process/log.ts';
import { instanceParts } from '../../../support/tiny-instances.ts';

const scratch = mkdtempSync(join(tmpdir(), 'slipway-logs-'));
const paths = pathsBelow(scratch, join(scratch, 'log'));
const C1 = { project: 'default', name: 'c1' };
const dir = join(paths.log, 'c1');

beforeEach(() => {
  rmSync(paths.log, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true });
  for (const name of ['lxc.log', 'lxc.conf', 'console.log', 'exec_1.stdout', 'snapshot_a', 'secret']) {
    writeFileSync(join(dir, name), name);
  }
  writeFileSync(join(paths.log, 'exec_outside'), 'x');
});
after(() => {
  rmSync(scratch, { recursive: true });
});

test("only LXD's names are listed", async () => {
  assert.deepEqual(await listLogs(paths, C1), ['exec_1.stdout', 'lxc.conf', 'lxc.log', 'snapshot_a']);
  assert.deepEqual(await listLogs(paths, { ...C1, name: 'none' }), []);
});

test('a project outside the default one has folders of its own', async () => {
  mkdirSync(join(paths.log, 'p_c1'));
  writeFileSync(join(paths.log, 'p_c1', 'exec_2.stderr'), '');
  assert.deepEqual(await listLogs(paths, { project: 'p', name: 'c1' }), ['exec_2.stderr']);
});

test('other names and paths are refused, missing files are not found', async () => {
  for (const name of [
    'secret',
    'console.log',
    '..',
    '.',
    '',
    '../c1/lxc.log',
    'exec_/../../exec_outside',
    'exec_\0',
  ]) {
    await assert.rejects(findLogFile(paths, C1, name), { code: 'bad_request' }, name);
    await assert.rejects(deleteLog(paths, C1, name), { code: 'bad_request' }, name);
  }
  for (const name of ['exec_2', 'qemu.log', `exec_${'x'.repeat(300)}`]) {
    await assert.rejects(findLogFile(paths, C1, name), { code: 'not_found' }, name);
    await assert.rejects(deleteLog(paths, C1, name), { code: 'not_found' }, name);
  }
});

test('a link or a folder is no log file', async () => {
  symlinkSync('/etc/passwd', join(dir, 'exec_link'));
  mkdirSync(join(dir, 'exec_dir'));
  await assert.rejects(findLogFile(paths, C1, 'exec_link'), { code: 'not_found' });
  await assert.rejects(findLogFile(paths, C1, 'exec_dir'), { code: 'not_found' });
  await assert.rejects(deleteLog(paths, C1, 'exec_dir'), { code: 'not_found' });
});

test("liblxc's own files are read but not deleted", async () => {
  assert.equal(await findLogFile(paths, C1, 'lxc.conf'), join(dir, 'lxc.conf'));
  await assert.rejects(deleteLog(paths, C1, 'lxc.log'), { code: 'bad_request' });
  await deleteLog(paths, C1, 'exec_1.stdout');
  assert.ok(!existsSync(join(dir, 'exec_1.stdout')));
});

test('files nobody has written for two days expire, those in use stay', async () => {
  const now = Date.now();
  const old = (now - 49 * 3600 * 1000) / 1000;
  for (const name of ['lxc.log', 'lxc.conf', 'console.log', 'exec_1.stdout'])
    utimesSync(join(dir, name), old, old);
  await expireLogs({ paths, log: SILENT, ...instanceParts([{ name: 'c1', initPid: 0 }]) }, now);
  assert.deepEqual(await listLogs(paths, C1), ['lxc.conf', 'lxc.log', 'snapshot_a']);
  assert.ok(existsSync(join(dir, 'console.log')));
});
