/** The instance routes over fakes, behind the real HTTP side, and a client for them. */
import { instanceMetadataRoutes } from '../../api/routes/instance-metadata.ts';
import { instanceStateRoutes } from '../../api/routes/instance-state.ts';
import { instanceRoutes } from '../../api/routes/instances.ts';
import type { InstanceRow } from '../../api/db/rows.ts';
import { openWorld } from './fake-instances.ts';
import type { InstanceWorld, WorldOptions } from './fake-instances.ts';
import { send } from './http-client.ts';
import type { Reply } from './http-client.ts';
import { startServer } from './http-server.ts';

type Json = Record<string, unknown>;

export interface InstanceServer extends InstanceWorld {
  /** Status, error text and metadata of one request. */
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Result>;
  /** Asks, and waits for the operation: its final object. Fails unless the answer is 202. */
  operate(method: string, path: string, body?: unknown): Promise<Json>;
  /** Makes a stopped instance from the image. */
  make(name: string, more?: Json): Promise<InstanceRow>;
}

export interface Result {
  readonly status: number;
  readonly error: string;
  readonly metadata: unknown;
  readonly reply: Reply;
}

export async function startInstanceServer(options: WorldOptions = {}): Promise<InstanceServer> {
  const world = await openWorld(options);
  const { parts, changes } = world;
  const server = await startServer({
    routes: [
      ...instanceRoutes({ parts, changes }),
      ...instanceStateRoutes(parts, changes),
      ...instanceMetadataRoutes(parts, changes),
    ],
    shared: { events: parts.events, operations: world.operations },
  });
  const call = async (
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Result> => {
    const reply = await send(server, {
      method,
      path,
      headers,
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    if (reply.headers['content-type'] !== 'application/json') {
      return { status: reply.status, error: '', metadata: reply.text, reply };
    }
    const json = reply.json();
    return { status: reply.status, error: String(json['error']), metadata: json['metadata'], reply };
  };
  const operate = async (method: string, path: string, body?: unknown): Promise<Json> => {
    const asked = await call(method, path, body);
    if (asked.status !== 202) throw new Error(`${method} ${path}: ${String(asked.status)} ${asked.error}`);
    const { id } = asObject(asked.metadata);
    const done = await call('GET', `/1.0/operations/${String(id)}/wait?timeout=10`);
    return asObject(done.metadata);
  };
  return {
    ...world,
    call,
    operate,
    make: async (name, more = {}) => {
      const end = await operate('POST', '/1.0/instances', {
        name,
        source: { type: 'image', alias: 'tiny' },
        ...more,
      });
      if (end['status'] !== 'Success') throw new Error(`create ${name}: ${String(end['err'])}`);
      return world.store.byName('default', name);
    },
    close: async () => {
      await server.close();
      await world.close();
      if (server.errors.length > 0) throw new Error(`unexpected errors: ${server.errors.join('\n')}`);
    },
  };
}

export function asObject(value: unknown): Json {
  if (typeof value !== 'object' || value === null) throw new Error('expected an object');
  return { ...value };
}
