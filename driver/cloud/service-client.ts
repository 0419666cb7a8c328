/**
 * Requests to one service of the cloud: whose token they carry, where the
 * service is, and what happens when a token is no longer taken.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault, isFault } from '../../process/fault.ts';
import { type CallContext } from './call-context.ts';
import { findEndpoint, noEndpoint, type EndpointChoice } from './catalog.ts';
import { CloudFault, isCloudFault } from './cloud-fault.ts';
import { type Keystone } from './keystone.ts';
import { type HttpAnswer, type HttpRequest, type HttpSession, type HttpStream } from './session.ts';

/** `user`: the token of the context, when it has one. `service`: the account of the service's own section. */
export type Identity = 'user' | 'service';

export interface ServiceCall extends Omit<HttpRequest, 'url' | 'headers' | 'signal'> {
  /** Below the base of the service, with its query: "/ports/1". */
  readonly path: string;
  readonly as: Identity;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A call in the words of one API; `version` is a microversion of it. */
export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly version?: string;
  readonly body?: unknown;
  readonly accept?: readonly number[];
  readonly isOnce?: boolean;
}

/** `type` is the service's name in the header of microversions. */
export interface Asking {
  readonly what: string;
  readonly as: Identity;
  readonly type: 'placement' | 'volume';
}

export interface ServiceParts {
  readonly session: HttpSession;
  readonly endpoint: EndpointChoice;
  /** Account of the service's section; null when it has none (Glance). */
  readonly account: Keystone | null;
  /** [service_user] when send_service_user_token is on and the service wants it; null for none. */
  readonly serviceUser: Keystone | null;
  /** Turns the address of the catalog into the base of paths. */
  readonly base?: (url: string) => string;
  /** For requests that did not reach the service; the pauses are firstMs, twice that, and so on. */
  readonly retries?: { readonly count: number; readonly firstMs: number };
}

const NO_RETRIES = { count: 0, firstMs: 0 };
/** The request was never sent. */
const UNSENT = ['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EAI_AGAIN'];
/** It may have been done: only what does no harm twice is sent again. */
const BROKEN_OFF = ['ECONNRESET', 'EPIPE', 'ETIMEDOUT'];

interface Ticket {
  readonly base: string;
  readonly headers: Record<string, string>;
  /** Tells the accounts that their tokens were refused. True when a new try can help. */
  renew(): boolean;
}

export class ServiceClient {
  private readonly parts: ServiceParts;

  constructor(parts: ServiceParts) {
    this.parts = parts;
  }

  /** Sends and reads the answer; a 401 is tried once more with new tokens. CloudFault, Fault unavailable, timeout. */
  call(context: CallContext, call: ServiceCall): Promise<HttpAnswer> {
    return this.withTicket(context, call, (request) => this.parts.session.send(request));
  }

  /** call() with a microversion. */
  ask(context: CallContext, by: Asking, asked: Asked): Promise<HttpAnswer> {
    const { what, as, type } = by;
    const { version, ...rest } = asked;
    const headers = version === undefined ? {} : { 'OpenStack-API-Version': `${type} ${version}` };
    return this.call(context, { ...rest, what, as, headers });
  }

  /** As call(), with the body unread. */
  stream(context: CallContext, call: ServiceCall): Promise<HttpStream> {
    return this.withTicket(context, call, (request) => this.parts.session.stream(request));
  }

  /** A service that is being started again is away for seconds only: what its users wait for must not fail by that. */
  private async withTicket<T>(
    context: CallContext,
    call: ServiceCall,
    send: (request: HttpRequest) => Promise<T>,
  ): Promise<T> {
    const { count, firstMs } = this.parts.retries ?? NO_RETRIES;
    for (let tries = 0; ; tries += 1) {
      try {
        return await this.withTokens(context, call, send);
      } catch (err) {
        if (tries >= count || !maySendAgain(err, call)) throw err;
      }
      await sleep(firstMs * 2 ** tries, undefined, { signal: context.signal });
    }
  }

  private async withTokens<T>(
    context: CallContext,
    call: ServiceCall,
    send: (request: HttpRequest) => Promise<T>,
  ): Promise<T> {
    const ticket = await this.ticket(context, call);
    try {
      return await send(requestOf(call, ticket, context));
    } catch (err) {
      if (!isCloudFault(err, 401) || isSpent(call) || !ticket.renew()) throw err;
    }
    return send(requestOf(call, await this.ticket(context, call), context));
  }

  private async ticket(context: CallContext, call: ServiceCall): Promise<Ticket> {
    const { account, serviceUser, endpoint, base = (url: string) => url } = this.parts;
    const headers: Record<string, string> = {};
    if (context.requestId !== '') headers['X-OpenStack-Request-ID'] = context.requestId;
    const spent: { who: Keystone; token: string }[] = [];
    let url: string | null = null;
    if (call.as === 'user' && context.authToken !== null) {
      headers['X-Auth-Token'] = context.authToken;
      url = findEndpoint(context.catalog, endpoint, context.projectId);
    } else {
      if (account === null) throw noToken(call.what);
      const token = await account.token();
      headers['X-Auth-Token'] = token.id;
      spent.push({ who: account, token: token.id });
      url = findEndpoint(token.catalog, endpoint, token.projectId);
    }
    if (serviceUser !== null) {
      const token = await serviceUser.token();
      headers['X-Service-Token'] = token.id;
      spent.push({ who: serviceUser, token: token.id });
      url ??= findEndpoint(token.catalog, endpoint, context.projectId);
    }
    // The catalog in a context is cut down by nova-api; the account's own has everything.
    if (url === null && account !== null) {
      url = findEndpoint((await account.token()).catalog, endpoint, context.projectId);
    }
    if (url === null) throw noEndpoint(endpoint);
    return {
      base: base(url),
      headers,
      renew: () => {
        for (const { who, token } of spent) who.refuse(token);
        return spent.length > 0;
      },
    };
  }
}

/** A stream that was sent is gone. */
function isSpent({ body }: ServiceCall): boolean {
  return typeof body === 'object' && body !== null && 'pipe' in body;
}

function maySendAgain(err: unknown, call: ServiceCall): boolean {
  if (!isFault(err, 'unavailable') || err instanceof CloudFault || isSpent(call)) return false;
  const code = String(err.facts['code']);
  return UNSENT.includes(code) || (BROKEN_OFF.includes(code) && call.method !== 'POST');
}

function requestOf(call: ServiceCall, ticket: Ticket, context: CallContext): HttpRequest {
  const { path, as: _as, ...rest } = call;
  return {
    ...rest,
    url: ticket.base + path,
    headers: { ...ticket.headers, ...call.headers },
    signal: context.signal,
  };
}

function noToken(what: string): Fault {
  return new Fault(
    'not_trusted',
    `${what}: the request has no token of a user, and no account is configured for it`,
  );
}
