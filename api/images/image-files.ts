/**
 * The files of images on disk.
 *
 *   images/<fingerprint>           the image, or its first part (mode 0600)
 *   images/<fingerprint>.rootfs    the second part of a split image
 *   images/.upload-…               being received
 *
 * Files land by rename once they are whole, and are on disk before a row says
 * that they are there; one that no row knows goes at the next start.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { Hash } from 'node:crypto';
import { open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { faultPoint } from '../../process/fault-points.ts';
import { Fault } from '../../process/fault.ts';
import { isThere, makeDir } from '../storage/layout.ts';
import { asFull, assertRoom } from '../storage/space.ts';
import type { StoredImage } from '../storage/types.ts';
import type { ImageRow } from '../db/rows.ts';
import { boundaryOf, readParts } from './multipart.ts';

/** Start of the names of what is being received. */
export const UPLOAD = '.upload-';
/** Free space is looked at again after so many bytes. */
const LOOK_EVERY_BYTES = 64 * 2 ** 20;

export interface ReceivedFile {
  readonly path: string;
  readonly size: number;
}

/** A body that is on disk, but not yet an image. */
export interface Received {
  readonly main: ReceivedFile;
  /** The second part of a split image. */
  readonly rootfs: ReceivedFile | null;
  /** SHA-256 of the file, or of both parts one after the other. */
  readonly fingerprint: string;
  /** As the sender named the file; '' when it did not. */
  readonly filename: string;
}

export class ImageFiles {
  private readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  /** Makes the folder; removes uploads that never ended and files that no row knows. */
  async open(isKnown: (fingerprint: string) => boolean): Promise<void> {
    await makeDir(this.directory, 0o700);
    for (const name of await readdir(this.directory)) {
      const isOrphan = /^[0-9a-f]{64}(\.rootfs)?$/.test(name) && !isKnown(name.slice(0, 64));
      if (name.startsWith(UPLOAD) || isOrphan)
        await rm(join(this.directory, name), { recursive: true, force: true });
    }
  }

  stored(row: Pick<ImageRow, 'fingerprint' | 'form'>): StoredImage {
    const path = this.path(row.fingerprint);
    return {
      fingerprint: row.fingerprint,
      path,
      rootfsPath: row.form === 'split' ? `${path}.rootfs` : null,
      isBareRoot: row.form === 'root',
    };
  }

  async isComplete(image: StoredImage): Promise<boolean> {
    return (await isThere(image.path)) && (image.rootfsPath === null || (await isThere(image.rootfsPath)));
  }

  /** Fault not_found when a file of the image has vanished. */
  async assertComplete(image: StoredImage): Promise<void> {
    if (await this.isComplete(image)) return;
    throw new Fault(
      'not_found',
      `the file of image ${image.fingerprint} is missing; delete the image and import it again`,
    );
  }

  /** Writes a body to disk: one file, or the two parts of a multipart body. Leaves nothing when it fails. */
  async receive(stream: AsyncIterable<Buffer>, contentType: string | undefined): Promise<Received> {
    const boundary = boundaryOf(contentType);
    const hash = createHash('sha256');
    if (boundary !== null) return this.receiveParts(stream, boundary, hash);
    const main = await this.write(stream, hash);
    return { main, rootfs: null, fingerprint: hash.digest('hex'), filename: '' };
  }

  async discard(received: Received): Promise<void> {
    await rm(received.main.path, { force: true });
    if (received.rootfs !== null) await rm(received.rootfs.path, { force: true });
  }

  /** Puts received files under their fingerprint; gives their paths. flush() those before a row is written. */
  async land(received: Received): Promise<string[]> {
    const path = this.path(received.fingerprint);
    const landed: string[] = [];
    for (const [from, to] of [
      [received.rootfs, `${path}.rootfs`],
      [received.main, path],
    ] as const) {
      if (from === null) continue;
      await rename(from.path, to);
      landed.push(to);
    }
    return [...landed, this.directory];
  }

  async remove(fingerprint: string): Promise<void> {
    await rm(this.path(fingerprint), { force: true });
    await rm(`${this.path(fingerprint)}.rootfs`, { force: true });
  }

  private path(fingerprint: string): string {
    return join(this.directory, fingerprint);
  }

  private async receiveParts(stream: AsyncIterable<Buffer>, boundary: string, hash: Hash): Promise<Received> {
    const written: ReceivedFile[] = [];
    let filename = '';
    try {
      for await (const part of readParts(stream, boundary)) {
        const expected = ['metadata', 'rootfs'][written.length];
        if (part.name === 'rootfs.img') {
          throw new Fault(
            'not_implemented',
            'the image is a virtual machine; only container images can be used',
          );
        }
        if (part.name !== expected) {
          const name = JSON.stringify(part.name);
          throw new Fault('bad_request', `part ${name} is not expected; send "metadata", then "rootfs"`);
        }
        if (written.length === 0) filename = part.filename;
        written.push(await this.write(part.content, hash));
      }
      const [main, rootfs] = written;
      if (main === undefined || rootfs === undefined) {
        throw new Fault('bad_request', 'a split image needs two parts: "metadata", then "rootfs"');
      }
      return { main, rootfs, fingerprint: hash.digest('hex'), filename };
    } catch (err) {
      for (const file of written) await rm(file.path, { force: true });
      throw err;
    }
  }

  private async write(stream: AsyncIterable<Buffer>, hash: Hash): Promise<ReceivedFile> {
    await assertRoom(this.directory, 0);
    const path = join(this.directory, `${UPLOAD}${randomBytes(8).toString('hex')}`);
    const file = await open(path, 'wx', 0o600);
    let size = 0;
    let lookAt = LOOK_EVERY_BYTES;
    try {
      for await (const chunk of stream) {
        const writing = file.writeFile(chunk);
        hash.update(chunk);
        await writing;
        size += chunk.length;
        if (size < lookAt) continue;
        await assertRoom(this.directory, 0);
        lookAt += LOOK_EVERY_BYTES;
      }
      faultPoint('import.file-written');
      return { path, size };
    } catch (err) {
      await rm(path, { force: true });
      throw asFull(err, this.directory);
    } finally {
      await file.close();
    }
  }
}

/** The contents of these files are on disk. */
export async function flush(paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    const file = await open(path, 'r');
    await file.sync().finally(() => file.close());
  }
}
