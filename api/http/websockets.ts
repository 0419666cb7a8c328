/**
 * Upgrades to websockets. Everything that can refuse a request does so before
 * the upgrade, with an ordinary error answer; afterwards only the connection
 * can be closed. Nothing is compressed.
 */
import { STATUS_CODES, ServerResponse, type IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocketServer, type WebSocket } from 'ws';
import { describeChain, isFault } from '../../process/fault.ts';
import type { Log } from '../../process/log.ts';
import type { ServerConfig } from '../server-config.ts';
import { checkAccess } from './access.ts';
import { HttpCall } from './call.ts';
import type { Callers } from './callers.ts';
import { errorAnswer } from './faults.ts';
import type { Gate } from './gate.ts';
import { splitUrl } from './path-pattern.ts';
import { errorBody } from './respond.ts';
import { webSocketEntries, type WebSocketEntry } from './route-table.ts';
import type { WebSocketRoute } from './route.ts';

/** A client may send its whole standard input as one message. */
const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
const TCP_KEEPALIVE_MS = 30_000;
/** How long a client may take to read a refusal. */
const LINGER_MS = 1000;

export interface WebSocketParts {
  readonly log: Log;
  readonly webSocketRoutes: readonly WebSocketRoute[];
  readonly callers: Callers;
  readonly serverConfig: ServerConfig;
  readonly gate: Gate;
  /** Takes requests that asked for an upgrade this server does not know. */
  readonly handle: (req: IncomingMessage, res: ServerResponse) => void;
}

export class WebSocketSide {
  private readonly parts: WebSocketParts;
  private readonly entries: readonly WebSocketEntry[];
  private readonly open = new Map<WebSocket, Buffer | null>();
  private readonly server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: MAX_MESSAGE_BYTES,
  });

  constructor(parts: WebSocketParts) {
    this.parts = parts;
    this.entries = webSocketEntries(parts.webSocketRoutes);
  }

  upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void {
    // Until the websocket takes over nobody else hears of a broken connection.
    const onError = (err: Error): void => {
      this.parts.log.debug('connection broke during an upgrade', { error: err });
      socket.destroy();
    };
    socket.on('error', onError);
    this.accept(req, socket)
      .then((take) => {
        if (take === null) return;
        socket.off('error', onError);
        this.server.handleUpgrade(req, socket, head, (webSocket) => {
          this.keep(req, webSocket);
          take(webSocket);
        });
      })
      .catch((err: unknown) => {
        this.refuse(req, socket, err);
      });
  }

  dropCertificate(der: Buffer): void {
    for (const [webSocket, certificate] of this.open) {
      if (certificate?.equals(der) === true) webSocket.terminate();
    }
  }

  closeAll(): void {
    for (const webSocket of this.open.keys()) webSocket.terminate();
  }

  /** What to do with the websocket; null when the request has been handled as a plain one. */
  private async accept(req: IncomingMessage, socket: Duplex): Promise<((socket: WebSocket) => void) | null> {
    const refusal = this.parts.gate.refusal(req.method ?? 'GET', req.url ?? '/');
    if (refusal !== null) throw refusal;
    const { path, query } = splitUrl(req.url ?? '/');
    for (const { route, instancesPath, matcher } of this.entries) {
      const params = matcher.match(path);
      if (params === null || !asksForWebSocket(req)) continue;
      const identity = this.parts.callers.identify(req);
      const call = new HttpCall(req, socket, {
        method: 'GET',
        params,
        queryText: query,
        instancesPath,
        caller: identity.caller,
      });
      checkAccess(
        { access: route.access, identity, project: call.project, headers: req.headers },
        this.parts.serverConfig,
      );
      return route.accept(call);
    }
    this.answerPlainly(req, socket);
    return null;
  }

  /** A server may ignore an upgrade it does not know (`h2c`): the request is answered as it stands, once. */
  private answerPlainly(req: IncomingMessage, socket: Duplex): void {
    const res = new ServerResponse(req);
    res.shouldKeepAlive = false;
    if (!(socket instanceof Socket)) {
      socket.destroy();
      return;
    }
    res.assignSocket(socket);
    res.on('finish', () => {
      res.detachSocket(socket);
      socket.destroySoon();
    });
    this.parts.handle(req, res);
  }

  private keep(req: IncomingMessage, webSocket: WebSocket): void {
    const der = this.parts.callers.identify(req).caller.certificate;
    this.open.set(webSocket, der);
    if (req.socket instanceof Socket) req.socket.setKeepAlive(true, TCP_KEEPALIVE_MS);
    webSocket.on('error', (err) => {
      // The close that follows is what the route acts on.
      this.parts.log.debug('websocket broke', { error: err });
    });
    webSocket.on('close', () => {
      this.open.delete(webSocket);
    });
  }

  private refuse(req: IncomingMessage, socket: Duplex, err: unknown): void {
    const trusted = isFault(err) && err.code !== 'not_trusted';
    const { status, text, isBug } = errorAnswer(err, trusted);
    const facts = { path: splitUrl(req.url ?? '/').path.slice(0, 500), status, error: describeChain(err) };
    if (isBug) {
      this.parts.log.error('upgrade failed unexpectedly', {
        ...facts,
        stack: err instanceof Error ? err.stack : undefined,
      });
    } else {
      this.parts.log.debug('upgrade refused', facts);
    }
    writeRawError(socket, status, text);
  }
}

function asksForWebSocket(req: IncomingMessage): boolean {
  return req.method === 'GET' && req.headers.upgrade?.toLowerCase() === 'websocket';
}

/** An error answer for a connection that has no response object; ends the connection. */
export function writeRawError(socket: Duplex, status: number, text: string): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const body = errorBody(status, text);
  endSoon(
    socket,
    `HTTP/1.1 ${String(status)} ${STATUS_CODES[status] ?? 'Error'}\r\nContent-Type: application/json\r\n` +
      `X-Content-Type-Options: nosniff\r\nConnection: close\r\n` +
      `Content-Length: ${String(Buffer.byteLength(body))}\r\n\r\n${body}`,
  );
}

/** Ends our side, and the connection when the client does not end its own. */
function endSoon(socket: Duplex, last: string): void {
  socket.end(last);
  const timer = setTimeout(() => socket.destroy(), LINGER_MS);
  socket.once('close', () => {
    clearTimeout(timer);
  });
}
