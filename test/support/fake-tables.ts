/**
 * A Database in memory with the contract of the real one: the same Faults, one
 * write lane, transactions that roll back, rows that are copies.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { SHAPES, describeKey, forEachTable, refuseZero } from '../../api/db/columns.ts';
import type { Keys, Rows, TableName } from '../../api/db/rows.ts';
import type { Database, Table, Tables } from '../../api/db/store.ts';
import { Fault, isFault } from '../../process/fault.ts';
import { Lanes } from '../../process/lanes.ts';

export interface MemoryDatabase extends Database {
  /** Until null is given, every write fails with this Fault and changes nothing. */
  failWritesWith(fault: Fault | null): void;
  /** Number of writes that were done (a transaction counts each of its own). */
  readonly writes: number;
}

export function memoryDatabase(): MemoryDatabase {
  return new Memory();
}

type Contents = { readonly [N in TableName]: Content<N> };

class Memory implements MemoryDatabase {
  readonly dialect = 'sqlite';
  readonly tables: Tables;
  writes = 0;
  private readonly content: Contents;
  private readonly inner: Tables;
  private readonly lanes = new Lanes();
  /** Set inside the work of a transaction: using the outer tables there would wait for ever. */
  private readonly inTransaction = new AsyncLocalStorage<true>();
  private fault: Fault | null = null;
  /** Writes of the transaction that failed: it cannot be committed any more. */
  private readonly failed: Fault[] = [];
  private closed = false;

  constructor() {
    this.content = forEachTable<Contents>((name) => new Content(name));
    this.inner = forEachTable<Tables>((name) => this.direct(name));
    this.tables = forEachTable<Tables>((name) => this.laned(name));
  }

  failWritesWith(fault: Fault | null): void {
    this.fault = fault;
  }

  transaction<T>(work: (tables: Tables) => Promise<T>): Promise<T> {
    return this.inLane(async () => {
      this.failed.length = 0;
      const saved = Object.values(this.content).map((content) => content.save());
      try {
        const result = await this.inTransaction.run(true, () => work(this.inner));
        const [failed] = this.failed;
        if (failed !== undefined) throw failed;
        return result;
      } catch (err) {
        for (const restore of saved) restore();
        throw err;
      }
    });
  }

  async close(): Promise<void> {
    await this.lanes.settled();
    this.closed = true;
  }

  private async inLane<T>(work: () => Promise<T>): Promise<T> {
    if (this.inTransaction.getStore() === true) {
      throw new Error('the work of a transaction must use the tables it is given');
    }
    if (this.closed) throw new Fault('unavailable', 'the database is closed');
    return this.lanes.run('', work);
  }

  private write(act: () => void): void {
    if (this.fault !== null) throw this.fault;
    try {
      act();
    } catch (err) {
      if (isFault(err) && err.code !== 'not_found') this.failed.push(err);
      throw err;
    }
    this.writes += 1;
  }

  private direct<N extends TableName>(name: N): Table<N> {
    const content: Content<N> = this.content[name];
    return {
      all: async () => content.all(),
      find: async (key) => content.find(key),
      insert: async (row) => {
        this.write(() => {
          content.insert(row);
        });
      },
      update: async (key, changes) => {
        this.write(() => {
          content.update(key, changes);
        });
      },
      remove: async (key) => {
        this.write(() => {
          content.remove(key);
        });
      },
    };
  }

  private laned<N extends TableName>(name: N): Table<N> {
    const direct = this.direct(name);
    return {
      all: () => this.inLane(() => direct.all()),
      find: (key) => this.inLane(() => direct.find(key)),
      insert: (row) => this.inLane(() => direct.insert(row)),
      update: (key, changes) => this.inLane(() => direct.update(key, changes)),
      remove: (key) => this.inLane(() => direct.remove(key)),
    };
  }
}

class Content<N extends TableName> {
  private readonly name: N;
  private rows: Rows[N][] = [];

  constructor(name: N) {
    this.name = name;
  }

  save(): () => void {
    const before = [...this.rows];
    return () => {
      this.rows = before;
    };
  }

  all(): Rows[N][] {
    return this.rows.map((row) => structuredClone(row));
  }

  find(key: Keys[N]): Rows[N] | null {
    const row = this.rows[this.indexOf(key)];
    return row === undefined ? null : structuredClone(row);
  }

  insert(row: Rows[N]): void {
    refuseZero(this.name, row);
    this.refuseTaken(row, -1);
    this.rows.push(structuredClone(row));
  }

  update(key: Keys[N], changes: Partial<Rows[N]>): void {
    refuseZero(this.name, changes);
    const at = this.indexOf(key);
    const before = this.rows[at];
    if (before === undefined) {
      throw new Fault('not_found', `change ${describeKey(this.name, key)}: there is no such row`);
    }
    const after = structuredClone({ ...before, ...changes });
    this.refuseTaken(after, at);
    this.rows[at] = after;
  }

  remove(key: Keys[N]): void {
    const at = this.indexOf(key);
    if (at >= 0) this.rows.splice(at, 1);
  }

  /** A whole row will do as a key: only its key fields count. */
  private indexOf(key: Keys[N]): number {
    const fields = SHAPES[this.name].key;
    return this.rows.findIndex((row) => fields.every((field) => fieldOf(row, field) === fieldOf(key, field)));
  }

  private refuseTaken(row: Rows[N], except: number): void {
    const shape = SHAPES[this.name];
    for (const fields of [shape.key, ...shape.unique]) {
      const same = (other: Rows[N]) => fields.every((f) => fieldOf(other, f) === fieldOf(row, f));
      if (this.rows.some((other, i) => i !== except && same(other))) {
        const names = fields.map((f) => String(fieldOf(row, f))).join('/');
        throw new Fault('already_exists', `write ${this.name} ${names}: it already exists`);
      }
    }
  }
}

function fieldOf(row: object, field: string): unknown {
  return new Map(Object.entries(row)).get(field);
}
