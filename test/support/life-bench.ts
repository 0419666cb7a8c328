/** A compute host whose neighbours are fakes, for what happens to instances after they were built. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openCloud } from '../../driver/cloud/cloud.ts';
import { ImageCache } from '../../driver/cloud/image-cache.ts';
import { createEventWaiters } from '../../driver/compute/event-waiters.ts';
import type { ComputeHost } from '../../driver/compute/host.ts';
import { computeMethods } from '../../driver/compute/manager.ts';
import { createNetworks } from '../../driver/compute/networks.ts';
import { Conductor } from '../../driver/nova/conductor.ts';
import { adminContext } from '../../driver/nova/context.ts';
import type { Outgoing } from '../../driver/rpc/envelope.ts';
import type { RpcClient } from '../../driver/rpc/client.ts';
import { isRecord, type Json } from '../../driver/rpc/json.ts';
import type { Notifier } from '../../driver/rpc/notifier.ts';
import { NovaError, novaError } from '../../driver/rpc/nova-error.ts';
import { Lanes } from '../../process/lanes.ts';
import { FakeCloud } from './fake-cloud.ts';
import { FakeGuests } from './fake-guests.ts';
import { FakeNova, primitive } from './fake-nova.ts';
import { FakePlacement } from './fake-placement.ts';
import { computeOptions, listeningLog } from './messaging.ts';

const NODE = '9d1d7a3c-0a1e-4b4f-8a4e-52f7c4d1f3aa';
export const UUID = '135877f5-8316-4b41-9393-8113e5898d9f';
export const IMAGE = '60e02d29-88c4-48b2-b8d5-c2b292cd0c8e';

/** One call to conductor, or one message to this host, as a real compute service and a real cloud made it. */
export interface RecordedCall {
  readonly object: string;
  readonly method: string;
  readonly args: readonly unknown[];
  readonly kwargs: Json;
  /** Changed fields with their values; null for calls of a class. */
  readonly changes: Json | null;
}

export interface RecordedLife {
  readonly operation: string;
  readonly request: { readonly method: string; readonly args: Json; readonly context: Json } | null;
  readonly calls: readonly RecordedCall[];
}

export function recordedLife(operation: string): RecordedLife {
  const path = join(import.meta.dirname, '..', 'fixtures', 'compute-life.jsonl');
  for (const line of readFileSync(path, 'utf8').trimEnd().split('\n')) {
    // The file is made of these.
    const read = JSON.parse(line) as RecordedLife;
    if (read.operation === operation) return read;
  }
  throw new Error(`operation ${operation} was not recorded`);
}

/** Keeps what is done to guests and what conductor is asked in one order. */
class OrderedNova extends FakeNova {
  readonly order: string[];

  constructor(order: string[]) {
    super(64);
    this.order = order;
  }

  override call(target: unknown, request: Outgoing): Promise<unknown> {
    const before = this.lines.length;
    const answer = super.call(target, request);
    const line = this.lines[before];
    if (line !== undefined) this.order.push(line);
    return answer;
  }
}

export class LifeBench {
  readonly cloud: FakeCloud;
  readonly placement: FakePlacement;
  readonly order: string[] = [];
  readonly nova = new OrderedNova(this.order);
  readonly guests = new FakeGuests();
  readonly logged = listeningLog();
  readonly host: ComputeHost;
  private readonly end = new AbortController();

