/** Interfaces that come and go while a guest is there, running or not. */
import type { Vif } from '../cloud/vif.ts';
import type { Caller, LxdClient } from './client.ts';
import { failingAs } from './guest-faults.ts';
import type { GuestFinder } from './guest-finder.ts';
import { withNic, withoutNic } from './guest-spec.ts';
import { devName } from '../cloud/vif.ts';

export class GuestNics {
  private readonly client: LxdClient;
  private readonly finder: GuestFinder;

  constructor(client: LxdClient, finder: GuestFinder) {
    this.client = client;
    this.finder = finder;
  }

  async attach(caller: Caller, uuid: string, vif: Vif): Promise<void> {
    const found = await this.finder.find(caller, uuid);
    await failingAs('InterfaceAttachFailed', uuid, async () => {
      const devices = withNic(found, vif);
      if (devices !== null) await this.client.patch(caller, found.name, { devices });
    });
  }

  async detach(caller: Caller, uuid: string, vif: Pick<Vif, 'id' | 'devname'>): Promise<void> {
    const found = await this.finder.find(caller, uuid);
    await failingAs('InterfaceDetachFailed', uuid, async () => {
      const definition = withoutNic(found, vif.devname === '' ? devName(vif.id) : vif.devname);
      if (definition !== null) await this.client.put(caller, found.name, definition);
    });
  }
}
