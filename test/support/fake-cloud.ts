/**
 * Keystone, Placement, Neutron, Glance and Cinder on one HTTP server. Keystone
 * gives out tokens on its own; everything else answers as scripted. What was
 * asked is kept.
 */
import { once } from 'node:events';
import http from 'node:http';
import { type AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

export interface Asked {
  readonly method: string;
  /** With its query: "/network/v2.0/ports?device_id=1". */
  readonly path: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: unknown;
}

export interface Scripted {
  readonly status?: number;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** Ends the connection without an answer. */
  readonly isBroken?: boolean;
}

type Answer = Scripted | ((asked: Asked) => Scripted);

const SERVICES = ['placement', 'network', 'image', 'volumev3'];

export class FakeCloud {
  readonly asked: Asked[] = [];
  /** Tokens that were given out; those of `revoked` are refused. */
  readonly tokens: string[] = [];
  readonly revoked = new Set<string>();
  password = 'secret';
  tokenLifeMs = 3_600_000;
  private readonly server: http.Server;
  private readonly script: { readonly method: string; readonly path: RegExp; readonly answers: Answer[] }[] =
    [];

  private constructor() {
    this.server = http.createServer((req, res) => void this.serve(req, res));
  }

  static async start(): Promise<FakeCloud> {
    const cloud = new FakeCloud();
    await cloud.listen(0);
    return cloud;
  }

  /** Comes back on a port after stop(). */
  async listen(port: number): Promise<void> {
    this.server.listen(port, '127.0.0.1');
    await once(this.server, 'listening');
  }

  get url(): string {
    const { port } = this.server.address() as AddressInfo; // it listens on TCP
    return `http://127.0.0.1:${String(port)}`;
  }

  /** Answers to requests that match, one after the other; the last one stays. */
  on(method: string, path: RegExp, ...answers: Answer[]): this {
    this.script.unshift({ method, path, answers });
    return this;
  }

  /** "GET /network/v2.0/ports?…" of everything but log-ins. */
  lines(): string[] {
    return this.asked
      .filter((one) => one.path !== '/identity/v3/auth/tokens')
      .map((one) => `${one.method} ${one.path}`);
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }

  private async serve(req: http.IncomingMessage, res: http.ServerResponse): Promise<void> {
    const raw = await text(req);
    const isJson = (req.headers['content-type'] ?? '').includes('json');
    const asked: Asked = {
      method: req.method ?? '',
      path: req.url ?? '',
      headers: req.headers,
      body: raw === '' ? null : isJson ? (JSON.parse(raw) as unknown) : raw, // JSON is unknown
    };
    this.asked.push(asked);
    const answer = asked.path === '/identity/v3/auth/tokens' ? this.login(asked) : this.answer(asked);
    if (answer.isBroken === true) {
      req.socket.destroy();
      return;
    }
    const { body } = answer;
    const bytes = Buffer.isBuffer(body) ? body : Buffer.from(body === undefined ? '' : JSON.stringify(body));
    res.writeHead(answer.status ?? 200, {
      ...(Buffer.isBuffer(body) || body === undefined ? {} : { 'Content-Type': 'application/json' }),
      ...answer.headers,
    });
    res.end(bytes);
  }

  private answer(asked: Asked): Scripted {
    const carried = [asked.headers['x-auth-token'], asked.headers['x-service-token']];
    if (carried.some((token) => typeof token === 'string' && this.revoked.has(token))) {
      return { status: 401, body: { error: { message: `token ${String(carried[0])} is not valid` } } };
    }
    const found = this.script.find((one) => one.method === asked.method && one.path.test(asked.path));
    const answer =
      found !== undefined && found.answers.length > 1 ? found.answers.shift() : found?.answers[0];
    if (answer === undefined) return { status: 404, body: { message: `nothing scripted for ${asked.path}` } };
    return typeof answer === 'function' ? answer(asked) : answer;
  }

  private login(asked: Asked): Scripted {
    if (!JSON.stringify(asked.body).includes(JSON.stringify(this.password))) {
      return {
        status: 401,
        body: { error: { code: 401, message: 'The request you have made requires authentication.' } },
      };
    }
    const id = `service-token-${String(this.tokens.length + 1)}`;
    this.tokens.push(id);
    const catalog = SERVICES.map((type) => ({
      type,
      endpoints: ['internal', 'public'].map((one) => ({
        interface: one,
        region: 'RegionOne',
        region_id: 'RegionOne',
        url: `${this.url}/${type}${one === 'public' ? '-public' : ''}`,
      })),
    }));
    return {
      status: 201,
      headers: { 'X-Subject-Token': id },
      body: {
        token: {
          expires_at: new Date(Date.now() + this.tokenLifeMs).toISOString(),
          project: { id: 'service-project' },
          user: { id: 'service-user' },
          catalog,
        },
      },
    };
  }
}
