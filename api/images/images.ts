/** The image store: what instances ask of it, and what `/1.0/images` does with it. */
import { Fault } from '../../process/fault.ts';
import { faultPoint } from '../../process/fault-points.ts';
import { Lanes } from '../../process/lanes.ts';
import type { Native } from '../../native/types.ts';
import type { Log } from '../../process/log.ts';
import type { AliasRow, ImageRow, StringMap } from '../db/rows.ts';
import { NEVER } from '../db/rows.ts';
import type { Database } from '../db/store.ts';
import type { Events, Requestor } from '../events/events.ts';
import type { Operation, OperationContext, Operations } from '../operations/types.ts';
import type { Paths } from '../paths.ts';
import type { ProjectNames } from '../projects/types.ts';
import type { PoolAdmin } from '../storage/pools.ts';
import type { StoredImage } from '../storage/types.ts';
import { fetchImage } from './fetch-url.ts';
import type { ProxyKeys } from './web-proxy.ts';
import { ImageFiles } from './image-files.ts';
import type { Received } from './image-files.ts';
import { openImageRows } from './image-rows.ts';
import type { ImageRows } from './image-rows.ts';
import { importImage } from './import.ts';
import type { ImageWishes } from './import.ts';
import { aliasUrl, imageUrl } from './render.ts';
import { ImageSecrets } from './secrets.ts';
import type { FoundImage, ImageQuery, Images } from './types.ts';

export interface ImagesParts {
  readonly paths: Paths;
  readonly log: Log;
  readonly database: Database;
  readonly events: Events;
  readonly operations: Operations;
  readonly projects: ProjectNames;
  readonly pools: Pick<PoolAdmin, 'prepareAhead' | 'forgetImage' | 'keepImages'>;
  /** True when the (resolved) project has such a profile. */
  readonly profileExists: (project: string, name: string) => boolean;
  readonly native: Pick<Native, 'helperPath'>;
  /** `images.max_unpacked_size`, in bytes. */
  readonly maxUnpackedBytes: () => number;
  /** Version in LXD's sense, told to servers that images are downloaded from. */
  readonly serverVersion: string;
  /** `core.proxy_*` as they are now. */
  readonly proxies: () => ProxyKeys;
}

export interface ImageChange {
  readonly isPublic?: boolean;
  readonly autoUpdate?: boolean;
  readonly properties?: StringMap;
  readonly expiresAt?: string;
  readonly profiles?: readonly string[] | null;
}

/** A time of use is written to disk at most this often for one image. */
const TOUCH_EVERY_MS = 60_000;

/** Reads the rows, removes half uploads and files and unpacked trees that no image knows. */
export async function openImages(parts: ImagesParts): Promise<ImageStore> {
  const rows = await openImageRows(parts.database);
  const files = new ImageFiles(parts.paths.images);
  await files.open((fingerprint) => rows.isKnown(fingerprint));
  await parts.pools.keepImages(rows.all().map((row) => files.stored(row)));
  return new ImageStore(parts, rows, files);
}

export class ImageStore implements Images {
  readonly rows: ImageRows;
  readonly secrets: ImageSecrets;
  private readonly parts: ImagesParts;
  private readonly files: ImageFiles;
  /** Keyed by fingerprint. */
  private readonly lanes = new Lanes();

  constructor(parts: ImagesParts, rows: ImageRows, files: ImageFiles) {
    this.parts = parts;
    this.rows = rows;
    this.files = files;
    this.secrets = new ImageSecrets(parts.operations);
  }

  async find(query: ImageQuery): Promise<FoundImage> {
    const row = this.findRow(query);
    const image = this.files.stored(row);
    await this.files.assertComplete(image);
    return { ...image, row };
  }

  async touch(image: FoundImage): Promise<void> {
    const lastUsedAt = new Date().toISOString();
    const since = Date.now() - Date.parse(image.row.lastUsedAt);
    if (since > TOUCH_EVERY_MS && this.rows.has(image.row.project, image.row.fingerprint)) {
      await this.rows.change(image.row, { lastUsedAt });
    } else {
      this.rows.note(image.row, { lastUsedAt });
    }
  }

