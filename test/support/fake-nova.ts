/**
 * Nova's conductor with a small database behind it: services, nodes and
 * instances. It keeps what it was asked, in order.
 */
import type { Calls } from '../../driver/nova/conductor.ts';
import { NovaObject, type FieldValue } from '../../driver/nova/versioned-object.ts';
import type { Outgoing } from '../../driver/rpc/envelope.ts';
import { isRecord, type Json } from '../../driver/rpc/json.ts';
import { novaError } from '../../driver/rpc/nova-error.ts';

export type Answer = (args: readonly unknown[], kwargs: Json, asked: Outgoing) => unknown;

export class FakeNova implements Calls {
  /** "ping", "Service.create", … */
  readonly lines: string[] = [];
  readonly asked: Outgoing[] = [];
  readonly services: Json[] = [];
  readonly nodes: Json[] = [];
  /** Data of instances. */
  readonly instances: Json[] = [];
  readonly conductorVersion: number;
  /** Class calls that answer in another way than below. */
  readonly answers = new Map<string, Answer>();
  /** The next call of this line fails. */
  readonly failures = new Map<string, unknown[]>();

  constructor(conductorVersion = 68) {
    this.conductorVersion = conductorVersion;
  }

  fail(line: string, ...errors: unknown[]): void {
    this.failures.set(line, errors);
  }

  /** What was asked so far counts no more. */
  forget(): void {
    this.lines.length = 0;
    this.asked.length = 0;
  }

  /** The last request of this line. */
  last(line: string): Json {
    const at = this.lines.lastIndexOf(line);
    const found = this.asked[at];
    if (found === undefined) throw new Error(`nobody asked for ${line}; asked: ${this.lines.join(', ')}`);
    return found.args;
  }

  async call(_target: unknown, request: Outgoing): Promise<unknown> {
    // As on the wire: what is sent is a copy.
    const copy: unknown = JSON.parse(JSON.stringify(request.args));
    const args = isRecord(copy) ? copy : {};
    const line = lineOf(request.method, args);
    this.lines.push(line);
    this.asked.push({ ...request, args });
    await Promise.resolve();
    const failure = this.failures.get(line)?.shift();
    if (failure !== undefined) throw failure; // eslint-disable-line @typescript-eslint/only-throw-error
    return this.answer(line, args, request);
  }

  cast(target: unknown, request: Outgoing): Promise<void> {
    return this.call(target, request).then(() => undefined);
  }

  private answer(line: string, args: Json, request: Outgoing): unknown {
    const list = Array.isArray(args['args']) ? args['args'] : [];
    const kwargs = isRecord(args['kwargs']) ? args['kwargs'] : {};
    const special = this.answers.get(line);
    if (special !== undefined) return special(list, kwargs, request);
    if (line === 'ping') return { service: 'conductor', arg: args['arg'] };
    const { objinst } = args;
    if (isRecord(objinst)) return this.act(line, objinst, request);
    const [first, second] = list;
    switch (line) {
      case 'Service.get_minimum_version':
        return first === 'nova-conductor' ? this.conductorVersion : 0;
      case 'Service.get_by_compute_host':
        if (!this.services.some((one) => one['host'] === first)) {
          throw novaError('ComputeHostNotFound', { host: first });
        }
        return this.one('Service', this.services, (one) => one['host'] === first);
      case 'Service.get_by_host_and_binary':
        return this.one('Service', this.services, (one) => one['host'] === first);
      case 'ComputeNodeList.get_all_by_uuids':
        return listOf(
          'ComputeNode',
          this.live().filter((one) => isIn(first, one['uuid'])),
        );
      case 'ComputeNodeList.get_all_by_host':
        return this.nodesOf(first);
      case 'ComputeNode.get_by_uuid':
        return this.nodeOf(first);
      case 'InstanceList.get_by_host':
      case 'InstanceList.get_by_host_and_node':
        return listOf(
          'Instance',
          this.instances.filter(
            (one) => one['host'] === first && (second === undefined || one['node'] === second),
          ),
        );
      case 'Instance.get_by_uuid':
        return this.instanceOf(kwargs['uuid'] ?? first);
      case 'MigrationList.get_by_filters':
      case 'MigrationList.get_in_progress_and_error':
        return listOf('Migration', []);
      default:
        return null;
    }
  }

  private live(): Json[] {
    return this.nodes.filter((one) => one['deleted'] !== true);
  }

  private nodesOf(host: unknown): unknown {
    const found = this.live().filter((one) => one['host'] === host);
    if (found.length === 0) throw novaError('ComputeHostNotFound', { host });
    return listOf('ComputeNode', found);
  }

  private nodeOf(uuid: unknown): unknown {
    const found = this.one('ComputeNode', this.nodes, (one) => one['uuid'] === uuid);
    if (found === null) throw novaError('ComputeHostNotFound', { host: uuid });
    return found;
  }

  private instanceOf(uuid: unknown): unknown {
    const found = this.one('Instance', this.instances, (one) => one['uuid'] === uuid);
    if (found === null) throw novaError('InstanceNotFound', { instance_id: uuid });
    return found;
  }

  private one(name: string, table: readonly Json[], is: (one: Json) => boolean): unknown {
    const found = table.find(is);
    return found === undefined ? null : primitive(name, found);
  }

  /** create and save of records; what is not kept here is answered with its own fields. */
  private act(line: string, object: Json, request: Outgoing): unknown {
    const data = object['nova_object.data'];
    const changes = object['nova_object.changes'];
    if (!isRecord(data)) throw new Error(`${line} has no data`);
    const changed = Object.fromEntries(
      Object.entries(data).filter(([field]) => Array.isArray(changes) && changes.includes(field)),
    );
    const table = TABLES[line.split('.')[0] ?? ''];
    const rows = table === undefined ? [] : this[table];
    if (line.endsWith('.create')) {
      const row = { id: rows.length + 1, ...changed, disabled: false, deleted: false };
      rows.push(row);
      return [{ ...row, obj_what_changed: [] }, null];
    }
    const row = rows.find((one) => one['uuid'] === data['uuid'] && one['id'] === data['id']);
    if (row?.['deleted'] === true && request.context['read_deleted'] === 'no') {
      throw novaError('ComputeHostNotFound', { host: row['id'] });
    }
    if (row !== undefined) Object.assign(row, changed);
    return [{ obj_what_changed: [] }, null];
  }
}

const TABLES: Readonly<Record<string, 'services' | 'nodes' | 'instances'>> = {
  Service: 'services',
  ComputeNode: 'nodes',
  Instance: 'instances',
};

function lineOf(method: string, args: Json): string {
  const { objname, objmethod, objinst } = args;
  const name = isRecord(objinst) ? objinst['nova_object.name'] : objname;
  return typeof name === 'string' ? `${name}.${String(objmethod)}` : method;
}

function isIn(list: unknown, value: unknown): boolean {
  return Array.isArray(list) && list.includes(value);
}

/** An object as conductor sends it: nothing of it is changed. */
export function primitive(name: string, data: Json): unknown {
  // Rows hold what is left of objects on the wire.
  const object = NovaObject.create(name, structuredClone(data) as Readonly<Record<string, FieldValue>>);
  object.resetChanges();
  return object.toPrimitive();
}

function listOf(name: string, rows: readonly Json[]): unknown {
  return primitive(`${name}List`, { objects: rows.map((row) => primitive(name, row)) });
}
