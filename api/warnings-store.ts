/** Warnings, in memory and in the database: raised by the daemon, acknowledged by operators. */
import { randomUUID } from 'node:crypto';
import { Fault } from '../process/fault.ts';
import { Lanes } from '../process/lanes.ts';
import type { Log } from '../process/log.ts';
import type { Periodic } from '../process/periodic.ts';
import type { WarningRow } from './db/rows.ts';
import type { Database } from './db/store.ts';
import type { Warnings } from './warnings.ts';

/** LXD forgets a resolved warning after a week, and looks once a day. */
const KEPT_MS = 7 * 24 * 3600 * 1000;
const PRUNE_EVERY_MS = 24 * 3600 * 1000;
const MAX_MESSAGE = 2000;

export interface WarningParts {
  readonly database: Database;
  readonly log: Log;
  readonly now?: () => Date;
}

/** The warnings as routes and metrics see them. */
export interface WarningAdmin extends Warnings {
  /** Oldest first; those of one project, or all. */
  list(project?: string): WarningRow[];
  /** Fault not_found. */
  get(uuid: string): WarningRow;
  /** Acknowledges, or with `new` takes that back. Fault not_found. */
  setStatus(uuid: string, status: 'new' | 'acknowledged'): Promise<WarningRow>;
  /** Fault not_found. */
  remove(uuid: string): Promise<void>;
  /** Number of warnings nobody has dealt with. */
  countNew(): number;
  /** Forgets what was resolved a week ago; for the daemon's background work. */
  readonly pruning: Periodic;
}

/** Reads all warnings. */
export async function openWarnings(parts: WarningParts): Promise<WarningAdmin> {
  return new WarningStore(parts, await parts.database.tables.warnings.all());
}

class WarningStore implements WarningAdmin {
  readonly pruning: Periodic;
  private readonly parts: WarningParts;
  private readonly rows = new Map<string, WarningRow>();
  private readonly lanes = new Lanes();

  constructor(parts: WarningParts, rows: readonly WarningRow[]) {
    this.parts = parts;
    for (const row of rows) this.rows.set(row.uuid, row);
    this.pruning = { name: 'prune-warnings', everyMs: PRUNE_EVERY_MS, run: () => this.prune() };
  }

  raise(warning: Parameters<Warnings['raise']>[0]): Promise<void> {
    const { type, severity, project = '', entityUrl = '' } = warning;
    const lastMessage = warning.message.replaceAll('\0', '').slice(0, MAX_MESSAGE);
    return this.inLane(async () => {
      const now = this.now();
      const known = this.find(type, entityUrl, project);
      if (known === undefined) {
        await this.add({
          uuid: randomUUID(),
          project,
          type,
          status: 'new',
          severity,
          count: 1,
          firstSeenAt: now,
          lastSeenAt: now,
          lastMessage,
          entityUrl,
        });
        return;
      }
      // What had been resolved and is back needs a look again; what was acknowledged stays so.
      const status = known.status === 'resolved' ? 'new' : known.status;
      await this.change(known, { status, severity, lastMessage, lastSeenAt: now, count: known.count + 1 });
    });
  }

  resolve(type: string, entityUrl = ''): Promise<void> {
    return this.inLane(async () => {
      const found = [...this.rows.values()].filter((row) => row.type === type && row.entityUrl === entityUrl);
      for (const row of found.filter((one) => one.status !== 'resolved')) {
        // It held until now: the week after which it is forgotten begins here.
        await this.change(row, { status: 'resolved', lastSeenAt: this.now() });
      }
    });
  }

  list(project?: string): WarningRow[] {
    const found = [...this.rows.values()].filter((row) => project === undefined || row.project === project);
    return found.sort((a, b) => (a.firstSeenAt < b.firstSeenAt ? -1 : 1));
  }

  get(uuid: string): WarningRow {
    const row = this.rows.get(uuid);
    if (row === undefined) throw new Fault('not_found', 'Warning not found');
    return row;
  }

  setStatus(uuid: string, status: 'new' | 'acknowledged'): Promise<WarningRow> {
    return this.inLane(() => this.change(this.get(uuid), { status }));
  }

  remove(uuid: string): Promise<void> {
    return this.inLane(async () => {
      this.get(uuid);
      await this.parts.database.tables.warnings.remove({ uuid });
      this.rows.delete(uuid);
    });
  }

  countNew(): number {
    return [...this.rows.values()].filter((row) => row.status === 'new').length;
  }

  private async prune(): Promise<void> {
    const before = new Date(Date.parse(this.now()) - KEPT_MS).toISOString();
    const old = this.list().filter((row) => row.status === 'resolved' && row.lastSeenAt < before);
    for (const row of old) {
      await this.remove(row.uuid);
    }
    if (old.length > 0) this.parts.log.info('resolved warnings forgotten', { count: old.length });
  }

  private find(type: string, entityUrl: string, project: string): WarningRow | undefined {
    const isIt = (row: WarningRow) =>
      row.type === type && row.entityUrl === entityUrl && row.project === project;
    return [...this.rows.values()].find(isIt);
  }

  private async add(row: WarningRow): Promise<void> {
    await this.parts.database.tables.warnings.insert(row);
    this.rows.set(row.uuid, Object.freeze(row));
    this.parts.log.warn('warning raised', { type: row.type, entity: row.entityUrl, text: row.lastMessage });
  }

  private async change(row: WarningRow, changes: Partial<WarningRow>): Promise<WarningRow> {
    await this.parts.database.tables.warnings.update({ uuid: row.uuid }, changes);
    const next = Object.freeze({ ...row, ...changes });
    this.rows.set(row.uuid, next);
    return next;
  }

  private now(): string {
    return (this.parts.now?.() ?? new Date()).toISOString();
  }

  private inLane<T>(work: () => Promise<T>): Promise<T> {
    return this.lanes.run('', work);
  }
}
