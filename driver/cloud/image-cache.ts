/**
 * Images of Glance on this host: each is downloaded once, checked, and kept as
 * an image of the REST daemon, which knows by a property where it came from.
 * Nothing is written to disk on the way.
 */
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { isFault } from '../../process/fault.ts';
import { Lanes } from '../../process/lanes.ts';
import { type Log } from '../../process/log.ts';
import { type CallContext } from './call-context.ts';
import { type Glance, type Image } from './glance.ts';
import { HEAD_BYTES, refuseFormat, refuseUnproven, sniffImage } from './image-format.ts';

/** What is needed of the REST daemon of this host. */
export interface ImageStore {
  images(caller: Caller): Promise<readonly StoredImage[]>;
  importImage(caller: Caller, body: Readable, properties: Readonly<Record<string, string>>): Promise<string>;
  deleteImage(caller: Caller, fingerprint: string): Promise<void>;
}

interface Caller {
  readonly requestId: string;
  readonly signal?: AbortSignal | undefined;
}

interface StoredImage {
  readonly fingerprint: string;
  readonly properties: Readonly<Record<string, string>>;
  readonly last_used_at: string;
  readonly uploaded_at: string;
}

/** Property of the daemon's images: id in Glance. */
export const ID_PROPERTY = 'nova.image_id';
/** Property: what Glance said about the content; images may be replaced under their id. */
const HASH_PROPERTY = 'nova.image_hash';

export interface ImageCacheParts {
  readonly glance: Pick<Glance, 'download'>;
  readonly store: ImageStore;
  readonly log: Log;
  /** `[glance] verify_glance_signatures`. */
  readonly wantsSignatures?: boolean;
  readonly now?: () => number;
}

export class ImageCache {
  private readonly glance: Pick<Glance, 'download'>;
  private readonly store: ImageStore;
  private readonly log: Log;
  private readonly wantsSignatures: boolean;
  private readonly now: () => number;
  private readonly lanes = new Lanes();
  /** Two ids of Glance may have the same content, which is then one image here. */
  private readonly shared = new Map<string, string>();

  constructor(parts: ImageCacheParts) {
    this.glance = parts.glance;
    this.store = parts.store;
    this.log = parts.log;
    this.wantsSignatures = parts.wantsSignatures ?? false;
    this.now = parts.now ?? Date.now;
  }

  /** Fingerprint of the image here; however many builds want it, it is fetched once. ImageFault, CloudFault. */
  ensure(context: CallContext, image: Image): Promise<{ fingerprint: string; isFetched: boolean }> {
    return this.lanes.run(image.id, async () => {
      if (this.wantsSignatures) refuseUnproven(image);
      const known = await this.find(context, image);
      if (known !== null) return { fingerprint: known, isFetched: false };
      return { fingerprint: await this.fetch(context, image), isFetched: true };
    });
  }

  /**
   * Deletes images of Glance that no instance uses (`used`: ids in Glance) and
   * that were neither used nor fetched for `minAgeMs`. Returns how many went.
   */
  async age(caller: Caller, used: ReadonlySet<string>, minAgeMs: number): Promise<number> {
    let gone = 0;
    for (const one of await this.store.images(caller)) {
      const id = one.properties[ID_PROPERTY] ?? '';
      const ids = [
        id,
        ...[...this.shared].filter(([, print]) => print === one.fingerprint).map(([key]) => key),
      ];
      if (id === '' || ids.some((each) => used.has(each) || this.lanes.isBusy(each))) continue;
      const last = Math.max(Date.parse(one.last_used_at) || 0, Date.parse(one.uploaded_at) || 0);
      if (this.now() - last < minAgeMs) continue;
      await this.store.deleteImage(caller, one.fingerprint);
      for (const each of ids) this.shared.delete(each);
      this.log.info('unused image removed', { image: id, fingerprint: one.fingerprint });
      gone += 1;
    }
    return gone;
  }

  private async find(context: CallContext, image: Image): Promise<string | null> {
    const all = await this.store.images(context);
    const shared = this.shared.get(image.id);
    const found =
      all.find(
        (one) =>
          one.fingerprint === shared ||
          (one.properties[ID_PROPERTY] === image.id && one.properties[HASH_PROPERTY] === hashOf(image)),
      ) ?? all.find((one) => image.hashValue !== null && one.properties[HASH_PROPERTY] === image.hashValue);
    if (found === undefined) return null;
    this.shared.set(image.id, found.fingerprint);
    return found.fingerprint;
  }

  /** The daemon refuses what it has; an operator may have brought the same file. */
  private async keep(
    context: CallContext,
    body: Readable,
    properties: Readonly<Record<string, string>>,
  ): Promise<string> {
    const { through, digest } = hashing(body);
    try {
      return await this.store.importImage(context, through, properties);
    } catch (err) {
      if (!isFault(err) || !err.message.includes('already exists')) throw err;
      const print = digest();
      const all = await this.store.images(context);
      if (!all.some((one) => one.fingerprint === print)) throw err;
      return print;
    }
  }

  private async fetch(context: CallContext, image: Image): Promise<string> {
    const { body } = await this.glance.download(context, image);
    try {
      const { head, whole } = await peek(body);
      refuseFormat(image.id, sniffImage(head));
      const properties = { [ID_PROPERTY]: image.id, [HASH_PROPERTY]: hashOf(image) };
      const fingerprint = await this.keep(context, whole, properties);
      this.shared.set(image.id, fingerprint);
      this.log.info('image fetched', { image: image.id, fingerprint, size: image.size ?? 0 });
      return fingerprint;
    } finally {
      body.destroy();
    }
  }
}

/** Passes a stream on; `digest()` of what went through once it has ended. */
function hashing(body: Readable): { readonly through: Readable; digest(): string } {
  const hash = createHash('sha256');
  const through = Readable.from(
    (async function* () {
      for await (const chunk of body) {
        // The stream is one of bytes.
        const bytes = chunk as Buffer;
        hash.update(bytes);
        yield bytes;
      }
    })(),
    { objectMode: false },
  );
  return { through, digest: () => hash.digest('hex') };
}

function hashOf(image: Image): string {
  return image.hashValue ?? image.checksum ?? '';
}

/** The start of a stream, and the stream with that start still in it. */
async function peek(body: Readable): Promise<{ head: Buffer; whole: Readable }> {
  const rest: AsyncIterator<Buffer> = body[Symbol.asyncIterator]();
  const parts: Buffer[] = [];
  let size = 0;
  while (size < HEAD_BYTES) {
    const next = await rest.next();
    if (next.done === true) break;
    parts.push(next.value);
    size += next.value.length;
  }
  const head = Buffer.concat(parts);
  const whole = Readable.from(
    (async function* () {
      yield head;
      for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value;
    })(),
    { objectMode: false },
  );
  return { head, whole };
}
