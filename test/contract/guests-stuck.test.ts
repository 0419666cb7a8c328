/** Guests whose container does not do as it is told, or whose daemon is away for a moment. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { LxdClient, type Caller, type LxdInstance, type StateChange } from '../../driver/lxd/client.ts';
import { POWER, type Guests } from '../../driver/lxd/guest-types.ts';
import { createGuests } from '../../driver/lxd/guests.ts';
import { isNovaError } from '../../driver/rpc/nova-error.ts';
import { Fault } from '../../process/fault.ts';
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
  all = [container(NAME, { 'user.nova.uuid': UUID })];
  /** What a change, `stop by force` or `rename`, always fails with. */
  readonly refusals = new Map<string, Fault>();
  /** What the next one fails with when it has been made. */
  readonly failures = new Map<string, Fault>();

  override instance(_caller: Caller, name: string): Promise<LxdInstance | null> {
    return Promise.resolve(this.all.find((one) => one.name === name) ?? null);
  }

  override byKey(_caller: Caller, key: string, value: string): Promise<LxdInstance | null> {
    return Promise.resolve(this.all.find((one) => one.config[key] === value) ?? null);
  }

  override changeState(_caller: Caller, name: string, { action, force }: StateChange): Promise<void> {
    return this.change(force === true ? `${action} by force` : action, name, (one) => {
      one.status = action === 'stop' ? 'Stopped' : 'Running';
    });
  }

  override delete(_caller: Caller, name: string): Promise<void> {
    return this.change('delete', name, (one) => {
      this.all = this.all.filter((other) => other !== one);
    });
  }

  override rename(_caller: Caller, from: string, to: string): Promise<void> {
    return this.change('rename', from, (one) => {
      one.name = to;
    });
  }

  override patch(_caller: Caller, name: string, body: { config: Record<string, string> }): Promise<void> {
    return this.change('patch', name, (one) => {
      one.config = { ...one.config, ...body.config };
    });
  }

  private change(what: string, name: string, make: (one: LxdInstance) => void): Promise<void> {
    this.asked.push(what);
    const refusal = this.refusals.get(what);
    if (refusal !== undefined) return Promise.reject(refusal);
    for (const one of this.all.filter((other) => other.name === name)) make(one);
    const failure = this.failures.get(what);
    this.failures.delete(what);
    return failure === undefined ? Promise.resolve() : Promise.reject(failure);
  }
}

let containers: Containers;
let guests: Guests;
let alive: NodeJS.Timeout;
beforeEach(() => {
  // The pauses of what waits for a daemon keep no process alive.
  alive = setInterval(() => undefined, 1000);
  containers = new Containers('/nowhere');
  guests = createGuests({ client: containers, options: computeOptions(''), log: listeningLog().log });
});
afterEach(async () => {
  await guests.close();
  containers.close();
  clearInterval(alive);
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

for (const cut of ['stop by force', 'delete', 'rename', 'patch']) {
  for (const method of ['unrescue', 'cancelRescue'] as const) {
    test(`a daemon that is started again at the ${cut} of ${method} strands no root`, async () => {
      containers.all = [
        container(NAME, { 'user.nova.uuid': UUID, 'user.nova.rescuer': 'true' }),
        container(`${NAME}-rescued`, { 'user.nova.uuid': '', 'user.nova.kept_for': UUID }),
      ];
      const [, own] = containers.all;
      containers.failures.set(cut, new Fault('unavailable', 'no daemon'));
      await guests[method](caller, UUID);
      assert.deepEqual(containers.all, [own]);
      assert.equal(own?.name, NAME);
      assert.equal(own.config['user.nova.uuid'], UUID);
      assert.equal(own.config['user.nova.kept_for'], '');
    });
  }
}

for (const [what, className] of [
  ['stop by force', 'InstancePowerOffFailure'],
  ['delete', 'InstanceTerminationFailure'],
] as const) {
  test(`a guest whose ${what} fails is not destroyed: ${className}`, async () => {
    containers.refusals.set(what, new Fault('internal', 'it is in the way'));
    await assert.rejects(guests.destroy(caller, UUID), (err) => isNovaError(err, className));
    assert.equal(containers.all.length, 1);
  });

  test(`a daemon that is started again at the ${what} of a destroy is waited for`, async () => {
    containers.failures.set(what, new Fault('unavailable', 'no daemon'));
    await guests.destroy(caller, UUID);
    assert.equal(containers.all.length, 0);
  });
}
