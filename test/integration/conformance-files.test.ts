/** Files, logs, metadata and templates of an instance, as LXD 5.0 answers. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { check, type Line } from '../support/conformance.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

const I = '/1.0/instances/cfx';
const F = `${I}/files`;
const OWNED = { 'x-lxd-uid': '7', 'x-lxd-gid': '8', 'x-lxd-mode': '0600', 'x-lxd-type': 'file' };
const typed = (type: string): Record<string, string> => ({ 'X-LXD-type': type });

const FILES: readonly Line[] = [
  { ask: `GET ${F}`, code: 400 },
  {
    ask: `GET ${F}?path=/`,
    code: 200,
    answers: { 'x-lxd-type': 'directory' },
    holds: (list: unknown) => Array.isArray(list),
  },
  { ask: `GET ${F}?path=/nothing`, code: 404 },
  { ask: 'GET /1.0/instances/nobody/files?path=/', code: 404, error: 'Instance not found' },
  { ask: `POST ${F}?path=/nothing/x`, body: 'x', code: 404 },
  {
    ask: `POST ${F}?path=root/a`,
    body: 'abc',
    headers: { 'X-LXD-mode': '0600', 'X-LXD-uid': '7', 'X-LXD-gid': '8' },
    code: 200,
    is: {},
  },
  {
    ask: `GET ${F}?path=/root/a`,
    code: 200,
    answers: {
      ...OWNED,
      'x-lxd-modified': /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000 UTC$/,
      'content-type': 'application/octet-stream',
      'content-disposition': 'inline;filename=a',
    },
    text: 'abc',
  },
  {
    ask: `POST ${F}?path=/root/a`,
    body: 'zz',
    headers: { 'X-LXD-mode': '0644', 'X-LXD-uid': '0' },
    code: 200,
  },
  { ask: `GET ${F}?path=/root/a`, code: 200, answers: OWNED, text: 'zz' },
  { ask: `POST ${F}?path=/root/a`, body: 'yy', headers: { 'X-LXD-write': 'append' }, code: 200 },
  { ask: `GET ${F}?path=/root/a`, headers: { Range: 'bytes=1-2' }, code: 206, text: 'zy' },
  { ask: `HEAD ${F}?path=/root/a`, code: 200, answers: OWNED, text: '' },
  { ask: `POST ${F}?path=/root/new`, body: 'yy', headers: { 'X-LXD-write': 'append' }, code: 404 },
  { ask: `POST ${F}?path=/root/a`, body: 'yy', headers: { 'X-LXD-write': 'bogus' }, code: 400 },
  { ask: `POST ${F}?path=/root/a`, body: 'yy', headers: typed('bogus'), code: 400 },
  { ask: `POST ${F}?path=/root/a`, body: 'yy', headers: { 'X-LXD-uid': 'me' }, code: 400 },
  { ask: `POST ${F}?path=/root/d`, headers: typed('directory'), code: 200, is: {} },
  { ask: `POST ${F}?path=/root/d`, headers: typed('directory'), code: 200, is: {} },
  { ask: `GET ${F}?path=/root/d`, code: 200, is: [], answers: { 'x-lxd-mode': '0750' } },
  { ask: `POST ${F}?path=/root/l`, body: 'a', headers: typed('symlink'), code: 200 },
  { ask: `POST ${F}?path=/root/l`, body: 'a', headers: typed('symlink'), code: 200 },
  { ask: `POST ${F}?path=/root/l`, body: 'b', headers: typed('symlink'), code: 409 },
  { ask: `GET ${F}?path=/root/l`, code: 200, answers: { 'x-lxd-type': 'symlink' }, text: '/root/a' },
  { ask: `POST ${F}?path=/root/d/f`, body: 'x', code: 200 },
  { ask: `DELETE ${F}?path=/root/d`, code: 400 },
  { ask: `DELETE ${F}?path=/root/d/f`, code: 200, is: {} },
  { ask: `DELETE ${F}?path=/root/d`, code: 200, is: {} },
  { ask: `DELETE ${F}?path=/root/d`, code: 404 },
];

const M = `${I}/metadata`;
const REST: readonly Line[] = [
  { ask: `GET ${I}/logs/nothing`, code: 400 },
  { ask: `GET ${I}/logs/..%2Fx`, code: 400 },
  { ask: `DELETE ${I}/logs/lxc.log`, code: 400 },
  { ask: `GET ${I}/logs/exec_no.stdout`, code: 404 },
  { ask: `GET ${I}/console`, code: 200, answers: { 'content-type': 'application/octet-stream' }, text: '' },
  { ask: `DELETE ${I}/console`, code: 200, is: {} },
  { ask: `POST ${I}/exec`, body: { command: ['true'] }, code: 400, error: 'Instance is not running' },
  {
    ask: `GET ${M}`,
    code: 200,
    etag: true,
    holds: { templates: { '/etc/hostname': { template: 'hostname.tpl' } } },
  },
  {
    ask: `PUT ${M}`,
    body: { architecture: 'x86_64', creation_date: 1, properties: { a: 'b' }, templates: null },
    code: 200,
    is: {},
  },
  { ask: `PATCH ${M}`, body: { properties: { c: 'd' } }, headers: { 'If-Match': 'stale' }, code: 412 },
  { ask: `PATCH ${M}`, body: { properties: { c: 'd' } }, code: 200, is: {} },
  { ask: `GET ${M}`, code: 200, holds: { creation_date: 1, properties: { a: 'b', c: 'd' } } },
  { ask: `POST ${M}/templates?path=my.tpl`, body: 'hello', code: 200, is: {} },
  { ask: `GET ${M}/templates`, code: 200, is: ['hostname.tpl', 'hosts.tpl', 'my.tpl'] },
  { ask: `GET ${M}/templates?path=my.tpl`, code: 200, text: 'hello' },
  { ask: `DELETE ${M}/templates?path=my.tpl`, code: 200, is: {} },
  { ask: `GET ${M}/templates?path=my.tpl`, code: 404 },
  { ask: `GET ${M}/templates?path=../x`, code: 400 },
];

describe('files and what else belongs to an instance, as LXD 5.0 answers', () => {
  let daemon: SlipwayDaemon;
  let folder: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'slipway-images-'));
    daemon = await SlipwayDaemon.start();
    await daemon.furnish('cffile0');
    await daemon.importImage(await buildTinyImage(folder), 'tiny');
    await daemon.done('POST', '/1.0/instances', { name: 'cfx', source: { type: 'image', alias: 'tiny' } });
  });

  after(async () => {
    await daemon.destroy();
    await rm(folder, { recursive: true, force: true });
  });

  test('logs, console, metadata and templates of one that never ran', async () => {
    for (const line of REST) await check({ socketPath: daemon.socket }, line);
  });

  for (const action of ['stop', 'start']) {
    test(`files of one after ${action}`, async () => {
      if (action === 'start') await daemon.done('PUT', `${I}/state`, { action });
      for (const line of FILES) await check({ socketPath: daemon.socket }, line);
      for (const name of ['a', 'l']) await daemon.done('DELETE', `${F}?path=/root/${name}`);
    });
  }
});
