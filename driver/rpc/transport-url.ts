/** The transport_url of oslo.messaging: several brokers, one virtual host, options for the driver. */
import { Fault } from '../../process/fault.ts';

export interface Broker {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** Not for logs. */
  readonly password: string;
}

export interface TransportUrl {
  readonly brokers: readonly Broker[];
  readonly vhost: string;
  /** Options that go before those of [oslo_messaging_rabbit]. */
  readonly options: ReadonlyMap<string, string>;
}

const PLAIN_PORT = 5672;
const TLS_PORT = 5671;
const FORM = /^([a-z][a-z0-9+.-]*):\/\/([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/is;

/**
 * Reads `rabbit://user:password@host:port,…/vhost?option=value`. What is
 * missing is guest, guest, localhost, 5672 (5671 with `tls`) and the virtual
 * host "/". Fault bad_request without the text of the URL, which holds a password.
 */
export function parseTransportUrl(text: string, tls = false): TransportUrl {
  const found = FORM.exec(text.trim());
  if (found === null) throw wrong('it is not of the form rabbit://user:password@host:port/vhost');
  const [, scheme = '', hosts = '', vhost = '', query = ''] = found;
  if (scheme.toLowerCase() !== 'rabbit' && scheme.toLowerCase() !== 'kombu') {
    throw wrong(`"${scheme}" is not a transport that is known; write rabbit://`);
  }
  const options = new Map(new URLSearchParams(query));
  const secure = options.has('ssl') ? /^(true|1|yes|on)$/i.test(options.get('ssl') ?? '') : tls;
  return {
    brokers: hosts.split(',').map((part) => parseBroker(part, secure ? TLS_PORT : PLAIN_PORT)),
    vhost: vhost === '' ? '/' : decoded(vhost),
    options,
  };
}

function parseBroker(text: string, defaultPort: number): Broker {
  const at = text.lastIndexOf('@');
  const login = at < 0 ? '' : text.slice(0, at);
  const colon = login.indexOf(':');
  const place = /^(\[[^\]]*\]|[^:]*)(?::(\d*))?$/.exec(text.slice(at + 1));
  if (place === null) throw wrong('a host is not of the form name:port (IPv6 addresses stand in [])');
  const [, host = '', port = ''] = place;
  const number = port === '' ? defaultPort : Number(port);
  if (number < 1 || number > 65_535) throw wrong(`"${port}" is not a port`);
  return {
    host: host === '' ? 'localhost' : host.replace(/^\[|\]$/g, ''),
    port: number,
    user: login === '' ? 'guest' : decoded(colon < 0 ? login : login.slice(0, colon)),
    password: login === '' ? 'guest' : colon < 0 ? '' : decoded(login.slice(colon + 1)),
  };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // A percent sign that encodes nothing is a percent sign.
    return text;
  }
}

function wrong(what: string): Fault {
  return new Fault('bad_request', `read transport_url: ${what}`);
}
