/**
 * A process for the test that kills one: adds instances to the database named
 * by its argument and prints the id of each when the write is acknowledged.
 * Every third write is a transaction of two rows, printed together.
 */
import { openDatabase } from '../../api/db/database.ts';
import type { InstanceRow } from '../../api/db/rows.ts';
import { SILENT } from '../../process/log.ts';
import { instanceRow } from './rows.ts';

function row(id: string): InstanceRow {
  return instanceRow({ id, name: id, config: { 'user.filling': 'x'.repeat(2000) } });
}

const db = await openDatabase(process.argv[2] ?? '', { log: SILENT });
for (let i = 0; ; i += 1) {
  if (i % 3 < 2) {
    await db.tables.instances.insert(row(`one-${String(i)}`));
    process.stdout.write(`one-${String(i)}\n`);
    continue;
  }
  await db.transaction(async ({ instances }) => {
    await instances.insert(row(`left-${String(i)}`));
    await instances.insert(row(`right-${String(i)}`));
  });
  process.stdout.write(`left-${String(i)}\nright-${String(i)}\n`);
}
