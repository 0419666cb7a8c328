/** Making and removing guests, and the second guest that a rescue needs. */
import { describeChain, isFault } from '../../process/fault.ts';
import type { Log } from '../../process/log.ts';
import { Undo } from '../../process/undo.ts';
import { novaError } from '../rpc/nova-error.ts';
import { UUID_KEY, type Caller, type LxdClient, type LxdInstance } from './client.ts';
import type { FileTree } from './config-drive.ts';
import { failingAs, guestError, spawnError } from './guest-faults.ts';
import type { GuestFinder } from './guest-finder.ts';
import { KEPT_KEY, guestBody, isRescuer, rescueBody, withSeeds } from './guest-spec.ts';
import type { RescueRequest, SpawnRequest } from './guest-types.ts';
import type { InstanceBody } from './instance-spec.ts';
import { instanceName } from './nova-instance.ts';
import { patiently } from './patience.ts';
import { pushDrive } from './push-drive.ts';
import { setPassword } from './set-password.ts';

export interface LifeParts {
  readonly client: LxdClient;
  readonly finder: GuestFinder;
  readonly log: Log;
  readonly pool: string;
  /** `instance_name_template`. */
  readonly template: string;
  /** The guest ends or changes: nobody is at its console any more. */
  readonly closeConsole: (uuid: string) => void;
}

const RESCUE_SUFFIX = '-rescued';

export class GuestLife {
  private readonly parts: LifeParts;
  /** Uuid -> its first password being set. */
  private readonly firstPasswords = new Map<string, Promise<void>>();

  constructor(parts: LifeParts) {
    this.parts = parts;
  }

  async spawn(caller: Caller, request: SpawnRequest): Promise<void> {
    const { instance, vifs, fingerprint, drive, start } = request;
    const { pool, template } = this.parts;
    try {
      const name = instanceName(template, instance);
      const body = guestBody(instance, vifs, { name, fingerprint, pool, start });
      await this.make(caller, instance.uuid, drive === null ? withSeeds(body, instance) : body, drive);
    } catch (err) {
      throw spawnError(instance.uuid, err);
    }
    if (start && request.adminPassword !== null) {
      this.setFirst(caller, instance.uuid, request.adminPassword);
    }
  }

  /** Resolves when nothing goes on in the background, of one guest or of all. */
  async settled(uuid?: string): Promise<void> {
    await (uuid === undefined ? Promise.all(this.firstPasswords.values()) : this.firstPasswords.get(uuid));
  }

  async destroy(caller: Caller, uuid: string): Promise<void> {
    const { finder } = this.parts;
    await failingAs('InstanceTerminationFailure', uuid, async () => {
      this.parts.closeConsole(uuid);
      await patiently(() => this.removeAll(caller, uuid), caller.signal);
    });
    finder.forget(uuid);
  }

  private async removeAll(caller: Caller, uuid: string): Promise<void> {
    const { client, finder } = this.parts;
    const found = await client.byUuid(caller, uuid);
    // The rescuer first: it uses the root of the other one.
    if (found !== null) await this.endAndRemove(caller, uuid, found);
    const kept = await finder.kept(caller, uuid);
    if (kept !== null) await this.endAndRemove(caller, uuid, kept);
  }

  /** A guest that cannot be ended still uses its ports: that is another failure than one to remove it. */
  private async endAndRemove(caller: Caller, uuid: string, found: LxdInstance): Promise<void> {
    try {
      if (found.status !== 'Stopped') await stopByForce(this.parts.client, caller, found.name);
    } catch (err) {
      // A daemon that is away is waited for.
      throw isFault(err, 'unavailable') ? err : guestError('InstancePowerOffFailure', uuid, err);
    }
    await this.remove(caller, { ...found, status: 'Stopped' });
  }

  async rescue(caller: Caller, request: RescueRequest): Promise<void> {
    const { instance, vifs, fingerprint, drive } = request;
    const { client, finder, pool, log } = this.parts;
    const { uuid } = instance;
    const found = await finder.find(caller, uuid);
    if (isRescuer(found)) {
      throw novaError('InstanceNotRescuable', { instance_id: uuid, reason: 'it is being rescued already' });
    }
    await failingAs('InstanceNotRescuable', uuid, async () => {
      const undo = new Undo();
      const calm = { requestId: caller.requestId };
      const kept = `${found.name}${RESCUE_SUFFIX}`;
      try {
        this.parts.closeConsole(uuid);
        if (found.status !== 'Stopped') await stopByForce(client, caller, found.name);
        undo.add('put the guest back', () => patiently(() => this.putBack(calm, uuid)));
        await client.patch(caller, found.name, { config: { [UUID_KEY]: '', [KEPT_KEY]: uuid } });
        await client.rename(caller, found.name, kept);
        finder.forget(uuid);
        const body = rescueBody(instance, vifs, { name: found.name, fingerprint, pool, start: true, kept });
        await this.make(caller, uuid, body, drive);
        undo.keep();
      } catch (err) {
        await undo.rollBack((what, error) => {
          log.error('undo step of a rescue failed', { instance: uuid, what, error: describeChain(error) });
        });
        throw err;
      }
    });
    if (request.password !== null) this.setFirst(caller, uuid, request.password);
  }

