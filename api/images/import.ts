/**
 * From received files to an image: land the files, look inside, write the row.
 *
 * The archive is read once, to its end, while its bytes go to disk. As soon as
 * its form is known it is also unpacked, in the background, where the next
 * launch will want it; that tree waits, and is seen by nobody before the row is
 * written. When the image is refused the unpacking ends and its tree goes.
 */
import { Fault } from '../../process/fault.ts';
import { faultPoint } from '../../process/fault-points.ts';
import type { Lanes } from '../../process/lanes.ts';
import type { AliasRow, ImageRow, StringMap } from '../db/rows.ts';
import { NEVER } from '../db/rows.ts';
import type { StoredImage } from '../storage/types.ts';
import { flush } from './image-files.ts';
import type { ImageFiles, Received } from './image-files.ts';
import { aliasTaken } from './image-rows.ts';
import type { ImageRows } from './image-rows.ts';
import { inspectArchive } from './inspect.ts';
import type { Contents, InspectOptions } from './inspect.ts';
import { metadataOfRoot, parseImageMetadata } from './metadata.ts';
import type { ImageMetadata } from './types.ts';

/** What the sender says of an image; null leaves it to the image. */
export interface ImageWishes {
  readonly filename: string | null;
  readonly isPublic: boolean;
  readonly autoUpdate: boolean;
  readonly properties: StringMap;
  readonly expiresAt: string | null;
  readonly profiles: readonly string[] | null;
  readonly aliases: readonly { readonly name: string; readonly description: string }[];
  /** Must be the fingerprint when it is given. */
  readonly fingerprint: string | null;
}

export interface ImportParts {
  readonly rows: ImageRows;
  readonly files: ImageFiles;
  /** Keyed by fingerprint: files of one image come and go one after the other. */
  readonly lanes: Lanes;
  readonly inspect: InspectOptions;
  /** Unpacks it where it will be wanted; resolves when that has ended, well or not. */
  readonly prepareAhead: (image: StoredImage) => Promise<void>;
  /** Gives up what was unpacked of it. */
  readonly forgetImage: (fingerprint: string) => Promise<void>;
}

/** The files are moved or removed in every case. Faults: bad_request, already_exists, storage_full, not_implemented. */
export async function importImage(
  parts: ImportParts,
  project: string,
  received: Received,
  wishes: ImageWishes,
): Promise<ImageRow> {
  try {
    checkWishes(parts.rows, project, received, wishes);
    return await parts.lanes.run(received.fingerprint, async () => {
      checkWishes(parts.rows, project, received, wishes);
      const known = parts.rows.all().find((row) => row.fingerprint === received.fingerprint);
      const isStored = known !== undefined && (await parts.files.isComplete(parts.files.stored(known)));
      const early = new EarlyTree(parts, received.fingerprint, known === undefined);
      try {
        const row = await admit(parts, received, isStored, early, (found) => ({
          ...newRow(project, received, wishes, found),
          ...(known === undefined ? {} : { form: known.form }),
        }));
        await parts.rows.insert(row, aliasRows(row, wishes));
        faultPoint('import.row-stored');
        early.accept();
        return row;
      } catch (err) {
        await early.refuse(err);
        if (!parts.rows.isKnown(received.fingerprint)) {
          await parts.files.remove(received.fingerprint);
          await parts.forgetImage(received.fingerprint);
        }
        throw err;
      }
    });
  } finally {
    await parts.files.discard(received);
  }
}

/** Lands the files, unless they are there, and looks inside; what comes back may be written down. */
async function admit(
  parts: ImportParts,
  received: Received,
  isStored: boolean,
  early: EarlyTree,
  toRow: (found: Description) => ImageRow,
): Promise<ImageRow> {
  const given = isStored ? [] : await parts.files.land(received);
  faultPoint('import.files-landed');
  const { path, rootfsPath } = parts.files.stored({
    fingerprint: received.fingerprint,
    form: received.rootfs === null ? 'unified' : 'split',
  });
  const look = { ...parts.inspect, onForm: early.begin };
  const files = isStored
    ? { main: received.main.path, rootfs: received.rootfs?.path ?? null }
    : { main: path, rootfs: rootfsPath };
  const [found] = await Promise.all([describe(files, look), flush(given)]);
  faultPoint('import.looked-inside');
  const row = toRow(found);
  if (!early.hasForm(row.form))
    await early.refuse(new Error('the image has another form than it seemed to have'));
  return row;
}

/** An unpacking that began before the image was known to be one. */
class EarlyTree {
  private readonly parts: ImportParts;
  private readonly fingerprint: string;
  private readonly isWanted: boolean;
  private begun: { readonly form: ImageRow['form']; readonly ended: Promise<void> } | null = null;
  private readonly accepted: Promise<void>;
  private onAccept: () => void = () => undefined;
  private onRefuse: (reason: unknown) => void = () => undefined;

