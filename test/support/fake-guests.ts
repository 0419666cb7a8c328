/** The containers of a host, in memory: what the compute service did with them is kept. */
import {
  POWER,
  type Capacity,
  type Diagnostics,
  type Guest,
  type Guests,
} from '../../driver/compute/host.ts';
import type {
  ConsoleAddress,
  PowerState,
  RebootOptions,
  RescueRequest,
  SpawnRequest,
} from '../../driver/compute/host.ts';
import type { NetworkInfo, Vif } from '../../driver/cloud/vif.ts';
import type { Caller } from '../../driver/lxd/client.ts';
import type { NovaInstance } from '../../driver/lxd/nova-instance.ts';
import { novaError } from '../../driver/rpc/nova-error.ts';

export interface FakeGuest {
  readonly name: string;
  power: PowerState;
  vifs: NetworkInfo;
  isRescued: boolean;
}

type Method = keyof Guests;

export class FakeGuests implements Guests {
  readonly guests = new Map<string, FakeGuest>();
  /** "spawn", "powerOff 60", … in order. */
  readonly done: string[] = [];
  readonly spawned: SpawnRequest[] = [];
  readonly rescued: RescueRequest[] = [];
  readonly passwords: string[] = [];
  consoleText = '';
  /** Runs inside a method, before it does anything: to look, or to hold it up. */
  before: (method: Method, uuid: string) => Promise<void> | void = () => undefined;
  private readonly failures = new Map<Method, unknown[]>();

  /** The next call of the method fails with this. */
  fail(method: Method, err: unknown): void {
    this.failures.set(method, [...(this.failures.get(method) ?? []), err]);
  }

  add(uuid: string, given: Partial<FakeGuest> = {}): FakeGuest {
    const guest = { name: 'instance-00000001', power: POWER.running, vifs: [], isRescued: false, ...given };
    this.guests.set(uuid, guest);
    return guest;
  }

  async list(_caller: Caller): Promise<readonly Guest[]> {
    await this.enter('list', '', 'list');
    return [...this.guests].map(([uuid, { name, power }]) => ({ uuid, name, power }));
  }

  async power(_caller: Caller, uuid: string): Promise<PowerState> {
    await this.enter('power', uuid, null);
    return this.guests.get(uuid)?.power ?? POWER.noState;
  }

  async spawn(_caller: Caller, request: SpawnRequest): Promise<void> {
    const { uuid } = request.instance;
    await this.enter('spawn', uuid, 'spawn');
    this.spawned.push(request);
    this.add(uuid, { power: request.start ? POWER.running : POWER.shutdown, vifs: request.vifs });
  }

  async destroy(_caller: Caller, uuid: string): Promise<void> {
    await this.enter('destroy', uuid, 'destroy');
    this.guests.delete(uuid);
  }

  async powerOn(_caller: Caller, uuid: string, vifs: NetworkInfo): Promise<void> {
    await this.enter('powerOn', uuid, 'powerOn');
    const guest = this.here(uuid);
    guest.power = POWER.running;
    guest.vifs = vifs;
  }

  powerOff(_caller: Caller, uuid: string, timeoutS: number): Promise<void> {
    return this.turn('powerOff', uuid, POWER.shutdown, String(timeoutS));
  }

  async reboot(_caller: Caller, instance: NovaInstance, options: RebootOptions): Promise<void> {
    await this.turn('reboot', instance.uuid, POWER.running, options.hard ? 'hard' : 'soft');
    this.here(instance.uuid).vifs = options.vifs;
  }

  pause(_caller: Caller, uuid: string): Promise<void> {
    return this.turn('pause', uuid, POWER.paused);
  }

  unpause(_caller: Caller, uuid: string): Promise<void> {
    return this.turn('unpause', uuid, POWER.running);
  }

  suspend(_caller: Caller, uuid: string): Promise<void> {
    return this.turn('suspend', uuid, POWER.suspended);
  }

  resume(_caller: Caller, uuid: string): Promise<void> {
    return this.turn('resume', uuid, POWER.running);
  }

  async rescue(_caller: Caller, request: RescueRequest): Promise<void> {
    await this.turn('rescue', request.instance.uuid, POWER.running);
    this.rescued.push(request);
    this.here(request.instance.uuid).isRescued = true;
  }

  async unrescue(_caller: Caller, uuid: string): Promise<void> {
    await this.turn('unrescue', uuid, POWER.running);
    this.here(uuid).isRescued = false;
  }

  async cancelRescue(_caller: Caller, uuid: string): Promise<void> {
    await this.turn('cancelRescue', uuid, POWER.shutdown);
    this.here(uuid).isRescued = false;
  }

  async attachInterface(_caller: Caller, instance: NovaInstance, vif: Vif): Promise<void> {
    await this.enter('attachInterface', instance.uuid, `attachInterface ${vif.id}`);
    const guest = this.here(instance.uuid);
    guest.vifs = [...guest.vifs, vif];
  }

  async detachInterface(_caller: Caller, uuid: string, vif: Pick<Vif, 'id' | 'devname'>): Promise<void> {
    await this.enter('detachInterface', uuid, `detachInterface ${vif.id}`);
    const guest = this.guests.get(uuid);
    if (guest !== undefined) guest.vifs = guest.vifs.filter((one) => one.id !== vif.id);
  }

  async rename(_caller: Caller, uuid: string, displayName: string): Promise<void> {
    await this.enter('rename', uuid, `rename ${displayName}`);
    this.here(uuid);
  }

  async consoleLog(_caller: Caller, uuid: string): Promise<Buffer> {
    await this.enter('consoleLog', uuid, 'consoleLog');
    this.here(uuid);
    return Buffer.from(this.consoleText);
  }

  async serialConsole(_caller: Caller, uuid: string): Promise<ConsoleAddress> {
    await this.enter('serialConsole', uuid, 'serialConsole');
    this.here(uuid);
    return { host: '127.0.0.1', port: 10_000 };
  }

  async close(): Promise<void> {
    await this.enter('close', '', 'close');
  }

  async setPassword(_caller: Caller, uuid: string, password: string): Promise<void> {
    await this.enter('setPassword', uuid, 'setPassword');
    this.here(uuid);
    this.passwords.push(password);
  }

  async diagnostics(_caller: Caller, uuid: string): Promise<Diagnostics> {
    await this.enter('diagnostics', uuid, 'diagnostics');
    this.here(uuid);
    return { uptimeS: 1, cpus: [], nics: [], disks: [], memory: { maximumMiB: 64, usedMiB: 1 } };
  }

  async capacity(_caller: Caller): Promise<Capacity> {
    await this.enter('capacity', '', null);
    const cpu = { arch: 'x86_64', model: 'Fake', vendor: 'Fake', sockets: 1, cores: 4, threads: 1 };
    return { cpus: 4, memoryMb: 8192, diskGb: 100, diskUsedGb: 10, cpu, lxcVersion: '5.0.2' };
  }

  private async turn(method: Method, uuid: string, power: PowerState, what = ''): Promise<void> {
    await this.enter(method, uuid, `${method} ${what}`.trim());
    this.here(uuid).power = power;
  }

  private here(uuid: string): FakeGuest {
    const guest = this.guests.get(uuid);
    if (guest === undefined) throw novaError('InstanceNotFound', { instance_id: uuid });
    return guest;
  }

  private async enter(method: Method, uuid: string, what: string | null): Promise<void> {
    if (what !== null) this.done.push(what);
    await this.before(method, uuid);
    const failures = this.failures.get(method) ?? [];
    if (failures.length > 0) throw failures.shift();
  }
}
