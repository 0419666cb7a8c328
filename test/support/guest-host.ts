/** A real daemon with one image, and its guests as the compute service sees them. */
import assert from 'node:assert/strict';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { LxdClient, type Caller } from '../../driver/lxd/client.ts';
import type { Guests, RescueRequest, SpawnRequest } from '../../driver/lxd/guest-types.ts';
import { createGuests } from '../../driver/lxd/guests.ts';
import type { NovaInstance } from '../../driver/lxd/nova-instance.ts';
import type { Log } from '../../process/log.ts';
import { computeOptions, listeningLog } from './messaging.ts';
import { SlipwayDaemon } from './slipway-daemon.ts';

export interface GuestHostOptions {
  /** Path of an image; a busybox without it. */
  readonly image?: string;
  /** Text of nova.conf. */
  readonly config?: string;
  readonly log?: Log;
  readonly faults?: boolean;
}

export class GuestHost {
  readonly daemon: SlipwayDaemon;
  readonly client: LxdClient;
  readonly guests: Guests;
  /** Of the image. */
  readonly fingerprint: string;

  private constructor(daemon: SlipwayDaemon, fingerprint: string, { config = '', log }: GuestHostOptions) {
    this.daemon = daemon;
    this.fingerprint = fingerprint;
    this.client = new LxdClient(daemon.socket);
    this.guests = createGuests({
      client: this.client,
      options: computeOptions(config),
      log: log ?? listeningLog().log,
    });
  }

  static async open(options: GuestHostOptions = {}): Promise<GuestHost> {
    const daemon = await SlipwayDaemon.start({ faults: options.faults === true });
    await daemon.done('POST', '/1.0/storage-pools', { name: 'default', driver: 'overlay' });
    const file = options.image ?? (await buildTinyImage(daemon.dir));
    return new GuestHost(daemon, await daemon.importImage(file, 'image'), options);
  }

  /** For a guest of the image that runs at once, without ports and password, where `given` says nothing else. */
  request(instance: NovaInstance, given: Partial<SpawnRequest> = {}): SpawnRequest {
    const usual = { vifs: [], drive: null, start: true, adminPassword: null };
    return { instance, fingerprint: this.fingerprint, ...usual, ...given };
  }

  /** For a rescue from the image the guest was made of. */
  rescueRequest(instance: NovaInstance, given: Partial<RescueRequest> = {}): RescueRequest {
    return { instance, fingerprint: this.fingerprint, vifs: [], drive: null, password: null, ...given };
  }

  /** What a program in a guest prints; it must succeed. `name` is the container's. */
  async inside(caller: Caller, name: string, command: readonly string[]): Promise<string> {
    const ran = await this.client.exec(caller, name, command);
    assert.equal(ran.exitCode, 0, `${command.join(' ')}: ${ran.stderr}`);
    return ran.stdout;
  }

  /** For `after`. */
  async close(): Promise<void> {
    await this.guests.close();
    this.client.close();
    await this.daemon.destroy();
  }
}