  constructor(parts: ImportParts, fingerprint: string, isWanted: boolean) {
    this.parts = parts;
    this.fingerprint = fingerprint;
    this.isWanted = isWanted;
    this.accepted = new Promise((resolve, reject) => {
      this.onAccept = resolve;
      this.onRefuse = reject;
    });
    // There may be nobody who waits for it.
    this.accepted.catch(() => undefined);
  }

  /** The form is known, or likely. */
  readonly begin = (form: ImageRow['form']): void => {
    if (!this.isWanted || this.begun !== null) return;
    const image = this.parts.files.stored({ fingerprint: this.fingerprint, form });
    this.begun = { form, ended: this.parts.prepareAhead({ ...image, accepted: this.accepted }) };
  };

  /** True as well when nothing was begun. */
  hasForm(form: ImageRow['form']): boolean {
    return this.begun === null || this.begun.form === form;
  }

  /** The tree may be seen. Harmless when it was refused. */
  accept(): void {
    this.onAccept();
  }

  /** Resolves when the tree has gone. */
  async refuse(reason: unknown): Promise<void> {
    this.onRefuse(reason);
    await this.begun?.ended;
  }
}

function checkWishes(rows: ImageRows, project: string, received: Received, wishes: ImageWishes): void {
  const { fingerprint } = received;
  if (wishes.fingerprint !== null && wishes.fingerprint !== fingerprint) {
    throw new Fault(
      'bad_request',
      `fingerprints don't match, got ${fingerprint} expected ${wishes.fingerprint}`,
    );
  }
  if (rows.has(project, fingerprint)) {
    throw new Fault('already_exists', 'Image with same fingerprint already exists');
  }
  for (const { name } of wishes.aliases) {
    if (rows.findAlias(project, name) !== undefined) throw aliasTaken(name);
  }
}

interface Description {
  readonly form: ImageRow['form'];
  readonly metadata: ImageMetadata;
}

interface Look extends InspectOptions {
  /** Called once, as soon as the form of the image is known or likely. */
  readonly onForm: (form: ImageRow['form']) => void;
}

async function describe(
  files: { readonly main: string; readonly rootfs: string | null },
  look: Look,
): Promise<Description> {
  const isSplit = files.rootfs !== null;
  const main = await inspectArchive(files.main, {
    ...look,
    onShape: (shape) => {
      if (!isSplit) look.onForm(shape);
    },
  });
  refuseDisk(main);
  if (files.rootfs !== null) {
    if (main.metadataText === null) {
      throw new Fault('bad_request', 'part "metadata" of the image has no metadata.yaml');
    }
    look.onForm('split');
    const root = await inspectArchive(files.rootfs, look);
    refuseDisk(root);
    if (!root.looksLikeRoot)
      throw new Fault('bad_request', 'part "rootfs" of the image is no root file system');
    return { form: 'split', metadata: parseImageMetadata(main.metadataText) };
  }
  if (main.metadataText !== null) {
    if (!main.hasRootfs) {
      throw new Fault(
        'bad_request',
        'the image has a metadata.yaml but no rootfs; send the root file system with it',
      );
    }
    return { form: 'unified', metadata: parseImageMetadata(main.metadataText) };
  }
  if (!main.looksLikeRoot) {
    throw new Fault(
      'bad_request',
      'the archive is no image: it has no metadata.yaml and is no root file system',
    );
  }
  return { form: 'root', metadata: metadataOfRoot(main.osRelease, Math.floor(Date.now() / 1000)) };
}

function refuseDisk(contents: Contents): void {
  if (contents.hasDisk && !contents.hasRootfs) {
    throw new Fault('not_implemented', 'the image is a virtual machine; only container images can be used');
  }
}

function newRow(project: string, received: Received, wishes: ImageWishes, found: Description): ImageRow {
  const { metadata } = found;
  const { fingerprint } = received;
  return {
    project,
    fingerprint,
    filename: wishes.filename ?? (received.filename === '' ? fingerprint : received.filename),
    size: received.main.size + (received.rootfs?.size ?? 0),
    public: wishes.isPublic,
    autoUpdate: wishes.autoUpdate,
    cached: false,
    architecture: metadata.architecture,
    properties: { ...metadata.properties, ...wishes.properties },
    profiles: wishes.profiles,
    form: found.form,
    createdAt: timeOf(metadata.creationDate),
    expiresAt: wishes.expiresAt ?? timeOf(metadata.expiryDate),
    uploadedAt: new Date().toISOString(),
    lastUsedAt: NEVER,
  };
}

function timeOf(seconds: number): string {
  return seconds === 0 ? NEVER : new Date(seconds * 1000).toISOString();
}

function aliasRows(row: ImageRow, wishes: ImageWishes): AliasRow[] {
  return wishes.aliases.map(({ name, description }) => ({
    project: row.project,
    name,
    target: row.fingerprint,
    description,
  }));
}
