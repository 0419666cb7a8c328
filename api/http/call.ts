/** The request as a route sees it. What few routes need is made on first use. */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import type { EventEmitter } from 'node:events';
import { Fault } from '../../process/fault.ts';
import { checkIfMatch } from '../etag.ts';
import { BodyStream } from './request-body.ts';
import type { Call, CallHead, Caller, Method } from './route.ts';

export interface CallFacts extends CallHead {
  readonly queryText: string;
}

/** Emits `close` when the client goes away: a response, or the socket of an upgrade. */
export type ClosingPart = EventEmitter & { readonly destroyed: boolean };

export class HttpCall implements Call {
  readonly method: Method;
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  readonly project: string;
  readonly recursion: number;
  readonly instancesPath: string;
  readonly headers: IncomingHttpHeaders;
  readonly caller: Caller;
  body: unknown = undefined;
  private readonly req: IncomingMessage;
  private readonly client: ClosingPart;
  private bodyStream: Readable | null = null;
  private controller: AbortController | null = null;

  /** Fault bad_request for parameters that no route can take. */
  constructor(req: IncomingMessage, client: ClosingPart, facts: CallFacts) {
    this.req = req;
    this.client = client;
    this.method = facts.method;
    this.params = facts.params;
    this.query = new URLSearchParams(facts.queryText);
    this.instancesPath = facts.instancesPath;
    this.headers = req.headers;
    this.caller = facts.caller;
    this.project = this.query.get('project') || 'default';
    this.recursion = readRecursion(this.query.get('recursion'));
    refuseNul(this.params, this.query);
  }

  get stream(): Readable {
    this.bodyStream ??= new BodyStream(this.req);
    return this.bodyStream;
  }

  get signal(): AbortSignal {
    if (this.controller === null) {
      const controller = new AbortController();
      const abort = (): void => {
        controller.abort(new Fault('conflict', 'the client went away'));
      };
      if (this.client.destroyed) abort();
      else this.client.once('close', abort);
      this.controller = controller;
    }
    return this.controller.signal;
  }

  checkEtag(value: unknown): void {
    checkIfMatch(this.headers['if-match'], value);
  }
}

function readRecursion(text: string | null): number {
  // Newer clients append `;fields=…`; what is no number means none, as in LXD.
  const value = Number.parseInt(text ?? '0', 10);
  return Number.isNaN(value) || value < 0 ? 0 : value;
}

/** No name and no path can hold a zero byte; the system calls behind would take it as their end. */
function refuseNul(params: Readonly<Record<string, string>>, query: URLSearchParams): void {
  for (const [name, value] of Object.entries(params)) {
    if (value.includes('\0')) throw new Fault('bad_request', `path parameter "${name}" holds a zero byte`);
  }
  for (const [name, value] of query) {
    if (value.includes('\0'))
      throw new Fault('bad_request', `query parameter "${name.slice(0, 80)}" holds a zero byte`);
  }
}
