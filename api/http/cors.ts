/** CORS: only when `core.https_allowed_*` is set and the request comes from a page. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ServerConfig } from '../server-config.ts';

const HEADERS: readonly (readonly [key: string, header: string])[] = [
  ['core.https_allowed_origin', 'Access-Control-Allow-Origin'],
  ['core.https_allowed_methods', 'Access-Control-Allow-Methods'],
  ['core.https_allowed_headers', 'Access-Control-Allow-Headers'],
];

export function setCorsHeaders(req: IncomingMessage, res: ServerResponse, config: ServerConfig): void {
  if (req.headers.origin === undefined) return;
  for (const [key, header] of HEADERS) {
    const value = config.get(key);
    // What is no header value is left out: it must not make every request fail.
    if (value !== '' && /^[\x20-\x7e]+$/.test(value)) res.setHeader(header, value);
  }
  if (config.get('core.https_allowed_credentials') === 'true') {
    res.setHeader('Access-Control-Allow-Credentials', 'true');
  }
}
