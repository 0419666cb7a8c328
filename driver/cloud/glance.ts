/** The calls nova-compute makes at Glance: show, download with proof, upload of snapshots, backups. */
import { createHash } from 'node:crypto';
import { Transform, type Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault, isFault } from '../../process/fault.ts';
import { type CallContext } from './call-context.ts';
import { query } from './catalog.ts';
import { CloudFault } from './cloud-fault.ts';
import { numberOrNull, recordOf, recordsOf, textOf, textOrNull, type Json } from './json.ts';
import { type ServiceClient } from './service-client.ts';

export interface Image {
  readonly id: string;
  readonly name: string;
  readonly status: string;
  /** Bytes; null while it has none. */
  readonly size: number | null;
  readonly diskFormat: string;
  readonly containerFormat: string;
  readonly checksum: string | null;
  readonly hashAlgo: string | null;
  readonly hashValue: string | null;
  /** MiB, GiB. */
  readonly minRam: number;
  readonly minDisk: number;
  /** Everything Glance sent, as it sent it. */
  readonly raw: Json;
}

export interface Download {
  /** Ends with a Fault conflict when the bytes are not those of the image. */
  readonly body: Readable;
  /** Bytes, when Glance says. */
  readonly size: number | null;
}

const PATCH_TYPE = 'application/openstack-images-v2.1-json-patch';
/** Glance's time until the first byte of an answer to an upload: it may copy the whole image. */
const UPLOAD_MS = 24 * 3600 * 1000;
const PAUSE_MS = 1000;

export class Glance {
  private readonly client: ServiceClient;
  /** `[glance] num_retries`. */
  private readonly retries: number;
  private readonly pauseMs: number;

  constructor(client: ServiceClient, retries = 3, pauseMs = PAUSE_MS) {
    this.client = client;
    this.retries = retries;
    this.pauseMs = pauseMs;
  }

  /** Fault not_found, forbidden. */
  async show(context: CallContext, id: string): Promise<Image> {
    const answer = await this.retried(context, () =>
      this.client.call(context, {
        what: `show image ${id} at Glance`,
        method: 'GET',
        path: `/images/${id}`,
        as: 'user',
      }),
    );
    return imageOf(recordOf(answer.body));
  }

  /** The content of an image, checked while it is read. Fault bad_request when it has none. */
  async download(context: CallContext, image: Image): Promise<Download> {
    const what = `download image ${image.id} from Glance`;
    const answer = await this.retried(context, () =>
      this.client.stream(context, {
        what,
        method: 'GET',
        path: `/images/${image.id}/file`,
        as: 'user',
        headers: { Accept: 'application/octet-stream' },
      }),
    );
    if (answer.status === 204) {
      answer.body.resume();
      throw new Fault(
        'bad_request',
        `${what}: the image has no data; upload it, then build the server again`,
      );
    }
    const length = Number(answer.headers['content-length'] ?? NaN);
    const checked = new Checked(what, image);
    answer.body.on('error', () => {
      checked.destroy(new Fault('unavailable', `${what}: the connection broke before the end of the image`));
    });
    checked.once('close', () => answer.body.destroy());
    return { body: answer.body.pipe(checked), size: Number.isFinite(length) ? length : image.size };
  }

  /**
   * Fills the record nova-api made for a snapshot: its formats first (the record
   * has none), then the content. Other properties of the record are kept.
   */
  async upload(
    context: CallContext,
    id: string,
    properties: Readonly<Record<string, string | number>>,
    body: Readable,
  ): Promise<void> {
    await this.patch(context, id, properties);
    await this.client.call(context, {
      what: `upload image ${id} to Glance`,
      method: 'PUT',
      path: `/images/${id}/file`,
      as: 'user',
      headers: { 'Content-Type': 'application/octet-stream' },
      body,
      timeoutMs: UPLOAD_MS,
      isOnce: true,
    });
  }

