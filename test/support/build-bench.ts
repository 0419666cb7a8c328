/** A compute host that builds and deletes, with fakes around it, and recorded builds to try it with. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildMethods } from '../../driver/compute/build.ts';
import { interfaceMethods } from '../../driver/compute/interfaces.ts';
import { createNetworks } from '../../driver/compute/networks.ts';
import type { ComputeHost, Tracker } from '../../driver/compute/host.ts';
import { saveInstance } from '../../driver/nova/instances.ts';
import type { NovaObject } from '../../driver/nova/versioned-object.ts';
import type { RpcContext } from '../../driver/rpc/envelope.ts';
import { textsOf } from '../../driver/cloud/json.ts';
import { isRecord, type Json } from '../../driver/rpc/json.ts';
import { NovaError, novaError } from '../../driver/rpc/nova-error.ts';
import type { RpcHandler } from '../../driver/rpc/server.ts';
import { FakeNeutron } from './fake-neutron.ts';
import { primitive } from './fake-nova.ts';
import { LifeBench, type RecordedLife } from './life-bench.ts';

export const NETWORK = 'net-1';

export function recordedBuild(operation: string): RecordedLife & { readonly request: Asked } {
  const path = join(import.meta.dirname, '..', 'fixtures', 'compute-build.jsonl');
  for (const line of readFileSync(path, 'utf8').trimEnd().split('\n')) {
    // The file is made of these.
    const read = JSON.parse(line) as RecordedLife & { readonly request: Asked };
    if (read.operation === operation) return read;
  }
  throw new Error(`operation ${operation} was not recorded`);
}

interface Asked {
  readonly method: string;
  readonly args: Json;
  readonly context: Json;
}

export class BuildBench {
  readonly life: LifeBench;
  readonly neutron: FakeNeutron;
  readonly host: ComputeHost;
  /** true and false as builds ended. */
  readonly ended: boolean[] = [];
  readonly claimed = new Set<string>();
  /** Notifications, by their type. */
  readonly told: { readonly type: string; readonly payload: Json; readonly priority: string }[] = [];
  /** The next images cannot be had. */
  readonly imageFailures: Error[] = [];
  /** Images never come. */
  isImageSlow = false;
  hasNotifications = false;
  /** Neutron tells of ports as soon as they are plugged. */
  plugs = true;

  private readonly methods: ReadonlyMap<string, RpcHandler>;

  private constructor(life: LifeBench) {
    this.life = life;
    this.neutron = new FakeNeutron(life.cloud);
    this.neutron.addNetwork(NETWORK);
    const { guests, host } = life;
    const before = guests.before;
    guests.before = async (method, uuid) => {
      await before(method, uuid);
      if (method === 'spawn') this.tell(uuid);
    };
    const { conductor, cloud, log, options, signal } = host;
    const networks = createNetworks({
      conductor,
      cloud,
      log,
      host: 'node-a',
      ovsBridge: 'br-int',
      allocateRetries: options.DEFAULT.network_allocate_retries,
      signal,
    });
    const own = { tracker: this.tracker(), notifier: this.notifier(), images: this.images() };
    this.host = { ...host, ...own, networks };
    this.methods = new Map([...buildMethods(this.host), ...interfaceMethods(this.host)]);
  }

  static async make(extra = ''): Promise<BuildBench> {
    return new BuildBench(await LifeBench.make(extra));
  }

  stop(): Promise<void> {
    return this.life.stop();
  }

  /** The message comes in; resolves when what it began has ended. */
  ask(asked: Asked): Promise<unknown> {
    const handler = this.methods.get(asked.method);
    if (handler === undefined) throw new Error(`method ${asked.method} is not served`);
    const { method, args, context } = asked;
    return handler({
      method,
      args,
      context,
      version: '6.0',
      namespace: null,
      requestId: 'req-1',
      reply: null,
    });
  }

  /** Messages that come at the same time. */
  async askTogether(all: readonly Asked[]): Promise<void> {
    await Promise.all(all.map((asked) => this.ask(asked)));
  }

  /** As ask(), for a failure that is wanted. */
  async refused(asked: Asked): Promise<NovaError> {
    try {
      await this.ask(asked);
    } catch (err) {
      if (err instanceof NovaError) return err;
      throw err;
    }
    throw new Error(`${asked.method} did not fail`);
  }

  /** The recorded message, with its instance in the database. */
  record(operation: string, change: Json = {}): Asked & { readonly uuid: string } {
    const { request } = recordedBuild(operation);
    const args = { ...structuredClone(request.args), ...change };
    const { instance } = args;
    if (!isRecord(instance) || !isRecord(instance['nova_object.data'])) throw new Error(operation);
    const data = instance['nova_object.data'];
    this.life.nova.instances.push(structuredClone(data));
    for (const group of textsOf(args['security_groups'])) {
      this.neutron.securityGroups.push({ id: group, name: 'recorded' });
    }
    for (const port of requestsOf(args)) {
      const id = port['network_id'];
      if (typeof id === 'string' && !this.neutron.networks.some((one) => one['id'] === id)) {
        this.neutron.addNetwork(id, { tenant_id: data['project_id'] });
      }
    }
    return { method: request.method, args, context: request.context, uuid: String(data['uuid']) };
  }

  /** What is left of an instance anywhere. */
  leftovers(uuid: string): Json {
    return {
      guest: this.life.guests.guests.has(uuid),
      ports: this.neutron.portsOf(uuid),
      claim: this.claimed.has(uuid),
    };
  }

  private tell(uuid: string): void {
    if (!this.plugs) return;
    for (const tag of this.neutron.portsOf(uuid)) {
      this.host.events.deliver(uuid, { name: 'network-vif-plugged', tag, status: 'completed' });
    }
  }

  /** Claims as the tracker of the service does. */
  private tracker(): Tracker {
    const { conductor, tracker } = this.life.host;
    return {
      ...tracker,
      claim: async (context: RpcContext, instance: NovaObject) => {
        instance
          .set('host', 'node-a')
          .set('node', 'node-a')
          .set('launched_on', 'node-a')
          .set('numa_topology', null);
        if (instance.isAtLeast(8)) instance.set('compute_id', 1);
        await saveInstance(conductor, context, instance);
        this.claimed.add(instance.text('uuid'));
      },
      abort: async (context: RpcContext, instance: NovaObject) => {
        this.claimed.delete(instance.text('uuid'));
        instance.set('numa_topology', null).set('host', null).set('node', null);
        await saveInstance(conductor, context, instance);
      },
      drop: (_context: RpcContext, uuid: string) => {
        this.claimed.delete(uuid);
        return Promise.resolve();
      },
      buildEnded: (isGood: boolean) => {
        this.ended.push(isGood);
      },
    };
  }

  private images(): ComputeHost['images'] {
    const images = {
      ensure: () => {
        const failure = this.imageFailures.shift();
        if (failure !== undefined) return Promise.reject(failure);
        if (this.isImageSlow) return new Promise(() => undefined);
        return Promise.resolve({ fingerprint: 'f1', isFetched: false });
      },
    };
    // The method of an ImageCache that is used.
    return images as unknown as ComputeHost['images'];
  }

  private notifier(): ComputeHost['notifier'] {
    const keep = (_context: RpcContext, type: string, payload: Json, priority: string): void => {
      this.told.push({ type, payload, priority });
    };
    const has = (): boolean => this.hasNotifications;
    const notifier = {
      get sendsLegacy() {
        return has();
      },
      get sendsVersioned() {
        return has();
      },
      legacy: keep,
      versioned: keep,
    };
    // The methods of a Notifier that are used.
    return notifier as unknown as ComputeHost['notifier'];
  }
}

function requestsOf(args: Json): Json[] {
  const list = args['requested_networks'];
  const data = isRecord(list) ? list['nova_object.data'] : null;
  const objects = isRecord(data) && Array.isArray(data['objects']) ? data['objects'] : [];
  return objects.filter(isRecord).map((one) => {
    const fields = one['nova_object.data'];
    return isRecord(fields) ? fields : {};
  });
}

/** A NetworkRequestList. */
export function networkRequests(...requests: readonly Json[]): unknown {
  const blank = { network_id: null, port_id: null, address: null, tag: null };
  const objects = requests.map((one) => primitive('NetworkRequest', { ...blank, ...one }));
  return primitive('NetworkRequestList', { objects });
}

/** An exception whose class is not raised here but met. */
export function metError(className: string, message = className): NovaError {
  const { module, kwargs, args, trace } = novaError('NovaException', {}, { message });
  return new NovaError(message, { className, module, kwargs, args, trace });
}
