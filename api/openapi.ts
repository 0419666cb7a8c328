/** The OpenAPI document, made from the same table of routes that answers requests. */
import { z } from 'zod';
import { allRoutes, allWebSocketRoutes, type RouteParts } from './all-routes.ts';
import type { Access, Method, Route, WebSocketRoute } from './http/route.ts';
import { envelope, errorEnvelope } from './wire/envelope.ts';

type Json = Readonly<Record<string, unknown>>;

const ACCESS_TEXT: Readonly<Record<Access, string>> = {
  any: 'Open to callers without a trusted certificate; what they see is limited.',
  trusted: 'For trusted callers.',
  project: 'For admins, and restricted certificates that list the project.',
  admin: 'For admins: the unix socket, or a certificate that is not restricted.',
  metrics: 'For trusted callers and certificates of type metrics.',
};

/** Keys are sorted, so that the document changes only when a route does. */
export function buildOpenApi(routes: readonly Route[], webSockets: readonly WebSocketRoute[]): Json {
  const paths = new Map<string, Record<string, Json>>();
  const add = (path: string, method: Method, operation: Json): void => {
    const key = path.replace(/\{(\w+)\*\}/g, '{$1}');
    const entry = paths.get(key) ?? {};
    entry[method.toLowerCase()] = operation;
    paths.set(key, entry);
  };
  for (const route of routes) add(route.path, route.method, describeRoute(route));
  for (const route of webSockets) add(route.path, 'GET', describeWebSocket(route));
  return {
    openapi: '3.1.0',
    info: {
      title: 'Slipway REST API',
      version: '1.0',
      description:
        'Compatible with LXD 5.0. Every path below /1.0/instances is also served below /1.0/containers. ' +
        'An operation is followed under /1.0/operations or in /1.0/events.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    paths: Object.fromEntries([...paths].sort(([a], [b]) => (a < b ? -1 : 1))),
    components: {
      schemas: { Envelope: schemaOf(envelope, 'output'), Error: schemaOf(errorEnvelope, 'output') },
    },
  };
}

function describeRoute(route: Route): Json {
  return {
    summary: route.summary,
    description: ACCESS_TEXT[route.access],
    operationId: operationId(route.method, route.path),
    parameters: parametersOf(route.path),
    ...(route.body === undefined ? {} : { requestBody: requestBody(route.body) }),
    responses: {
      '2XX': success(route),
      default: {
        description: 'What went wrong.',
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
      },
    },
  };
}

function describeWebSocket(route: WebSocketRoute): Json {
  return {
    summary: route.summary,
    description: `${ACCESS_TEXT[route.access]} A websocket (RFC 6455).`,
    operationId: operationId('GET', route.path),
    parameters: parametersOf(route.path),
    responses: {
      '101': { description: 'The connection is a websocket from here on.' },
      default: {
        description: 'Why it was refused.',
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
      },
    },
  };
}

function requestBody(body: NonNullable<Route['body']>): Json {
  return body === 'stream'
    ? { content: { 'application/octet-stream': { schema: {} } } }
    : { required: true, content: { 'application/json': { schema: schemaOf(body, 'input') } } };
}

function success(route: Route): Json {
  const any = { $ref: '#/components/schemas/Envelope' };
  const schema =
    route.answer === undefined
      ? any
      : { allOf: [any, { properties: { metadata: schemaOf(route.answer, 'output') } }] };
  return {
    description: 'The answer in its envelope, or a file.',
    content: { 'application/json': { schema } },
  };
}

function schemaOf(schema: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _dialect, ...json } = z.toJSONSchema(schema, { io, unrepresentable: 'any' });
  return json;
}

function parametersOf(path: string): Json[] {
  const names = [...path.matchAll(/\{(\w+)(\*?)\}/g)];
  return [
    ...names.map(([, name = '', rest]) => ({
      name,
      in: 'path',
      required: true,
      schema: { type: 'string' },
      ...(rest === '*' ? { description: 'May hold slashes.' } : {}),
    })),
    { name: 'project', in: 'query', schema: { type: 'string', default: 'default' } },
  ];
}

function operationId(method: Method, path: string): string {
  const words = path.split(/[^A-Za-z0-9]+/).filter((word) => word !== '');
  return [method.toLowerCase(), ...words].join('_');
}

/** The document of this daemon's routes, as it is kept in docs/openapi.json. */
export function currentOpenApi(): string {
  const { routes, webSockets } = routesForReading();
  return `${JSON.stringify(buildOpenApi(routes, webSockets), null, 2)}\n`;
}

/** The table of this daemon's routes, to be read; none of them can be called. */
export function routesForReading(): { readonly routes: Route[]; readonly webSockets: WebSocketRoute[] } {
  const parts = untouchedParts();
  return { routes: allRoutes(parts), webSockets: allWebSocketRoutes(parts) };
}

/** Stands for everything routes are made of: they keep it until a request comes, and none comes here. */
function untouchedParts(): RouteParts {
  const nothing: unknown = new Proxy(() => undefined, {
    get: (_target, name) => (name === Symbol.toPrimitive ? () => '' : nothing),
  });
  // Every property of it is it again, so it has the shape of anything.
  return nothing as RouteParts;
}
