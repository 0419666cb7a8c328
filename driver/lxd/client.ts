/** What the compute service asks of the REST daemon of this host. */
import { type Readable } from 'node:stream';
import type { WebSocket } from 'ws';
import { z } from 'zod';
import { image } from '../../api/wire/images.ts';
import { instance, instanceState, type InstanceStatePutWire } from '../../api/wire/instances.ts';
import { operation } from '../../api/wire/operations.ts';
import { Fault, isFault } from '../../process/fault.ts';
import { openSockets, talk, type OperationSockets } from './operation-sockets.ts';
import { Rest, type RestAnswer } from './rest.ts';

export type LxdInstance = z.infer<typeof instance>;
export type LxdState = z.infer<typeof instanceState>;
export type LxdOperation = z.infer<typeof operation>;

/** Who asks: Nova's request id, and the end of the work. */
export interface Caller {
  readonly requestId: string;
  readonly signal?: AbortSignal | undefined;
}

export type StateAction = 'start' | 'stop' | 'restart' | 'freeze' | 'unfreeze';

export interface StateChange {
  readonly action: StateAction;
  /** Seconds a clean stop may take; -1 for ever. */
  readonly timeoutS?: number;
  readonly force?: boolean;
}

export interface ExecResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Instances of Nova carry their uuid under this key; others are not ours to touch. */
export const UUID_KEY = 'user.nova.uuid';

const CODE_SUCCESS = 200;

const serverInfo = z.object({
  api_extensions: z.array(z.string()),
  auth: z.string(),
  environment: z.record(z.string(), z.unknown()),
});
const poolSpace = z.object({ space: z.object({ used: z.number().optional(), total: z.number() }) });
const operationMetadata = z.object({ fingerprint: z.string() });
const socketMetadata = z.object({ metadata: z.object({ fds: z.record(z.string(), z.string()) }) });
const execMetadata = z.object({ return: z.number(), output: z.record(z.string(), z.string()).nullish() });

export class LxdClient {
  readonly rest: Rest;

  /** `patienceMs`: how long a daemon that is being started again is waited for. */
  constructor(socketPath: string, patienceMs = 0) {
    this.rest = new Rest(socketPath, patienceMs);
  }

  close(): void {
    this.rest.close();
  }

  /** The daemon itself. Fault unavailable when it does not answer, forbidden when it does not trust this user. */
  async server(caller: Caller): Promise<z.infer<typeof serverInfo>> {
    const info = serverInfo.parse(await this.read(caller, '/1.0'));
    if (info.auth !== 'trusted') {
      throw new Fault(
        'forbidden',
        `use ${this.rest.socketPath}: this user is not trusted; add it to the socket's group`,
      );
    }
    return info;
  }

  /** CPUs, memory and so on, as `/1.0/resources` answers. */
  resources(caller: Caller): Promise<unknown> {
    return this.read(caller, '/1.0/resources');
  }

  /** Bytes of a storage pool. */
  async poolSpace(caller: Caller, pool: string): Promise<{ used: number; total: number }> {
    const path = `/1.0/storage-pools/${encodeURIComponent(pool)}/resources`;
    const { space } = poolSpace.parse(await this.read(caller, path));
    return { used: space.used ?? 0, total: space.total };
  }

  /** Every instance with the marker of Nova. */
  async novaInstances(caller: Caller): Promise<LxdInstance[]> {
    const all = z.array(instance).parse(await this.read(caller, '/1.0/instances?recursion=1'));
    return all.filter((one) => (one.config[UUID_KEY] ?? '') !== '');
  }

  /** By name; null when there is none. */
  async instance(caller: Caller, name: string): Promise<LxdInstance | null> {
    try {
      return instance.parse(await this.read(caller, urlOf(name)));
    } catch (err) {
      if (isFault(err, 'not_found')) return null;
      throw err;
    }
  }

  /** The instance of this uuid of Nova's, whatever its name; null when there is none. */
  byUuid(caller: Caller, uuid: string): Promise<LxdInstance | null> {
    return this.byKey(caller, UUID_KEY, uuid);
  }

