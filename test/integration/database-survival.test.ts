/** What is left when the program is killed, and when the PostgreSQL server goes away. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { openDatabase } from '../../api/db/database.ts';
import { isFault } from '../../process/fault.ts';
import { SILENT } from '../../process/log.ts';
import { postgresLacks, privatePostgres } from '../support/private-postgres.ts';
import type { PrivatePostgres } from '../support/private-postgres.ts';

const WRITER = new URL('../support/database-writer.ts', import.meta.url).pathname;
const options = { log: SILENT };

/** Ids that a writer had acknowledged when it was killed. */
async function killedAfter(connection: string, writes: number): Promise<string[]> {
  const stdio: ['ignore', 'pipe', 'inherit'] = ['ignore', 'pipe', 'inherit'];
  const child = spawn(process.execPath, ['--import', 'tsx', WRITER, connection], { stdio });
  const ended = once(child, 'exit');
  const seen: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    seen.push(line);
    if (seen.length === writes) child.kill('SIGKILL');
  }
  await ended;
  assert.equal(child.signalCode, 'SIGKILL');
  return seen;
}

async function survives(connection: string): Promise<void> {
  for (const writes of [7, 60]) {
    const acknowledged = await killedAfter(connection, writes);
    assert.ok(acknowledged.length >= writes);
    const db = await openDatabase(connection, options);
    const ids = (await db.tables.instances.all()).map((row) => row.id);
    assert.deepEqual(
      acknowledged.filter((id) => !ids.includes(id)),
      [],
      'acknowledged rows are missing',
    );
    const halves = ids.filter((id) => id.startsWith('left-') && !ids.includes(id.replace('left', 'right')));
    assert.deepEqual(halves, [], 'half a transaction is there');
    await db.tables.instances.insert({ ...(await firstRow(db)), id: 'after', name: 'after' });
    for (const id of [...ids, 'after']) await db.tables.instances.remove({ id });
    await db.close();
  }
}

async function firstRow(db: Awaited<ReturnType<typeof openDatabase>>) {
  const row = (await db.tables.instances.all())[0];
  assert.ok(row);
  return row;
}

test('after kill -9, SQLite has every row that was acknowledged and no half transaction', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-db-'));
  try {
    await survives(`sqlite://${folder}/local.db`);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

describe('on PostgreSQL', { skip: postgresLacks() ?? false }, () => {
  let server: PrivatePostgres | undefined;
  const running = () => {
    assert.ok(server);
    return server;
  };
  before(async () => {
    server = await privatePostgres();
  });
  after(() => server?.remove());

  test('after kill -9 every acknowledged row is there and no half transaction', async () => {
    await survives(running().database('killed'));
  });

  test('while the server is away every call says so, and when it is back the same object works', async () => {
    const db = await openDatabase(running().database('healing'), options);
    await db.tables.config.insert({ key: 'a', value: '1' });
    for (const how of ['fast', 'immediate'] as const) {
      await running().stop(how);
      const away = [
        () => db.tables.config.all(),
        () => db.tables.config.update({ key: 'a' }, { value: '2' }),
        () => db.transaction((tables) => tables.config.remove({ key: 'a' })),
      ];
      for (const call of away) {
        await assert.rejects(call(), (err) => {
          assert.ok(isFault(err, 'unavailable'), String(err));
          return true;
        });
      }
      await running().start();
      assert.deepEqual(await db.tables.config.all(), [{ key: 'a', value: '1' }]);
      await db.tables.config.update({ key: 'a' }, { value: '3' });
      await db.tables.config.update({ key: 'a' }, { value: '1' });
    }
    await db.close();
  });

  test('a connection that dies in the middle of a transaction undoes it and says unavailable', async () => {
    const db = await openDatabase(running().database('dying'), options);
    const work = db.transaction(async (tables) => {
      await tables.config.insert({ key: 'a', value: '1' });
      running().psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'dying'");
      await tables.config.insert({ key: 'b', value: '1' });
    });
    await assert.rejects(work, (err) => isFault(err, 'unavailable'));
    assert.deepEqual(await db.tables.config.all(), []);
    await db.close();
  });

  test('a change that cannot be serialised is made again', async () => {
    const db = await openDatabase(running().database('again'), options);
    await db.tables.config.insert({ key: 'n', value: '0' });
    const refuseTwice = `CREATE SEQUENCE tries;
      CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('tries') % 3 <> 0 THEN RAISE EXCEPTION 'not now' USING ERRCODE = '40001'; END IF;
        RETURN NEW; END $$;
      CREATE TRIGGER refuse BEFORE UPDATE ON config FOR EACH ROW EXECUTE FUNCTION refuse()`;
    running().psql(refuseTwice, 'again');
    let runs = 0;
    await db.transaction(async (tables) => {
      runs += 1;
      await tables.config.update({ key: 'n' }, { value: String(runs) });
    });
    assert.equal((await db.tables.config.find({ key: 'n' }))?.value, '3');
    await db.tables.config.update({ key: 'n' }, { value: 'single' });
    assert.equal((await db.tables.config.find({ key: 'n' }))?.value, 'single');
    await db.close();
  });

  test('a server that stops answering is given up in time, and asked anew over other connections', async () => {
    const db = await openDatabase(running().database('stuck'), { ...options, answerWithinMs: 300 });
    await db.tables.config.insert({ key: 'a', value: '1' });
    const pids = running()
      .psql("SELECT pid FROM pg_stat_activity WHERE datname = 'stuck'")
      .split('\n')
      .map(Number);
    assert.ok(pids.length > 0);
    try {
      for (const pid of pids) process.kill(pid, 'SIGSTOP');
      await assert.rejects(db.tables.config.update({ key: 'a' }, { value: '2' }), (err) =>
        isFault(err, 'timeout'),
      );
      await db.tables.config.update({ key: 'a' }, { value: '3' });
      assert.deepEqual(await db.tables.config.all(), [{ key: 'a', value: '3' }]);
    } finally {
      for (const pid of pids) process.kill(pid, 'SIGCONT');
    }
    await db.close();
  });

  test('a server that is not there is named in the error, the password is not', async () => {
    const opening = openDatabase('postgresql://u:geheim@127.0.0.1:1/db', options);
    await assert.rejects(opening, (err) => {
      assert.ok(isFault(err, 'unavailable'));
      assert.match(err.message, /db on 127\.0\.0\.1:1/);
      assert.ok(!err.message.includes('geheim'));
      return true;
    });
  });

  test('a database that does not exist is said to be missing', async () => {
    const address = running().database('there').replace('/there?', '/nowhere?');
    await assert.rejects(openDatabase(address, options), /does not exist on the server/);
  });

  test('the server knows who is connected and ends what takes too long', async () => {
    const db = await openDatabase(running().database('named'), options);
    await db.tables.config.all();
    const sql = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = 'named'";
    assert.equal(running().psql(sql), 'slipway');
    await db.close();
    assert.equal(running().psql(sql), '', 'connections are left');
  });
});