  private constructor(cloud: FakeCloud, extra: string) {
    this.cloud = cloud;
    this.placement = new FakePlacement(cloud, []);
    this.placement.add({ uuid: NODE, name: 'node-a' });
    this.guests.before = (method) => {
      if (method !== 'power' && method !== 'list') this.order.push(`guest ${method}`);
    };
    this.nova.answers.set('Instance.save', (_args, kwargs, asked) => this.save(kwargs, asked));
    this.nova.answers.set('Instance.refresh', (_args, _kwargs, asked) => [this.rowOf(asked), null]);
    this.nova.answers.set('Instance.destroy', (_args, _kwargs, asked) => {
      this.nova.instances.splice(this.nova.instances.indexOf(this.rowOf(asked)), 1);
      return [{ obj_what_changed: [] }, null];
    });
    for (const line of ['InstanceInfoCache.refresh', 'InstanceInfoCache.save', 'Migration.save']) {
      this.nova.answers.set(line, () => [{ obj_what_changed: [] }, null]);
    }
    for (const list of ['BlockDeviceMapping', 'Instance', 'VirtualInterface']) {
      const line = list === 'Instance' ? 'InstanceList.get_by_filters' : `${list}List.get_by_instance_uuid`;
      this.nova.answers.set(line, () => primitive(`${list}List`, { objects: [] }));
    }
    cloud
      .on('GET', /^\/network\/v2\.0\/(ports|networks|extensions)/, {
        body: { ports: [], networks: [], extensions: [] },
      })
      .on('GET', /^\/image\/v2\/images\//, (asked) => ({
        body: imageOf(asked.path.split('/').at(-1) ?? ''),
      }));
    this.host = this.makeHost(extra);
  }

  static async make(extra = ''): Promise<LifeBench> {
    return new LifeBench(await FakeCloud.start(), extra);
  }

  async stop(): Promise<void> {
    this.end.abort();
    this.host.cloud.close();
    await this.cloud.stop();
  }

  /** An instance of this host, in the database and as a guest. */
  add(fields: Json = {}): Json {
    const row = instanceRow(fields);
    this.nova.instances.push(row);
    return row;
  }

  /** The instance as a message brings it. */
  object(row: Json): Json {
    // What primitive() makes of an instance.
    return primitive('Instance', row) as Json;
  }

  row(uuid = UUID): Json {
    const found = this.nova.instances.find((one) => one['uuid'] === uuid);
    if (found === undefined) throw new Error(`instance ${uuid} is not in the database`);
    return found;
  }

  /** A message comes in; what it throws is the failure. */
  ask(method: string, args: Json, context: Json = { ...adminContext(), project_id: 'p1' }): Promise<unknown> {
    const handler = computeMethods(this.host).get(method);
    if (handler === undefined) throw new Error(`method ${method} is not served`);
    return handler({
      method,
      version: '6.0',
      namespace: null,
      args,
      context,
      requestId: 'req-1',
      reply: null,
    });
  }

  /** As ask(), for a failure that is wanted. */
  async refused(method: string, args: Json): Promise<NovaError> {
    try {
      await this.ask(method, args);
    } catch (err) {
      if (err instanceof NovaError) return err;
      throw err;
    }
    throw new Error(`${method} did not fail`);
  }

  /** Messages of the faults that were recorded. */
  get faults(): string[] {
    return this.calls()
      .filter((call) => call.object === 'InstanceFault')
      .map((call) => String(call.changes?.['message']));
  }

  /** What conductor was asked, in order; casts of the service to itself are not in it. */
  calls(): RecordedCall[] {
    return this.nova.asked.filter((one) => one.method.startsWith('object_')).map(callOf);
  }

  /** Messages this service sent to itself. */
  casts(): { readonly method: string; readonly args: Json }[] {
    return this.nova.asked
      .filter((one) => !one.method.startsWith('object_'))
      .map((one) => ({ method: one.method, args: { ...one.args } }));
  }

  /** Nova's database: a save that expects another task state than there is is refused. */
  private save(kwargs: Json, asked: Outgoing): unknown {
    const row = this.rowOf(asked);
    const expected = kwargs['expected_task_state'];
    const list: readonly unknown[] = Array.isArray(expected) ? expected : [expected];
    const actual = row['task_state'] ?? null;
    if (expected !== undefined && !list.includes(actual)) {
      const className =
        actual === 'deleting' ? 'UnexpectedDeletingTaskStateError' : 'UnexpectedTaskStateError';
      const facts = { instance_uuid: row['uuid'], expected: list, actual };
      const { message, module, kwargs: kept, args, trace } = novaError('UnexpectedTaskStateError', facts);
      throw new NovaError(message, { className, module, kwargs: kept, args, trace });
    }
    const call = callOf({ ...asked, args: JSON.parse(JSON.stringify(asked.args)) as Json });
    Object.assign(row, call.changes ?? {});
    return [{ obj_what_changed: [] }, null];
  }

  private rowOf(asked: Outgoing): Json {
    const copy = JSON.parse(JSON.stringify(asked.args)) as Json; // an object stays one
    const data = isRecord(copy['objinst']) ? copy['objinst']['nova_object.data'] : null;
    const uuid = isRecord(data) ? data['uuid'] : null;
    const found = this.nova.instances.find((one) => one['uuid'] === uuid);
    if (found === undefined) throw novaError('InstanceNotFound', { instance_id: uuid });
    return found;
  }

  private makeHost(extra: string): ComputeHost {
    const { cloud: fake, nova, guests } = this;
    const options = computeOptions(`[DEFAULT]\nhost = node-a\nmy_ip = 192.0.2.7\n${extra}`);
    const { log } = this.logged;
    const account = {
      auth_url: `${fake.url}/identity`,
      username: 'nova',
      password: 'secret',
      project_name: 'service',
    };
    const at = (service: string) => ({ ...account, endpoint_override: `${fake.url}/${service}` });
    const cloud = openCloud({
      log,
      sections: {
        placement: at('placement'),
        neutron: at('network'),
        glance: at('image'),
        cinder: at('volumev3'),
        service_user: { ...account, send_service_user_token: 'true' },
      },
      readFile: () => '',
    });
    const conductor = new Conductor(nova);
    const store = {
      images: () => Promise.resolve([storedImage(IMAGE, 'f1'), storedImage(NEW_IMAGE, 'f2')]),
      importImage: () => Promise.reject(new Error('nothing is fetched here')),
      deleteImage: (_caller: unknown, fingerprint: string) => {
        this.order.push(`image ${fingerprint} deleted`);
        return Promise.resolve();
      },
    };
    const nobody = { sendsLegacy: false, sendsVersioned: false };
    return {
      name: 'node-a',
      options,
      log,
      conductor,
      // The methods of these two that are used are those the fakes have.
      client: nova as unknown as RpcClient,
      notifier: nobody as unknown as Notifier,
      cloud,
      images: new ImageCache({ glance: cloud.glance, store, log }),
      guests,
      tracker: {
        node: { uuid: NODE, id: 1, name: 'node-a' },
        claim: () => this.noted('claim'),
        abort: () => this.noted('abort'),
        note: () => this.noted('note'),
        drop: () => this.noted('drop'),
        buildEnded: () => undefined,
        update: () => this.noted('update'),
        setDisabled: () => this.noted('setDisabled'),
      },
      networks: createNetworks({
        conductor,
        cloud,
        log,
        host: 'node-a',
        ovsBridge: 'br-int',
        allocateRetries: 0,
        signal: this.end.signal,
      }),
      events: createEventWaiters(),
      lanes: new Lanes(),
      signal: this.end.signal,
    };
  }

  private noted(what: string): Promise<void> {
    this.order.push(`tracker ${what}`);
    return Promise.resolve();
  }
}

