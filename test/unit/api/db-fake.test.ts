import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fault, isFault } from '../../../process/fault.ts';
import { memoryDatabase } from '../../support/fake-tables.ts';

test('the database in memory refuses the outer tables inside a transaction', async () => {
  const db = memoryDatabase();
  await assert.rejects(
    db.transaction(() => db.tables.config.all()),
    /must use the tables it is given/,
  );
});

test('the database in memory can be told to fail its writes', async () => {
  const db = memoryDatabase();
  db.failWritesWith(new Fault('storage_full', 'no space'));
  const row = { key: 'a', value: 'b' };
  await assert.rejects(db.tables.config.insert(row), (err) => isFault(err, 'storage_full'));
  db.failWritesWith(null);
  await db.tables.config.insert(row);
  assert.deepEqual(await db.tables.config.all(), [row]);
  assert.equal(db.writes, 1);
});