  /** The project whose images are used by this one. Fault not_found. */
  projectOf(project: string): string {
    return this.parts.projects.resolve('images', project);
  }

  usedBy(project: string): string[] {
    return this.rows.list(project).map((row) => imageUrl(project, row.fingerprint));
  }

  stored(row: ImageRow): StoredImage {
    return this.files.stored(row);
  }

  /** Fault not_found when the files have vanished. */
  async exportable(row: ImageRow): Promise<StoredImage> {
    const image = this.files.stored(row);
    await this.files.assertComplete(image);
    return image;
  }

  /** Writes the body of an upload to disk. The result goes to import() or discard(). */
  receive(stream: AsyncIterable<Buffer>, contentType: string | undefined): Promise<Received> {
    return this.files.receive(stream, contentType);
  }

  discard(received: Received): Promise<void> {
    return this.files.discard(received);
  }

  /** Makes an image of a received body, as an operation. */
  import(project: string, received: Received, wishes: ImageWishes, requestor: Requestor): Operation {
    return this.operate(project, requestor, (context) =>
      this.importInto(project, received, wishes, requestor, context),
    );
  }

  /** Downloads a file and makes an image of it, as an operation. */
  importFrom(project: string, url: string, wishes: ImageWishes, requestor: Requestor): Operation {
    const { serverVersion, proxies } = this.parts;
    return this.operate(project, requestor, async (context) => {
      const onProgress = (text: string): void => {
        context.setMetadata({ download_progress: text });
      };
      const how = { serverVersion, proxies: proxies(), signal: context.signal, onProgress };
      const fetched = await fetchImage(url, how);
      const received = await this.files.receive(fetched.content, undefined);
      const asked = {
        ...wishes,
        filename: wishes.filename ?? (fetched.filename === '' ? null : fetched.filename),
        fingerprint: wishes.fingerprint ?? fetched.fingerprint,
      };
      await this.importInto(project, received, asked, requestor, context);
    });
  }

  /** Fault bad_request for a profile that is not there. */
  checkProfiles(project: string, profiles: readonly string[] | null): void {
    const home = this.parts.projects.resolve('profiles', project);
    for (const name of profiles ?? []) {
      if (!this.parts.profileExists(home, name)) {
        throw new Fault(
          'bad_request',
          `profile ${JSON.stringify(name.slice(0, 80))} of the image does not exist`,
        );
      }
    }
  }

  async update(row: ImageRow, change: ImageChange, requestor: Requestor): Promise<void> {
    await this.rows.change(row, {
      ...(change.isPublic === undefined ? {} : { public: change.isPublic }),
      ...(change.autoUpdate === undefined ? {} : { autoUpdate: change.autoUpdate }),
      ...(change.properties === undefined ? {} : { properties: change.properties }),
      ...(change.expiresAt === undefined ? {} : { expiresAt: change.expiresAt }),
      ...(change.profiles === undefined ? {} : { profiles: change.profiles }),
    });
    this.tell('image-updated', row, requestor);
  }

  remove(row: ImageRow, requestor: Requestor): Operation {
    return this.parts.operations.create({
      class: 'task',
      description: 'Deleting image',
      project: row.project,
      requestor,
      resources: { images: [imageUrl(row.project, row.fingerprint)] },
      run: async () => {
        await this.removeNow(row);
        this.tell('image-deleted', row, requestor);
      },
    });
  }

  /** Deletes images whose time has come; for the daemon's timer. */
  async removeExpired(now: Date): Promise<void> {
    for (const row of this.rows.all()) {
      if (row.expiresAt === NEVER || Date.parse(row.expiresAt) > now.getTime()) continue;
      await this.removeNow(row);
      this.parts.log.info('expired image deleted', { project: row.project, image: row.fingerprint });
    }
  }

