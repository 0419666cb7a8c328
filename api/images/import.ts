/**
 * From received files to an image: look inside, land the files, write the row.
 *
 * Nothing is unpacked here. The archive is read once, to its end, while its
 * bytes go to disk; unpacking is then begun in the background where the next
 * launch will want it.
 */
import { Fault } from '../../process/fault.ts';
import { faultPoint } from '../../process/fault-points.ts';
import type { Lanes } from '../../process/lanes.ts';
import type { AliasRow, ImageRow, StringMap } from '../db/rows.ts';
import { NEVER } from '../db/rows.ts';
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
  readonly inspect: Omit<InspectOptions, 'signal'>;
}

/** The files are moved or removed in every case. Faults: bad_request, already_exists, storage_full, not_implemented. */
export async function importImage(
  parts: ImportParts,
  project: string,
  received: Received,
  wishes: ImageWishes,
  signal: AbortSignal,
): Promise<ImageRow> {
  try {
    checkWishes(parts.rows, project, received, wishes);
    const [found] = await Promise.all([describe(received, { ...parts.inspect, signal }), flush(received)]);
    faultPoint('import.looked-inside');
    return await parts.lanes.run(received.fingerprint, async () => {
      checkWishes(parts.rows, project, received, wishes);
      const known = parts.rows.all().find((row) => row.fingerprint === received.fingerprint);
      const row = {
        ...newRow(project, received, wishes, found),
        ...(known === undefined ? {} : { form: known.form }),
      };
      const isStored = known !== undefined && (await parts.files.isComplete(parts.files.stored(known)));
      if (!isStored) await parts.files.land(received);
      faultPoint('import.files-landed');
      try {
        await parts.rows.insert(row, aliasRows(row, wishes));
        faultPoint('import.row-stored');
      } catch (err) {
        if (!parts.rows.isKnown(received.fingerprint)) await parts.files.remove(received.fingerprint);
        throw err;
      }
      return row;
    });
  } finally {
    await parts.files.discard(received);
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

async function describe(received: Received, options: InspectOptions): Promise<Description> {
  const main = await inspectArchive(received.main.path, options);
  refuseDisk(main);
  if (received.rootfs !== null) {
    const root = await inspectArchive(received.rootfs.path, options);
    refuseDisk(root);
    if (!root.looksLikeRoot)
      throw new Fault('bad_request', 'part "rootfs" of the image is no root file system');
    if (main.metadataText === null) {
      throw new Fault('bad_request', 'part "metadata" of the image has no metadata.yaml');
    }
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
