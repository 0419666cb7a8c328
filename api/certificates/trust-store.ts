/**
 * The certificates that are trusted, in memory, since every TLS request asks.
 * The database is written first.
 */
import { X509Certificate } from 'node:crypto';
import { Fault } from '../../process/fault.ts';
import type { CertificateRow } from '../db/rows.ts';
import type { Table } from '../db/store.ts';

interface Entry {
  readonly row: CertificateRow;
  readonly der: Buffer;
  readonly from: number;
  readonly until: number;
}

export class TrustStore {
  private readonly table: Table<'certificates'>;
  private readonly entries = new Map<string, Entry>();
  private readonly byDer = new Map<string, Entry>();
  private onRemoved: (der: Buffer) => void = () => undefined;

  private constructor(table: Table<'certificates'>) {
    this.table = table;
  }

  /** Reads the table. A row whose certificate cannot be read is left out and named to `onBad`. */
  static async open(table: Table<'certificates'>, onBad: (fingerprint: string) => void): Promise<TrustStore> {
    const store = new TrustStore(table);
    for (const row of await table.all()) {
      try {
        store.keep(row);
      } catch {
        // The parser's text is useless; what matters is whose row it is.
        onBad(row.fingerprint);
      }
    }
    return store;
  }

  /** Called with a certificate that is not trusted any more, or not in the same way. */
  whenRemoved(act: (der: Buffer) => void): void {
    this.onRemoved = act;
  }

  /** The row of exactly this certificate, when its dates are good. */
  match(der: Buffer): CertificateRow | null {
    const entry = this.byDer.get(der.toString('latin1'));
    if (entry === undefined) return null;
    const now = Date.now();
    return now >= entry.from && now <= entry.until ? entry.row : null;
  }

  list(): CertificateRow[] {
    return [...this.entries.values()].map((entry) => entry.row);
  }

  /** By fingerprint or a prefix of it. Faults: not_found; bad_request for an ambiguous prefix. */
  get(prefix: string): CertificateRow {
    const exact = this.entries.get(prefix);
    if (exact !== undefined) return exact.row;
    const found = this.list().filter((row) => prefix !== '' && row.fingerprint.startsWith(prefix));
    if (found.length > 1) {
      throw new Fault(
        'bad_request',
        `fingerprint "${prefix.slice(0, 64)}" fits ${String(found.length)} certificates; give more of it`,
      );
    }
    const [row] = found;
    if (row === undefined) throw new Fault('not_found', 'Certificate not found');
    return row;
  }

  /** Fault already_exists. */
  async add(row: CertificateRow): Promise<void> {
    if (this.entries.has(row.fingerprint)) {
      throw new Fault('already_exists', 'Certificate already in trust store');
    }
    await this.table.insert(row);
    this.keep(row);
  }

  /** The fingerprint changes with the certificate. Fault already_exists. */
  async change(fingerprint: string, next: CertificateRow): Promise<void> {
    if (next.fingerprint !== fingerprint && this.entries.has(next.fingerprint)) {
      throw new Fault('already_exists', 'Certificate already in trust store');
    }
    await this.table.update({ fingerprint }, next);
    this.forget(fingerprint);
    this.keep(next);
  }

  async remove(fingerprint: string): Promise<void> {
    await this.table.remove({ fingerprint });
    this.forget(fingerprint);
  }

  /** Certificates name projects without living in them: follows a rename. */
  async projectRenamed(from: string, to: string): Promise<void> {
    await this.changeProjects(from, (names) => names.map((name) => (name === from ? to : name)));
  }

  async projectRemoved(name: string): Promise<void> {
    await this.changeProjects(name, (names) => names.filter((known) => known !== name));
  }

  private async changeProjects(
    project: string,
    edit: (names: readonly string[]) => readonly string[],
  ): Promise<void> {
    for (const row of this.list()) {
      if (row.projects.includes(project)) {
        await this.change(row.fingerprint, { ...row, projects: edit(row.projects) });
      }
    }
  }

  private keep(row: CertificateRow): void {
    const parsed = new X509Certificate(row.certificate);
    const entry: Entry = {
      row: Object.freeze(row),
      der: parsed.raw,
      from: Date.parse(parsed.validFrom),
      until: Date.parse(parsed.validTo),
    };
    this.entries.set(row.fingerprint, entry);
    this.byDer.set(entry.der.toString('latin1'), entry);
  }

  private forget(fingerprint: string): void {
    const entry = this.entries.get(fingerprint);
    if (entry === undefined) return;
    this.entries.delete(fingerprint);
    this.byDer.delete(entry.der.toString('latin1'));
    this.onRemoved(entry.der);
  }
}