  /** Sets properties of an image; the others stay. */
  async patch(
    context: CallContext,
    id: string,
    properties: Readonly<Record<string, string | number>>,
  ): Promise<void> {
    const entries = Object.entries(properties);
    if (entries.length === 0) return;
    await this.retried(context, () =>
      this.client.call(context, {
        what: `change image ${id} at Glance`,
        method: 'PATCH',
        path: `/images/${id}`,
        as: 'user',
        headers: { 'Content-Type': PATCH_TYPE },
        // "add" sets a property that is there as well as one that is not. A Buffer keeps our content type.
        body: Buffer.from(
          JSON.stringify(entries.map(([key, value]) => ({ op: 'add', path: `/${pointer(key)}`, value }))),
        ),
      }),
    );
  }

  /** Harmless when it is gone already. */
  async delete(context: CallContext, id: string): Promise<void> {
    await this.retried(context, () =>
      this.client.call(context, {
        what: `delete image ${id} at Glance`,
        method: 'DELETE',
        path: `/images/${id}`,
        as: 'user',
        accept: [404],
      }),
    );
  }

  /** Backups of an instance, the newest first. */
  async backups(context: CallContext, instance: string, type: string): Promise<Image[]> {
    const answer = await this.retried(context, () =>
      this.client.call(context, {
        what: `list backups of instance ${instance} at Glance`,
        method: 'GET',
        path: `/images?${query([
          ['image_type', 'backup'],
          ['backup_type', type],
          ['instance_uuid', instance],
          ['limit', '200'],
          ['sort_key', 'created_at'],
          ['sort_dir', 'desc'],
        ])}`,
        as: 'user',
      }),
    );
    return recordsOf(recordOf(answer.body)['images']).map(imageOf);
  }

  private async retried<T>(context: CallContext, work: () => Promise<T>): Promise<T> {
    for (let left = this.retries; ; left -= 1) {
      try {
        return await work();
      } catch (err) {
        const isBusy = err instanceof CloudFault ? err.status === 503 : isFault(err, 'unavailable');
        if (left <= 0 || !isBusy) throw err;
      }
      await sleep(this.pauseMs, undefined, { signal: context.signal });
    }
  }
}

/** Passes bytes on and proves at the end that they are the image's. */
class Checked extends Transform {
  private readonly what: string;
  private readonly image: Image;
  private readonly expected: { readonly algo: string; readonly value: string } | null;
  private readonly hash: ReturnType<typeof createHash> | null;
  private bytes = 0;

  constructor(what: string, image: Image) {
    super();
    this.what = what;
    this.image = image;
    const { hashAlgo, hashValue, checksum } = image;
    if (hashAlgo !== null && hashValue !== null) this.expected = { algo: hashAlgo, value: hashValue };
    else this.expected = checksum === null ? null : { algo: 'md5', value: checksum };
    this.hash = this.expected === null ? null : createHash(this.expected.algo);
  }

  override _transform(
    chunk: Buffer,
    _encoding: BufferEncoding,
    done: (err: null, data: Buffer) => void,
  ): void {
    this.hash?.update(chunk);
    this.bytes += chunk.length;
    done(null, chunk);
  }

  override _flush(done: (err?: Error) => void): void {
    const { size } = this.image;
    if (size !== null && this.bytes !== size) {
      done(
        new Fault(
          'conflict',
          `${this.what}: ${String(this.bytes)} bytes came, the image has ${String(size)}`,
        ),
      );
    } else if (this.expected !== null && this.hash?.digest('hex') !== this.expected.value) {
      done(
        new Fault(
          'conflict',
          `${this.what}: its ${this.expected.algo} is not that of the image; it is not used`,
        ),
      );
    } else {
      done();
    }
  }
}

/** JSON pointers write these two characters in another way. */
function pointer(key: string): string {
  return key.replaceAll('~', '~0').replaceAll('/', '~1');
}

export function imageOf(raw: Json): Image {
  return {
    id: textOf(raw['id']),
    name: textOf(raw['name']),
    status: textOf(raw['status']),
    size: numberOrNull(raw['size']),
    diskFormat: textOf(raw['disk_format']),
    containerFormat: textOf(raw['container_format']),
    checksum: textOrNull(raw['checksum']),
    hashAlgo: textOrNull(raw['os_hash_algo']),
    hashValue: textOrNull(raw['os_hash_value']),
    minRam: numberOrNull(raw['min_ram']) ?? 0,
    minDisk: numberOrNull(raw['min_disk']) ?? 0,
    raw,
  };
}