  async addAlias(row: AliasRow, requestor: Requestor): Promise<void> {
    await this.rows.insertAlias(row);
    this.tellAlias('image-alias-created', row, requestor);
  }

  async changeAlias(row: AliasRow, changes: Partial<AliasRow>, requestor: Requestor): Promise<void> {
    const changed = await this.rows.changeAlias(row, changes);
    if (changed.name === row.name) this.tellAlias('image-alias-updated', row, requestor);
    else this.tellAlias('image-alias-renamed', changed, requestor, { old_name: row.name });
  }

  async removeAlias(row: AliasRow, requestor: Requestor): Promise<void> {
    await this.rows.removeAlias(row);
    this.tellAlias('image-alias-deleted', row, requestor);
  }

  tell(
    action: string,
    row: ImageRow,
    requestor: Requestor,
    context?: Readonly<Record<string, unknown>>,
  ): void {
    const { project } = row;
    const options = { project, requestor, ...(context === undefined ? {} : { context }) };
    this.parts.events.lifecycle(action, imageUrl(project, row.fingerprint), options);
  }

  private findRow(query: ImageQuery): ImageRow {
    const project = this.projectOf(query.project);
    if (query.alias !== undefined) {
      return this.rows.byPrefix(project, this.rows.alias(project, query.alias).target);
    }
    if (query.fingerprint !== undefined) return this.rows.byPrefix(project, query.fingerprint);
    const wanted = Object.entries(query.properties ?? {});
    if (wanted.length === 0) {
      throw new Fault(
        'bad_request',
        'Must specify one of alias, fingerprint or properties for init from image',
      );
    }
    const [newest] = this.rows
      .list(project)
      .filter((row) => wanted.every(([key, value]) => row.properties[key] === value))
      .sort((a, b) => Date.parse(b.createdAt) - Date.parse(a.createdAt));
    if (newest === undefined) throw new Fault('not_found', 'No matching image could be found');
    return newest;
  }

  private operate(
    project: string,
    requestor: Requestor,
    run: (context: OperationContext) => Promise<void>,
  ): Operation {
    // LXD says "downloading" of uploads too.
    const description = 'Downloading image';
    return this.parts.operations.create({ class: 'task', description, project, requestor, run });
  }

  private async importInto(
    project: string,
    received: Received,
    wishes: ImageWishes,
    requestor: Requestor,
    context: OperationContext,
  ): Promise<void> {
    const { rows, files, lanes } = this;
    const inspect = {
      signal: context.signal,
      maxUnpackedBytes: this.parts.maxUnpackedBytes(),
      helperPath: this.parts.native.helperPath,
    };
    const { pools } = this.parts;
    const importParts = {
      rows,
      files,
      lanes,
      inspect,
      prepareAhead: (image: StoredImage) => pools.prepareAhead(image),
      forgetImage: (fingerprint: string) => pools.forgetImage(fingerprint),
    };
    const row = await importImage(importParts, project, received, wishes);
    context.setMetadata({ fingerprint: row.fingerprint, size: String(row.size) });
    this.tell('image-created', row, requestor, { type: 'container' });
    void pools.prepareAhead(files.stored(row));
  }

  private async removeNow(row: ImageRow): Promise<void> {
    await this.lanes.run(row.fingerprint, async () => {
      await this.rows.remove(row);
      faultPoint('image-delete.row-removed');
      if (this.rows.isKnown(row.fingerprint)) return;
      await this.files.remove(row.fingerprint);
      faultPoint('image-delete.files-removed');
      await this.parts.pools.forgetImage(row.fingerprint);
    });
  }

  private tellAlias(
    action: string,
    row: AliasRow,
    requestor: Requestor,
    context?: Readonly<Record<string, unknown>>,
  ): void {
    const { project, name } = row;
    const options = { project, requestor, ...(context === undefined ? {} : { context }) };
    this.parts.events.lifecycle(action, aliasUrl(project, name), options);
  }
}