export const NEW_IMAGE = '6e88bb5f-5ec3-4a14-ba56-24df6be18ea0';

function imageOf(id: string): Json {
  return {
    id,
    name: 'image',
    status: 'active',
    disk_format: 'raw',
    container_format: 'bare',
    size: 1,
    checksum: 'c1',
    min_ram: 0,
    min_disk: 0,
  };
}

function storedImage(id: string, fingerprint: string) {
  const properties = { 'nova.image_id': id, 'nova.image_hash': 'c1' };
  return {
    fingerprint,
    properties,
    last_used_at: '2020-01-01T00:00:00Z',
    uploaded_at: '2020-01-01T00:00:00Z',
  };
}

/** Data of a whole instance, active on node-a. */
export function instanceRow(fields: Json = {}): Json {
  return {
    id: 15,
    uuid: UUID,
    user_id: 'u1',
    project_id: 'p1',
    display_name: 'web-1',
    hostname: 'web-1',
    image_ref: IMAGE,
    host: 'node-a',
    node: 'node-a',
    launch_index: 0,
    vm_state: 'active',
    task_state: null,
    power_state: 1,
    config_drive: '',
    launched_at: '2026-01-01T00:00:00Z',
    created_at: '2026-01-01T00:00:00Z',
    updated_at: '2026-01-01T00:00:00Z',
    deleted: false,
    deleted_at: null,
    shutdown_terminate: false,
    metadata: {},
    system_metadata: {},
    info_cache: primitive('InstanceInfoCache', { instance_uuid: UUID, network_info: '[]' }),
    keypairs: primitive('KeyPairList', { objects: [] }),
    flavor: primitive('Flavor', {
      name: 'm1.nano',
      vcpus: 1,
      memory_mb: 64,
      root_gb: 1,
      ephemeral_gb: 0,
      swap: 0,
      extra_specs: {},
    }),
    ...fields,
  };
}

/** A request to conductor in the shape of the recorded ones. */
export function callOf(asked: Pick<Outgoing, 'args'>): RecordedCall {
  const { objinst, objname, objmethod, args, kwargs } = asked.args;
  const common = {
    method: String(objmethod),
    args: Array.isArray(args) ? args : [],
    kwargs: isRecord(kwargs) ? kwargs : {},
  };
  if (!isRecord(objinst)) return { object: String(objname), changes: null, ...common };
  const data = isRecord(objinst['nova_object.data']) ? objinst['nova_object.data'] : {};
  const names = objinst['nova_object.changes'];
  const changes = (Array.isArray(names) ? names : []).map(
    (name) => [String(name), data[String(name)]] as const,
  );
  return { object: String(objinst['nova_object.name']), changes: Object.fromEntries(changes), ...common };
}
