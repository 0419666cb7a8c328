/** Writes answers. JSON is rendered once, straight to the socket: nothing of the router's own sending is used. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Answer } from './route.ts';
import { drainBody, hasUnreadBody } from './request-body.ts';
import { etagOf } from '../etag.ts';
import { sendFile, sendMultipart, wellFormed } from './send-file.ts';

const SYNC_HEAD =
  '{"type":"sync","status":"Success","status_code":200,"operation":"","error_code":0,"error":"","metadata":';
const OPERATION_PATH = '/1.0/operations/';

/** Sends what a route has answered; resolves when it has been handed over. */
export async function sendAnswer(req: IncomingMessage, res: ServerResponse, answer: Answer): Promise<void> {
  switch (answer.kind) {
    case 'sync':
      if (answer.headers !== undefined) setHeaders(res, answer.headers);
      if (answer.etagOf !== undefined) res.setHeader('ETag', `"${etagOf(answer.etagOf)}"`);
      sendJson(req, res, 200, `${SYNC_HEAD}${toJson(answer.metadata)}}\n`);
      return;
    case 'created':
      res.setHeader('Location', safeHeader(answer.location));
      sendJson(req, res, 201, `${SYNC_HEAD}null}\n`);
      return;
    case 'async':
      sendOperation(req, res, answer.operation.id, answer.operation.render());
      return;
    case 'text':
      send(req, res, 200, answer.contentType, Buffer.from(answer.text));
      return;
    case 'headers':
      setHeaders(res, answer.headers);
      send(req, res, 200, null, Buffer.alloc(0));
      return;
    case 'file':
      setHeaders(res, answer.headers ?? {});
      await sendFile(req, res, answer);
      return;
    case 'multipart':
      await sendMultipart(res, answer);
  }
}

/** LXD's error envelope. `text` is all the client learns. */
export function sendError(req: IncomingMessage, res: ServerResponse, status: number, text: string): void {
  if (res.headersSent) {
    // Half an answer is out: only the end of the connection can tell that it is wrong.
    res.destroy();
    return;
  }
  for (const name of res.getHeaderNames()) {
    if (!name.startsWith('access-control-')) res.removeHeader(name);
  }
  res.setHeader('X-Content-Type-Options', 'nosniff');
  sendJson(req, res, status, errorBody(status, text));
}

export function errorBody(status: number, text: string): string {
  return (
    `{"type":"error","status":"","status_code":0,"operation":"","error_code":${String(status)},` +
    `"error":${JSON.stringify(text)},"metadata":null}\n`
  );
}

/** Sets headers whose values come from files and names; what a header cannot hold is percent-encoded. */
export function setHeaders(res: ServerResponse, headers: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(headers)) res.setHeader(name, safeHeader(value));
}

function safeHeader(value: string): string {
  return value.replace(/[^\t\x20-\x7e]+/gu, (part) => encodeURIComponent(wellFormed(part)));
}

function sendOperation(
  req: IncomingMessage,
  res: ServerResponse,
  id: string,
  metadata: Readonly<Record<string, unknown>>,
): void {
  const url = OPERATION_PATH + id;
  res.setHeader('Location', url);
  sendJson(
    req,
    res,
    202,
    `{"type":"async","status":"Operation created","status_code":100,"operation":"${url}",` +
      `"error_code":0,"error":"","metadata":${toJson(metadata)}}\n`,
  );
}

function toJson(value: unknown): string {
  return value === undefined ? 'null' : JSON.stringify(value);
}

function sendJson(req: IncomingMessage, res: ServerResponse, status: number, text: string): void {
  send(req, res, status, 'application/json', text);
}

function send(
  req: IncomingMessage,
  res: ServerResponse,
  status: number,
  type: string | null,
  body: string | Buffer,
): void {
  const write = (): void => {
    // The rest of a body that is still coming cannot be told from a next request.
    if (hasUnreadBody(req)) res.setHeader('Connection', 'close');
    if (type !== null && !res.hasHeader('Content-Type')) res.setHeader('Content-Type', type);
    res.setHeader('Content-Length', Buffer.byteLength(body));
    res.writeHead(status);
    // A HEAD answer has the length of the body, and no body.
    res.end(req.method === 'HEAD' ? undefined : body);
  };
  if (hasUnreadBody(req)) void drainBody(req).then(write);
  else write();
}
