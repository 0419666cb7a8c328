/** The settings every listener has, and what is answered to bytes that are no HTTP. */
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer, type ServerOptions as TlsOptions } from 'node:https';
import type { Duplex } from 'node:stream';
import type { Log } from '../../process/log.ts';
import { writeRawError } from './websockets.ts';

export interface ServerLimits {
  /** Milliseconds in which the head of a request must be complete. */
  readonly headersTimeoutMs: number;
  /** Milliseconds an idle connection is kept after a request. */
  readonly keepAliveMs: number;
  /** Connections beyond are closed at once. */
  readonly maxConnections: number;
}

export const DEFAULT_LIMITS: ServerLimits = {
  headersTimeoutMs: 20_000,
  // Above the 60 s that pooled clients keep theirs, so that it is never us who closes first.
  keepAliveMs: 65_000,
  maxConnections: 16_384,
};

export interface Handlers {
  handle(req: IncomingMessage, res: ServerResponse): void;
  upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void;
}

/** A server that is not listening yet; with `tls` an HTTPS one. */
export function makeServer(handlers: Handlers, log: Log, limits: ServerLimits, tls?: TlsOptions): Server {
  const options: ServerOptions = {
    // Uploads take as long as they take; bodies have limits of their own.
    requestTimeout: 0,
    headersTimeout: limits.headersTimeoutMs,
    keepAliveTimeout: limits.keepAliveMs,
    connectionsCheckingInterval: Math.max(100, Math.min(5000, limits.headersTimeoutMs / 4)),
    maxHeaderSize: 32 * 1024,
    insecureHTTPParser: false,
    noDelay: true,
  };
  const server = tls === undefined ? createServer(options) : createTlsServer({ ...options, ...tls });
  server.maxConnections = limits.maxConnections;
  server.on('request', (req, res) => {
    handlers.handle(req, res);
  });
  server.on('upgrade', (req, socket, head) => {
    handlers.upgrade(req, socket, head);
  });
  const secured = new WeakSet<Duplex>();
  server.on('secureConnection', (socket: Duplex) => {
    secured.add(socket);
  });
  server.on('clientError', (err, socket) => {
    // A failed handshake comes here too: there is nothing an answer could be sent through.
    if (tls === undefined || secured.has(socket)) refuseBytes(err, socket);
    else socket.destroy();
  });
  server.on('tlsClientError', (err: Error) => {
    log.debug('TLS handshake failed', { error: err });
  });
  server.on('drop', () => {
    log.warn('connection refused, there are too many', { limit: limits.maxConnections });
  });
  // Before that an error means that it could not listen; whoever asked for it is told.
  server.once('listening', () => {
    server.on('error', (err) => {
      log.error('listener broke', { error: err });
    });
  });
  return server;
}

/** Bytes that are no request, a head that is too large or does not come. */
function refuseBytes(err: Error, socket: Duplex): void {
  const code = 'code' in err ? err.code : '';
  const isAnswering =
    Reflect.get(socket, '_httpMessage') !== null && Reflect.get(socket, '_httpMessage') !== undefined;
  if (code === 'ECONNRESET' || isAnswering || !socket.writable) {
    socket.destroy();
  } else if (code === 'HPE_HEADER_OVERFLOW') {
    writeRawError(socket, 431, 'the head of the request is too large');
  } else if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    writeRawError(socket, 408, 'the request was not complete in time');
  } else {
    writeRawError(socket, 400, 'this is no HTTP request');
  }
}
