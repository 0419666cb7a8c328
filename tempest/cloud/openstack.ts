/** A small client of OpenStack's APIs: what the set-up and the tests of the cloud ask of them. */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault } from '../../process/fault.ts';
import { controlAddress, type CloudFacts } from './setting.ts';

export type Json = Readonly<Record<string, unknown>>;

/** Ports of the services on the control plane, and what their paths begin with. */
const ROOTS = {
  identity: ':5000/v3',
  compute: ':8774/v2.1',
  network: ':9696/v2.0',
  image: ':9292/v2',
  placement: ':8778',
} as const;
export type ServiceName = keyof typeof ROOTS;

/** Newest versions this client was written for; `latest` would change under it. */
const VERSIONS: Readonly<Record<string, string>> = {
  'OpenStack-API-Version': 'compute 2.96',
  'X-OpenStack-Nova-API-Version': '2.96',
};
const PLACEMENT_VERSION = 'placement 1.36';
const ANSWER_MS = 90_000;
const ASK_EVERY_MS = 100;

export interface Login {
  readonly user: string;
  readonly project: string;
}

export const ADMIN: Login = { user: 'admin', project: 'admin' };
export const DEMO: Login = { user: 'demo', project: 'demo' };

export class OpenStack {
  private readonly address: string;
  private readonly password: string;
  private readonly login: Login;
  private readonly signal: AbortSignal | undefined;
  private token: Promise<string> | null = null;

  constructor(facts: CloudFacts, login: Login, signal?: AbortSignal) {
    this.address = controlAddress(facts);
    this.password = facts.password;
    this.login = login;
    this.signal = signal;
  }

  /** The body of the answer, {} for none. Fault with the service's own text; not_found for 404. */
  async request(service: ServiceName, method: string, path: string, body?: unknown): Promise<Json> {
    const answer = await this.send(service, method, path, {
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      headers: { 'Content-Type': 'application/json' },
    });
    const text = await answer.text();
    if (answer.ok) return text === '' ? {} : parsed(text);
    throw refusal(`${method} ${service} ${path}`, answer.status, text);
  }

  get(service: ServiceName, path: string): Promise<Json> {
    return this.request(service, 'GET', path);
  }

  /** A list of things, such as `servers` of `/servers/detail`. */
  async list(service: ServiceName, path: string, key: string): Promise<Json[]> {
    const found = (await this.get(service, path))[key];
    // What is listed under the name of a kind are objects of that kind.
    return Array.isArray(found) ? (found as Json[]) : [];
  }

  /** One thing out of an answer, such as `server` of `/servers/ID`. */
  async one(service: ServiceName, method: string, path: string, key: string, body?: unknown): Promise<Json> {
    const found = (await this.request(service, method, path, body))[key];
    // The answer holds one object under the name of its kind.
    return found as Json;
  }

  /** Sends the bytes of an image's file. */
  async upload(imageId: string, file: string): Promise<void> {
    const { size } = await stat(file);
    const answer = await this.send('image', 'PUT', `/images/${imageId}/file`, {
      // Node's streams and those of fetch are the same thing with two types.
      body: Readable.toWeb(createReadStream(file)) as unknown as ReadableStream,
      headers: { 'Content-Type': 'application/octet-stream', 'Content-Length': String(size) },
      duplex: 'half',
    });
    const text = await answer.text();
    if (!answer.ok) throw refusal(`upload of image ${imageId}`, answer.status, text);
  }

  private async send(
    service: ServiceName,
    method: string,
    path: string,
    init: RequestInit & { duplex?: 'half' },
  ): Promise<Response> {
    const url = `http://${this.address}${ROOTS[service]}${path}`;
    const version = service === 'placement' ? { 'OpenStack-API-Version': PLACEMENT_VERSION } : VERSIONS;
    const limit = new AbortController();
    const timer = setTimeout(() => {
      limit.abort(new Fault('timeout', `${method} ${url}: no answer within ${String(ANSWER_MS / 1000)} s`));
    }, ANSWER_MS);
    const signal = this.signal === undefined ? limit.signal : AbortSignal.any([this.signal, limit.signal]);
    try {
      return await fetch(url, {
        ...init,
        method,
        signal,
        headers: { ...version, ...init.headers, 'X-Auth-Token': await this.authenticate() },
      });
    } catch (cause) {
      this.signal?.throwIfAborted();
      throw new Fault('unavailable', `${method} ${url}`, { cause });
    } finally {
      clearTimeout(timer);
    }
  }

  private authenticate(): Promise<string> {
    this.token ??= this.newToken().catch((err: unknown) => {
      this.token = null;
      throw err;
    });
    return this.token;
  }

  private async newToken(): Promise<string> {
    const domain = { id: 'default' };
    const user = { name: this.login.user, domain, password: this.password };
    const auth = {
      identity: { methods: ['password'], password: { user } },
      scope: { project: { name: this.login.project, domain } },
    };
    const answer = await fetch(`http://${this.address}${ROOTS.identity}/auth/tokens`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ auth }),
    });
    const token = answer.headers.get('x-subject-token');
    const text = await answer.text();
    if (answer.ok && token !== null) return token;
    throw refusal(`log in as ${this.login.user}`, answer.status, text);
  }
}

function parsed(text: string): Json {
  // OpenStack's answers with a body are objects.
  return JSON.parse(text) as Json;
}

function refusal(what: string, status: number, text: string): Fault {
  const said = /"message":\s*"((?:[^"\\]|\\.)*)"/.exec(text)?.[1] ?? text.slice(0, 300);
  const codes = { 400: 'bad_request', 403: 'forbidden', 404: 'not_found', 409: 'conflict' } as const;
  const code = Object.entries(codes).find(([known]) => Number(known) === status)?.[1] ?? 'unavailable';
  return new Fault(code, `${what}: ${String(status)} ${said}`, { facts: { status } });
}

/** Asks again until the answer is not null. Fault timeout with `what`. */
export async function eventually<T>(what: string, ms: number, ask: () => Promise<T | null>): Promise<T> {
  const end = performance.now() + ms;
  for (;;) {
    const answer = await ask();
    if (answer !== null) return answer;
    if (performance.now() > end) throw new Fault('timeout', `${what}: not within ${String(ms / 1000)} s`);
    await sleep(ASK_EVERY_MS);
  }
}
