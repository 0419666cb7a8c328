/** A REST daemon that is being started again while the compute service works. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { LxdClient } from '../../driver/lxd/client.ts';
import { isFault } from '../../process/fault.ts';

const caller = { requestId: 'req-1' };
let folder = '';
let socket = '';
let asked = 0;
const daemon = http.createServer((_req, res) => {
  asked += 1;
  const rest = { operation: '', error_code: 0, error: '' };
  res.end(JSON.stringify({ type: 'sync', status: 'Success', status_code: 200, metadata: [], ...rest }));
});

beforeEach(async () => {
  asked = 0;
  folder = await mkdtemp(join(tmpdir(), 'slipway-away-'));
  socket = join(folder, 'unix.socket');
});
afterEach(async () => {
  if (daemon.listening) {
    daemon.closeAllConnections();
    daemon.close();
    await once(daemon, 'close');
  }
  await rm(folder, { recursive: true });
});

test('what is asked meanwhile is asked when it is back, once', async () => {
  const client = new LxdClient(socket, 30_000);
  const images = client.images(caller);
  // By then the one before was refused too.
  await assert.rejects(new LxdClient(socket).images(caller), (err) => isFault(err, 'unavailable'));
  daemon.listen(socket);
  assert.deepEqual(await images, []);
  assert.equal(asked, 1);
  client.close();
});

test('one that does not come back is told, and work that is given up does not wait', async () => {
  const client = new LxdClient(socket, 1);
  await assert.rejects(client.images(caller), (err) => isFault(err, 'unavailable'));
  const patient = new LxdClient(socket, 30_000);
  const reason = new Error('the service stops');
  const given = { ...caller, signal: AbortSignal.abort(reason) };
  await assert.rejects(patient.images(given), (err) => err === reason);
});