  async unrescue(caller: Caller, uuid: string): Promise<void> {
    const { client, finder } = this.parts;
    await failingAs('NovaException', uuid, async () => {
      const wasAside = await patiently(() => this.endRescue(caller, uuid), caller.signal);
      if (!wasAside) this.parts.log.info('a guest was back already', { instance: uuid });
      const { name, status } = await finder.find(caller, uuid);
      // One that was brought back before an answer could be given may run.
      if (status === 'Stopped') await client.changeState(caller, name, { action: 'start' });
    });
  }

  async cancelRescue(caller: Caller, uuid: string): Promise<void> {
    await failingAs('NovaException', uuid, () =>
      patiently(() => this.endRescue(caller, uuid), caller.signal),
    );
  }

  /** The rescuer goes and the guest has its place again. False: it was not put aside. */
  private async endRescue(caller: Caller, uuid: string): Promise<boolean> {
    const { client, finder, closeConsole } = this.parts;
    if ((await finder.kept(caller, uuid)) === null) return false;
    closeConsole(uuid);
    const rescuer = await client.byUuid(caller, uuid);
    if (rescuer !== null) await this.remove(caller, rescuer);
    await this.putBack(caller, uuid);
    return true;
  }

  /** Makes an instance, with its drive in it before it starts. */
  private async make(
    caller: Caller,
    uuid: string,
    body: InstanceBody,
    drive: FileTree | null,
  ): Promise<void> {
    const { client, finder, log } = this.parts;
    const undo = new Undo();
    try {
      const calm = { requestId: caller.requestId };
      undo.add('remove the guest', () => patiently(() => this.removeIfOurs(calm, uuid, body.name)));
      await this.create(caller, uuid, { ...body, start: body.start && drive === null });
      if (drive !== null) {
        await pushDrive(client, caller, body.name, drive);
        if (body.start) await client.changeState(caller, body.name, { action: 'start' });
      }
      undo.keep();
      finder.noteName(uuid, body.name);
    } catch (err) {
      await undo.rollBack((what, error) => {
        log.error('undo step of a build failed', { instance: uuid, what, error: describeChain(error) });
      });
      throw err;
    }
  }

  /** What an earlier try left under this name goes. Anybody else's is left alone. */
  private async create(caller: Caller, uuid: string, body: InstanceBody): Promise<void> {
    const { client } = this.parts;
    try {
      await client.create(caller, body);
    } catch (err) {
      if (!isFault(err, 'conflict') || !(await this.removeIfOurs(caller, uuid, body.name))) throw err;
      await client.create(caller, body);
    }
  }

  private async removeIfOurs(caller: Caller, uuid: string, name: string): Promise<boolean> {
    const found = await this.parts.client.instance(caller, name);
    if (found?.config[UUID_KEY] !== uuid) return false;
    await this.remove(caller, found);
    return true;
  }

  private async remove(caller: Caller, found: LxdInstance): Promise<void> {
    const { client } = this.parts;
    try {
      if (found.status !== 'Stopped') await stopByForce(client, caller, found.name);
      await client.delete(caller, found.name);
    } catch (err) {
      // Somebody else may have removed it meanwhile.
      if ((await client.instance(caller, found.name)) !== null) throw err;
    }
  }

  /** The guest that was put aside, if one was, has its name and its marker again. */
  private async putBack(caller: Caller, uuid: string): Promise<void> {
    const { client, finder } = this.parts;
    const kept = await finder.kept(caller, uuid);
    if (kept === null) return;
    const name = kept.name.endsWith(RESCUE_SUFFIX) ? kept.name.slice(0, -RESCUE_SUFFIX.length) : kept.name;
    if (name !== kept.name) await client.rename(caller, kept.name, name);
    await client.patch(caller, name, { config: { [UUID_KEY]: uuid, [KEPT_KEY]: '' } });
    finder.noteName(uuid, name);
  }

  /**
   * While the guest boots: nobody waits for the hash to be made. A guest
   * without a way to set it is built all the same, as Nova does.
   */
  private setFirst(caller: Caller, uuid: string, password: string): void {
    const work = this.firstPassword(caller, uuid, password).finally(() => {
      if (this.firstPasswords.get(uuid) === work) this.firstPasswords.delete(uuid);
    });
    this.firstPasswords.set(uuid, work);
  }

  private async firstPassword(caller: Caller, uuid: string, password: string): Promise<void> {
    const { client, finder, log } = this.parts;
    try {
      const set = async () => {
        await setPassword(client, caller, await finder.find(caller, uuid), password);
      };
      await patiently(set, caller.signal);
    } catch (err) {
      log.warn('the password of a new guest was not set', { instance: uuid, error: describeChain(err) });
    }
  }
}

/** Frozen or running; harmless when it is off already. */
export async function stopByForce(client: LxdClient, caller: Caller, name: string): Promise<void> {
  try {
    await client.changeState(caller, name, { action: 'stop', force: true });
  } catch (err) {
    if (isFault(err, 'unavailable') || caller.signal?.aborted === true) throw err;
    const now = await client.instance(caller, name);
    if (now !== null && now.status !== 'Stopped') throw err;
  }
}
