/** `core.https_address` and its like: `host[:port]`, `[v6]:port`, `:port`, a bare address. */
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { Fault } from '../../process/fault.ts';

export const DEFAULT_PORT = 8443;

export interface ListenAddress {
  /** null for all addresses of both families. */
  readonly host: string | null;
  readonly port: number;
}

/** Fault bad_request when the text is no address. */
export function parseListenAddress(text: string, defaultPort = DEFAULT_PORT): ListenAddress {
  if (isIP(text) === 6) return { host: text, port: defaultPort };
  const found = /^(?:\[([^\]]+)\]|([^:[\]/\s]*))(?::(\d{1,5}))?$/.exec(text);
  const port = found?.[3] === undefined ? defaultPort : Number(found[3]);
  const isBracketed = found?.[1] !== undefined;
  if (found === null || port > 65_535 || (isBracketed && isIP(found[1] ?? '') !== 6)) {
    throw new Fault(
      'bad_request',
      `"${text.slice(0, 80)}" is no address to listen on; write for example [::]:8443`,
    );
  }
  const host = found[1] ?? found[2] ?? '';
  return { host: host === '' || host === '*' ? null : host, port };
}

export function formatAddress(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${String(port)}` : `${host}:${String(port)}`;
}

/** Where clients reach a listener: itself, or every global unicast address of the host for a wildcard. */
export function reachableAddresses(host: string, port: number): string[] {
  const family = host === '::' ? null : host === '0.0.0.0' ? 'IPv4' : undefined;
  if (family === undefined) return [formatAddress(host, port)];
  return Object.values(networkInterfaces())
    .flat()
    .filter((entry) => entry !== undefined)
    .filter(
      (entry) =>
        !entry.internal && (family === null || entry.family === family) && !isLinkLocal(entry.address),
    )
    .map((entry) => formatAddress(entry.address, port));
}

function isLinkLocal(address: string): boolean {
  return /^(?:169\.254\.|fe[89ab][0-9a-f]:)/i.test(address);
}
