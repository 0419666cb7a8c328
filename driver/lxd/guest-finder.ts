/** Finds guests by Nova's uuid. What is not marked as Nova's is never found. */
import { novaError } from '../rpc/nova-error.ts';
import { UUID_KEY, type Caller, type LxdClient, type LxdInstance } from './client.ts';
import { KEPT_KEY } from './guest-spec.ts';

export class GuestFinder {
  private readonly client: LxdClient;
  /** Uuid -> name where it was last seen; never believed without a look at the marker. */
  private readonly names = new Map<string, string>();

  constructor(client: LxdClient) {
    this.client = client;
  }

  async all(caller: Caller): Promise<readonly LxdInstance[]> {
    const found = await this.client.novaInstances(caller);
    this.names.clear();
    for (const one of found) this.noteName(one.config[UUID_KEY] ?? '', one.name);
    return found;
  }

  /** Null when there is none. */
  async look(caller: Caller, uuid: string): Promise<LxdInstance | null> {
    const name = this.names.get(uuid);
    const known = name === undefined ? null : await this.client.instance(caller, name);
    if (known?.config[UUID_KEY] === uuid) return known;
    const found = await this.client.byUuid(caller, uuid);
    if (found === null) this.names.delete(uuid);
    else this.noteName(uuid, found.name);
    return found;
  }

  /** NovaError InstanceNotFound when there is none. */
  async find(caller: Caller, uuid: string): Promise<LxdInstance> {
    const found = await this.look(caller, uuid);
    if (found === null) throw novaError('InstanceNotFound', { instance_id: uuid });
    return found;
  }

  /** The guest that was put aside for a rescue; null when there is none. */
  async kept(caller: Caller, uuid: string): Promise<LxdInstance | null> {
    return this.client.byKey(caller, KEPT_KEY, uuid);
  }

  noteName(uuid: string, name: string): void {
    this.names.set(uuid, name);
  }

  forget(uuid: string): void {
    this.names.delete(uuid);
  }
}
