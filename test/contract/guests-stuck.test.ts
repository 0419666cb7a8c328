/** Guests whose container does not do as it is told, or whose daemon is away for a moment. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { LxdClient, type Caller, type LxdInstance, type StateChange } from '../../driver/lxd/client.ts';
import { POWER, type Guests } from '../../driver/lxd/guest-types.ts';
import { createGuests } from '../../driver/lxd/guests.ts';
import { computeOptions, listeningLog } from '../support/messaging.ts';

const UUID = '135877f5-8316-4b41-9393-8113e5898d9f';
const NAME = 'instance-00000001';
const caller: Caller = { requestId: 'req-1' };

function container(name: string, config: Readonly<Record<string, string>>): LxdInstance {
  return {
    architecture: 'x86_64',
    config: { ...config },
    devices: {},
    ephemeral: false,
    profiles: [],
    stateful: false,
    description: '',
    created_at: '',
    expanded_config: {},
    expanded_devices: {},
    name,
    status: 'Running',
    status_code: 103,
    last_used_at: '',
    location: 'none',
    type: 'container',
    project: 'default',
  };
}

/** Containers in memory, and what was asked of them. */
class Containers extends LxdClient {
  readonly asked: string[] = [];
  readonly all = [container(NAME, { 'user.nova.uuid': UUID })];

  override instance(_caller: Caller, name: string): Promise<LxdInstance | null> {
    return Promise.resolve(this.all.find((one) => one.name === name) ?? null);
  }

  override byKey(_caller: Caller, key: string, value: string): Promise<LxdInstance | null> {
    return Promise.resolve(this.all.find((one) => one.config[key] === value) ?? null);
  }

  override changeState(_caller: Caller, name: string, { action, force }: StateChange): Promise<void> {
    this.asked.push(force === true ? `${action} by force` : action);
    for (const one of this.all.filter((other) => other.name === name)) {
      one.status = action === 'stop' ? 'Stopped' : 'Running';
    }
    return Promise.resolve();
  }
}

let containers: Containers;
let guests: Guests;
beforeEach(() => {
  containers = new Containers('/nowhere');
  guests = createGuests({ client: containers, options: computeOptions(''), log: listeningLog().log });
});
afterEach(async () => {
  await guests.close();
  containers.close();
});

function setStatus(status: string): void {
  for (const one of containers.all) one.status = status;
}

test('a guest whose monitor is silent is in no state, and a stop or a start of it goes by force', async () => {
  setStatus('Error');
  assert.equal(await guests.power(caller, UUID), POWER.noState);
  await guests.powerOff(caller, UUID, 60);
  assert.deepEqual(containers.asked, ['stop by force']);
  setStatus('Error');
  await guests.powerOn(caller, UUID, []);
  assert.deepEqual(containers.asked, ['stop by force', 'stop by force', 'start']);
});
