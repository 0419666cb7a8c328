/**
 * How a route is written: parse -> call -> answer. Routes are data, so that the
 * server, the OpenAPI file and the tests that walk every route read one list.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';
import type { WebSocket } from 'ws';
import type { z } from 'zod';
import type { Requestor } from '../events/events.ts';
import type { Operation } from '../operations/types.ts';

export type Method = 'GET' | 'HEAD' | 'PUT' | 'POST' | 'PATCH' | 'DELETE';

/**
 * any: reachable by callers nobody trusts (the handler limits what it tells);
 * trusted: any caller that is trusted; admin: not a restricted certificate;
 * project: admin, or a restricted certificate that lists the project;
 * metrics: any trusted caller, certificates of type metrics, and everybody
 * when core.metrics_authentication is false.
 */
export type Access = 'any' | 'trusted' | 'project' | 'admin' | 'metrics';

/** What is known of a request before anything is read from it. */
export interface CallHead {
  readonly method: Method;
  /** Decoded path parameters. */
  readonly params: Readonly<Record<string, string>>;
  /** Path prefix the caller used for instances: `/1.0/instances` or its alias `/1.0/containers`. */
  readonly instancesPath: string;
  readonly caller: Caller;
}

export interface Call extends CallHead {
  readonly query: URLSearchParams;
  /** `?project=`, `default` when absent. */
  readonly project: string;
  readonly recursion: number;
  readonly headers: IncomingHttpHeaders;
  /** Body after the route's schema; undefined for routes without one. */
  readonly body: unknown;
  /** The raw body, for routes with `body: 'stream'`. */
  readonly stream: Readable;
  /** Fires when the client goes away. */
  readonly signal: AbortSignal;
  /** Fault etag_mismatch when the request's If-Match is not the tag of this value. */
  checkEtag(value: unknown): void;
}

export interface Caller {
  readonly trusted: boolean;
  readonly admin: boolean;
  /** Projects a restricted certificate may use; null for all. */
  readonly projects: readonly string[] | null;
  readonly requestor: Requestor;
  /** Client certificate of a TLS caller (DER), trusted or not. */
  readonly certificate: Buffer | null;
}

export type Answer =
  | {
      readonly kind: 'sync';
      readonly metadata: unknown;
      readonly etagOf?: unknown;
      readonly headers?: Readonly<Record<string, string>>;
    }
  | { readonly kind: 'created'; readonly location: string }
  | { readonly kind: 'async'; readonly operation: Operation }
  | {
      readonly kind: 'file';
      /** An open descriptor (closed by the server), a path, or bytes. */
      readonly content: { readonly fd: number } | { readonly path: string } | { readonly bytes: Buffer };
      readonly filename: string;
      readonly headers?: Readonly<Record<string, string>>;
    }
  | {
      readonly kind: 'multipart';
      readonly parts: readonly { readonly name: string; readonly filename: string; readonly path: string }[];
    }
  | { readonly kind: 'text'; readonly text: string; readonly contentType: string }
  | { readonly kind: 'headers'; readonly headers: Readonly<Record<string, string>> };

export interface Route {
  readonly method: Method;
  /** `/1.0/instances/{name}`; `{name*}` takes the rest of the path with its slashes. */
  readonly path: string;
  readonly access: Access;
  /** A list that shows nothing of a project that is not there, where others answer 404. */
  readonly isEmptyWithoutProject?: true;
  /** A sentence for the OpenAPI file. */
  readonly summary: string;
  /** zod schema of a JSON body, or the raw stream. Absent: a body is ignored. */
  readonly body?: z.ZodType | 'stream';
  /** A body of type application/octet-stream is left in `stream` unread, in place of the JSON of `body`. */
  readonly acceptsRaw?: boolean;
  /** zod schema of `metadata` in a sync answer, for the OpenAPI file. */
  readonly answer?: z.ZodType;
  readonly handle: (call: Call) => Promise<Answer>;
}

/** A route that answers with 101 and a websocket. */
export interface WebSocketRoute {
  readonly path: string;
  readonly access: Access;
  readonly summary: string;
  /** Throws a Fault to refuse before the upgrade; returns what to do with the socket. */
  readonly accept: (call: Call) => Promise<(socket: WebSocket) => void>;
}

export const answers = {
  sync: (metadata: unknown, etagOf?: unknown): Answer => ({
    kind: 'sync',
    metadata,
    ...(etagOf === undefined ? {} : { etagOf }),
  }),
  /** LXD's empty object after an update. */
  empty: (): Answer => ({ kind: 'sync', metadata: {} }),
  created: (location: string): Answer => ({ kind: 'created', location }),
  async: (operation: Operation): Answer => ({ kind: 'async', operation }),
} as const;
