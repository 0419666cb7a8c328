/** Interfaces that come and go while a guest is there, running or not. */
import { Lanes } from '../../process/lanes.ts';
import { devName, type Vif } from '../cloud/vif.ts';
import type { Caller, LxdClient } from './client.ts';
import { failingAs } from './guest-faults.ts';
import type { GuestFinder } from './guest-finder.ts';
import { withNic, withoutNic } from './guest-spec.ts';

export class GuestNics {
  private readonly client: Pick<LxdClient, 'patch' | 'put'>;
  private readonly finder: Pick<GuestFinder, 'find'>;
  /** Ports of a server come and go at the same time: each must see what the one before made of the definition. */
  private readonly lanes = new Lanes();

  constructor(client: Pick<LxdClient, 'patch' | 'put'>, finder: Pick<GuestFinder, 'find'>) {
    this.client = client;
    this.finder = finder;
  }

  attach(caller: Caller, uuid: string, vif: Vif): Promise<void> {
    return this.lanes.run(uuid, async () => {
      const found = await this.finder.find(caller, uuid);
      await failingAs('InterfaceAttachFailed', uuid, async () => {
        const devices = withNic(found, vif);
        if (devices !== null) await this.client.patch(caller, found.name, { devices });
      });
    });
  }

  detach(caller: Caller, uuid: string, vif: Pick<Vif, 'id' | 'devname'>): Promise<void> {
    return this.lanes.run(uuid, async () => {
      const found = await this.finder.find(caller, uuid);
      await failingAs('InterfaceDetachFailed', uuid, async () => {
        const definition = withoutNic(found, vif.devname === '' ? devName(vif.id) : vif.devname);
        if (definition !== null) await this.client.put(caller, found.name, definition);
      });
    });
  }
}