  /** The first instance with this value of a key; null when there is none. */
  async byKey(caller: Caller, key: string, value: string): Promise<LxdInstance | null> {
    const filter = encodeURIComponent(`config.${key} eq ${value}`);
    const found = z
      .array(instance)
      .parse(await this.read(caller, `/1.0/instances?recursion=1&filter=${filter}`));
    return found.find((one) => one.config[key] === value) ?? null;
  }

  /**
   * Makes an instance; with `start: true` in the body it runs afterwards. When
   * the caller gives up, the daemon is told to, and has when this rejects.
   */
  async create(caller: Caller, body: unknown): Promise<void> {
    const answer = await this.rest.request({ ...caller, method: 'POST', path: '/1.0/instances', body });
    try {
      await this.ended(caller, answer);
    } catch (err) {
      if (caller.signal?.aborted === true) await this.cancel(caller.requestId, answer);
      throw err;
    }
  }

  /** Changes keys of config and devices; what is not named stays. */
  async patch(caller: Caller, name: string, body: unknown): Promise<void> {
    await this.act(caller, 'PATCH', urlOf(name), body);
  }

  /** Replaces config, devices and the rest: for devices that go. */
  async put(caller: Caller, name: string, body: unknown): Promise<void> {
    await this.act(caller, 'PUT', urlOf(name), body);
  }

  /** Fault not_found when it is not there; it must be stopped. */
  async delete(caller: Caller, name: string): Promise<void> {
    await this.act(caller, 'DELETE', urlOf(name));
  }

  async rename(caller: Caller, from: string, to: string): Promise<void> {
    await this.act(caller, 'POST', urlOf(from), { name: to });
  }

  async changeState(caller: Caller, name: string, change: StateChange): Promise<void> {
    const body: InstanceStatePutWire = {
      action: change.action,
      timeout: change.timeoutS ?? -1,
      force: change.force ?? false,
    };
    await this.act(caller, 'PUT', `${urlOf(name)}/state`, body);
  }

  async state(caller: Caller, name: string): Promise<LxdState> {
    return instanceState.parse(await this.read(caller, `${urlOf(name)}/state`));
  }

  /** Everything the daemon measures of the instances of one project, as text in the format of Prometheus. */
  async metrics(caller: Caller, project: string): Promise<string> {
    const path = `/1.0/metrics?project=${encodeURIComponent(project)}`;
    return (await bytesOf(await this.rest.stream({ ...caller, method: 'GET', path }))).toString('utf8');
  }

  /** The console's ring buffer. */
  async consoleLog(caller: Caller, name: string): Promise<Buffer> {
    const body = await this.rest.stream({ ...caller, method: 'GET', path: `${urlOf(name)}/console` });
    return bytesOf(body);
  }

  /**
   * Runs a program in the guest with this input, to its end: for input that
   * must be in no list of processes and no log. Its output is cut at 64 KiB.
   */
  async execWithInput(
    caller: Caller,
    name: string,
    command: readonly string[],
    input: string,
  ): Promise<ExecResult> {
    const body = { command, 'wait-for-websocket': true, interactive: false };
    const started = await this.sockets(caller, `${urlOf(name)}/exec`, body);
    const ended = this.ended(caller, started.answer);
    const output = await talk(started.sockets, input);
    const { return: exitCode } = execMetadata.parse((await ended)?.metadata);
    return { exitCode, ...output };
  }

  /** The console of a running guest: one client at a time has it. Fault busy, bad_request. */
  async console(caller: Caller, name: string): Promise<WebSocket> {
    const { answer, sockets } = await this.sockets(caller, `${urlOf(name)}/console`, { type: 'console' });
    const main = sockets['0'];
    if (main === undefined) throw new Fault('internal', `open the console of ${name}: it has no websocket`);
    // What ends the operation ends the socket too; the reason is told by nobody else.
    this.ended(caller, answer).catch(() => undefined);
    return main;
  }

  /** Runs a program in the guest to its end; its output is recorded by the daemon and read back. */
  async exec(caller: Caller, name: string, command: readonly string[]): Promise<ExecResult> {
    const body = { command, 'record-output': true, 'wait-for-websocket': false, interactive: false };
    const ended = await this.act(caller, 'POST', `${urlOf(name)}/exec`, body);
    const { return: exitCode, output } = execMetadata.parse(ended?.metadata);
    return {
      exitCode,
      stdout: await this.recorded(caller, output?.['1']),
      stderr: await this.recorded(caller, output?.['2']),
    };
  }

