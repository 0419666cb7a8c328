/** The calls nova-compute makes at Cinder: volumes and their attachments. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type CallContext } from './call-context.ts';
import { CloudFault, isCloudFault } from './cloud-fault.ts';
import { answered, numberOrNull, textOf, type Json } from './json.ts';
import { type Asked, type ServiceClient } from './service-client.ts';
import { type HttpAnswer } from './session.ts';

export interface Volume {
  readonly id: string;
  readonly status: string;
  /** GiB. */
  readonly size: number;
  readonly availabilityZone: string;
  readonly raw: Json;
}

export interface Attachment {
  readonly id: string;
  readonly volumeId: string;
  readonly connectionInfo: Json;
}

export type Connector = Readonly<Record<string, unknown>>;

const ATTACHMENTS = '3.44';
const SHARED_TARGETS = '3.48';
const DELETE_TRIES = 5;

export class Cinder {
  private readonly client: ServiceClient;
  private readonly pauseMs: number;

  constructor(client: ServiceClient, pauseMs = 1000) {
    this.client = client;
    this.pauseMs = pauseMs;
  }

  /** Fault not_found. Clouds older than 3.48 are asked again without a version. */
  async show(context: CallContext, id: string): Promise<Volume> {
    const what = `show volume ${id} at Cinder`;
    const path = `/volumes/${id}`;
    try {
      return volumeOf(
        (await this.ask(context, what, { method: 'GET', path, version: SHARED_TARGETS })).body,
        what,
      );
    } catch (err) {
      if (!isCloudFault(err, 406)) throw err;
    }
    return volumeOf((await this.ask(context, what, { method: 'GET', path })).body, what);
  }

  /** A new volume; `wanted` are the fields that are not null: size, imageRef, snapshot_id, name, … */
  async create(context: CallContext, wanted: Json): Promise<Volume> {
    const what = 'create a volume at Cinder';
    const answer = await this.ask(context, what, {
      method: 'POST',
      path: '/volumes',
      isOnce: true,
      body: { volume: { ...EMPTY_VOLUME, ...wanted } },
    });
    return volumeOf(answer.body, what);
  }

  async delete(context: CallContext, id: string): Promise<void> {
    const path = `/volumes/${id}`;
    await this.ask(context, `delete volume ${id} at Cinder`, { method: 'DELETE', path, accept: [404] });
  }

  async createAttachment(
    context: CallContext,
    given: { readonly volume: string; readonly instance: string; readonly connector: Connector | null },
  ): Promise<Attachment> {
    const what = `attach volume ${given.volume} at Cinder`;
    const body = {
      attachment: { volume_uuid: given.volume, connector: given.connector, instance_uuid: given.instance },
    };
    const asked = { method: 'POST', path: '/attachments', version: ATTACHMENTS, body, isOnce: true };
    return attachmentOf((await this.ask(context, what, asked)).body, what);
  }

  /** Says where the volume is wanted; answers how to reach it. */
  async updateAttachment(
    context: CallContext,
    id: string,
    connector: Connector,
    mountpoint: string,
  ): Promise<Attachment> {
    const what = `connect attachment ${id} at Cinder`;
    const body = { attachment: { connector: { ...connector, mountpoint } } };
    const asked = { method: 'PUT', path: `/attachments/${id}`, version: ATTACHMENTS, body };
    return attachmentOf((await this.ask(context, what, asked)).body, what);
  }

  async showAttachment(context: CallContext, id: string): Promise<Attachment> {
    const what = `show attachment ${id} at Cinder`;
    const asked = { method: 'GET', path: `/attachments/${id}`, version: ATTACHMENTS };
    return attachmentOf((await this.ask(context, what, asked)).body, what);
  }

  /** The volume is in use from now on. */
  async completeAttachment(context: CallContext, id: string): Promise<void> {
    await this.ask(context, `complete attachment ${id} at Cinder`, {
      method: 'POST',
      path: `/attachments/${id}/action`,
      version: ATTACHMENTS,
      body: { 'os-complete': null },
    });
  }

  /** Harmless when it is gone; tried 5 times while Cinder has trouble, as Nova does. */
  async deleteAttachment(context: CallContext, id: string): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      try {
        const path = `/attachments/${id}`;
        const asked = { method: 'DELETE', path, version: ATTACHMENTS, accept: [404] };
        await this.ask(context, `delete attachment ${id} at Cinder`, asked);
        return;
      } catch (err) {
        const isTrouble = err instanceof CloudFault && (err.status === 500 || err.status === 504);
        if (!isTrouble || tries >= DELETE_TRIES) throw err;
      }
      await sleep(this.pauseMs * tries, undefined, { signal: context.signal });
    }
  }

  /** A detach did not happen: the volume is in use as before. */
  async rollDetaching(context: CallContext, volume: string): Promise<void> {
    await this.ask(context, `roll back the detach of volume ${volume} at Cinder`, {
      method: 'POST',
      path: `/volumes/${volume}/action`,
      body: { 'os-roll_detaching': {} },
    });
  }

  private ask(context: CallContext, what: string, asked: Asked): Promise<HttpAnswer> {
    const as = context.authToken === null ? 'service' : 'user';
    return this.client.ask(context, { what, as, type: 'volume' }, asked);
  }
}

const EMPTY_VOLUME = {
  consistencygroup_id: null,
  snapshot_id: null,
  description: '',
  volume_type: null,
  availability_zone: null,
  metadata: {},
  imageRef: null,
  source_volid: null,
  backup_id: null,
};

function volumeOf(body: unknown, what: string): Volume {
  const raw = answered(body, 'volume', what);
  return {
    id: textOf(raw['id']),
    status: textOf(raw['status']),
    size: numberOrNull(raw['size']) ?? 0,
    availabilityZone: textOf(raw['availability_zone']),
    raw,
  };
}

/** Flat as Cinder sends it: what is not about the connection's kind goes under `data`. */
function attachmentOf(body: unknown, what: string): Attachment {
  const raw = answered(body, 'attachment', what);
  const info = raw['connection_info'];
  const flat: Json = typeof info === 'object' && info !== null ? { ...info } : {};
  const { driver_volume_type, ...data } = flat;
  const volumeId = textOf(raw['volume_id']);
  return {
    id: textOf(raw['id']),
    volumeId,
    connectionInfo: {
      driver_volume_type,
      data,
      status: raw['status'],
      instance: raw['instance'],
      volume_id: volumeId,
      serial: volumeId,
    },
  };
}
