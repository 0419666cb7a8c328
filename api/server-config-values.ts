/** What the value of a server key must look like, and the form in which it is kept. Pure but for names. */
import { isIP, isIPv4 } from 'node:net';
import type { ServerKey } from '../config/options/server.ts';
import { Fault } from '../process/fault.ts';
import { checkExpiry, parseBool, parseBytes, parseInteger, wrong } from './instances/values.ts';
import { parseProxy } from './images/web-proxy.ts';
import { parseListenAddress } from './http/address.ts';
import { parseOvsdbAddress } from './network/ovsdb.ts';

const COMPRESSORS = new Set(['gzip', 'bzip2', 'lzma', 'xz', 'zstd', 'squashfs', 'none']);
/** The options reach a tool's command line: levels, threads and a few harmless words, nothing that names a file. */
const COMPRESSOR_OPTION =
  /^(-\d{1,2}|-e|-T\d{1,3}|--(fast|best|extreme|rsyncable|long|ultra)|--threads=\d{1,3})$/;
const MAX_TEXT = 65_536;

/**
 * The value as text ('' unsets the key). Fault `bad_request` when the JSON
 * value is no text, number or boolean.
 */
export function textOf(name: string, value: unknown): string {
  if (value === null || value === undefined) return '';
  if (typeof value === 'string' || typeof value === 'boolean') return String(value);
  if (typeof value === 'number' && Number.isFinite(value)) return String(value);
  throw new Fault('bad_request', `${name}: the value must be a text, a number or a boolean`);
}

/** The form in which the value is kept. Fault `bad_request`; its text does not name the key. */
export function canonical(key: ServerKey, text: string): string {
  if (text.includes('\0') || text.length > MAX_TEXT) throw wrong(text.slice(0, 20), 'is no usable text');
  switch (key.kind) {
    case 'bool':
      return String(parseBool(text));
    case 'integer':
      return String(parseInteger(text, key.min ?? Number.MIN_SAFE_INTEGER, key.max));
    case 'bytes':
      parseBytes(text);
      return text;
    case 'address':
      return canonicalAddress(text, key.port ?? 0);
    case 'ip-list':
      return canonicalIps(text);
    case 'ipv4':
      if (!isIPv4(text)) throw wrong(text, 'is not an IPv4 address');
      return text;
    case 'span':
      checkExpiry(text);
      return text;
    case 'compression':
      checkCompression(text);
      return text;
    case 'ovsdb':
      parseOvsdbAddress(text);
      return text;
    case 'proxy':
      parseProxy(text);
      return text;
    case 'text':
    case 'password':
    case 'secret':
      return text;
  }
}

/** LXD keeps an address with its port; `:8443` stays as it is. */
function canonicalAddress(text: string, port: number): string {
  const parsed = parseListenAddress(text, port);
  if (parsed.host === null) return `:${String(parsed.port)}`;
  const host = parsed.host.includes(':') ? `[${parsed.host}]` : parsed.host;
  return `${host}:${String(parsed.port)}`;
}

function canonicalIps(text: string): string {
  const ips = text.split(',').map((ip) => ip.trim());
  const bad = ips.find((ip) => isIP(ip) === 0);
  if (bad !== undefined) throw wrong(bad, 'is not an IP address; write addresses parted by commas');
  return ips.join(',');
}

function checkCompression(text: string): void {
  const [name = '', ...options] = text.trim().split(/\s+/);
  if (!COMPRESSORS.has(name))
    throw wrong(name, `is no compressor; choose one of ${[...COMPRESSORS].join(', ')}`);
  const bad = options.find((option) => !COMPRESSOR_OPTION.test(option));
  if (bad !== undefined)
    throw wrong(bad, 'is no option that a compressor may be given; write for example -9');
}