  async pullFile(caller: Caller, name: string, path: string): Promise<Buffer> {
    return bytesOf(await this.rest.stream({ ...caller, method: 'GET', path: fileUrl(name, path) }));
  }

  /** Imports an image file: unified, or a bare root file system. The fingerprint; the same file twice is one image. */
  async importImage(
    caller: Caller,
    body: Readable,
    properties: Readonly<Record<string, string>>,
  ): Promise<string> {
    const query = new URLSearchParams(properties).toString();
    const headers = { 'Content-Type': 'application/octet-stream', 'X-LXD-properties': query };
    const answer = await this.rest.request({ ...caller, method: 'POST', path: '/1.0/images', headers, body });
    const ended = await this.ended(caller, answer);
    return operationMetadata.parse(ended?.metadata).fingerprint;
  }

  async images(caller: Caller): Promise<z.infer<typeof image>[]> {
    return z.array(image).parse(await this.read(caller, '/1.0/images?recursion=1'));
  }

  /** Harmless when it is gone. */
  async deleteImage(caller: Caller, fingerprint: string): Promise<void> {
    try {
      await this.act(caller, 'DELETE', `/1.0/images/${fingerprint}`);
    } catch (err) {
      if (!isFault(err, 'not_found')) throw err;
    }
  }

  private async read(caller: Caller, path: string): Promise<unknown> {
    return (await this.rest.request({ ...caller, method: 'GET', path })).metadata;
  }

  /** Sends and waits for the operation, if one was started; a failed one is thrown. */
  private async act(
    caller: Caller,
    method: string,
    path: string,
    body?: unknown,
  ): Promise<LxdOperation | null> {
    return this.ended(caller, await this.rest.request({ ...caller, method, path, body }));
  }

  private async ended(caller: Caller, answer: RestAnswer): Promise<LxdOperation | null> {
    if (answer.operation === null) return null;
    const [path = ''] = answer.operation.split('?');
    const done = operation.parse(await this.read(caller, `${path}/wait`));
    if (done.status_code === CODE_SUCCESS) return done;
    // A failed operation has one code for all reasons; the reason is in its text.
    throw new Fault('internal', `${done.description}: ${done.err}`);
  }

  /** Starts an operation that is talked to, and connects to it. */
  private async sockets(
    caller: Caller,
    path: string,
    body: unknown,
  ): Promise<{ readonly answer: RestAnswer; readonly sockets: OperationSockets }> {
    const answer = await this.rest.request({ ...caller, method: 'POST', path, body });
    const { fds } = socketMetadata.parse(answer.metadata).metadata;
    const operation = (answer.operation ?? '').replace(/\?.*$/, '');
    return { answer, sockets: await openSockets(this.rest.socketPath, operation, fds) };
  }

  /** Ends an operation that nobody wants any more, and waits for that. Never rejects. */
  private async cancel(requestId: string, answer: RestAnswer): Promise<void> {
    const path = (answer.operation ?? '').replace(/\?.*$/, '');
    for (const [method, at] of [['DELETE', path] as const, ['GET', `${path}/wait`] as const]) {
      // It may have ended, or the daemon may: what is left is found by its marker.
      await this.rest.request({ requestId, method, path: at }).catch(() => undefined);
    }
  }

  private async recorded(caller: Caller, url: string | undefined): Promise<string> {
    if (url === undefined) return '';
    const bytes = await bytesOf(await this.rest.stream({ ...caller, method: 'GET', path: url }));
    await this.rest.request({ ...caller, method: 'DELETE', path: url });
    return bytes.toString('utf8');
  }
}

function urlOf(name: string): string {
  return `/1.0/instances/${encodeURIComponent(name)}`;
}

function fileUrl(name: string, path: string): string {
  return `${urlOf(name)}/files?path=${encodeURIComponent(path)}`;
}

async function bytesOf(body: Readable): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of body) parts.push(Buffer.from(part));
  return Buffer.concat(parts);
}
