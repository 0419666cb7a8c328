/** What clients should not send, and now and then what they should. */
import { z } from 'zod';
import type { Random } from './random.ts';

const PATH_PARTS = [
  'c1',
  'default',
  'a',
  '0',
  '-',
  '_',
  '.',
  '..',
  '%2e%2e',
  '%2e',
  '..%2f..%2fetc%2fpasswd',
  '%2Fetc%2Fshadow',
  'a%00b',
  '%zz',
  '%',
  '%ff%fe',
  '%F0%9F%A6%86',
  'a%20b',
  'a%0d%0aX-Evil:%201',
  '%25s%25n',
  'x'.repeat(300),
  'x'.repeat(4000),
  "a'%3bdrop%20table",
  '$(id)',
  '*',
  '~root',
  'c1?x',
  'c1;x=1',
  'null',
  'undefined',
  '__proto__',
  'constructor',
  '{name}',
] as const;

const TEXTS = [
  '',
  ' ',
  '.',
  '..',
  '/',
  '../../../etc/passwd',
  '/etc/shadow',
  '/proc/self/environ',
  'default',
  'c1',
  'true',
  'yes',
  '-1',
  '0',
  '1',
  '1GiB',
  '100%',
  '512MB',
  '18446744073709551616',
  '1e999',
  'NaN',
  '0x10',
  '\0',
  'a\0b',
  'a\nb',
  'a\r\nb: c',
  '\u202e',
  '\ud800',
  '💥',
  'x'.repeat(5000),
  '%s%n',
  '${jndi:x}',
  "'; DROP TABLE instances; --",
  '$(touch /tmp/x)',
  '`id`',
  '{{ 1 }}',
  '__proto__',
  '10.0.0.0/33',
  '::1',
  '00:16:3e:zz:00:00',
  '2001-01-01T00:00:00Z',
  'not a date',
  'client',
  'metrics',
  'container',
  'virtual-machine',
  'image',
  'none',
  'copy',
  '(a+)+$',
  '^[',
  'name eq x',
  'name eq',
  'and or not',
] as const;

const NUMBERS = [0, 1, -1, 0.5, 2 ** 31, 2 ** 53, -(2 ** 63), 1e308, 65_536] as const;

const HEADERS: readonly (readonly [name: string, values: readonly string[]])[] = [
  ['If-Match', ['', '*', '"x"', 'invalid-etag', 'x'.repeat(2000)]],
  ['If-Modified-Since', ['never', 'Thu, 01 Jan 1970 00:00:00 GMT']],
  [
    'Range',
    ['bytes=0-0', 'bytes=5-1', 'bytes=-', 'bytes=99999999999999999999-', 'lines=1-2', 'bytes=0-1,3-4'],
  ],
  [
    'Content-Type',
    ['text/plain', 'multipart/form-data', 'multipart/form-data; boundary=', 'application/octet-stream', 'x'],
  ],
  ['X-LXD-uid', ['-1', 'root', '4294967296', '0']],
  ['X-LXD-gid', ['-1', 'x', '99999999999']],
  ['X-LXD-mode', ['0644', '9999', 'rwx', '-1', '0o7']],
  ['X-LXD-type', ['file', 'directory', 'symlink', 'socket', '']],
  ['X-LXD-write', ['append', 'overwrite', 'x']],
  ['X-LXD-authenticated', ['true', 'maybe']],
  ['X-LXD-public', ['true', '1', 'x']],
  ['X-LXD-properties', ['a=b&c', '%zz', 'x'.repeat(1000)]],
  ['X-LXD-name', ['c1', '../x', '']],
  ['X-LXD-pool', ['default', '../x']],
  ['X-Openstack-Request-Id', ['req-1', 'x'.repeat(200), 'req-$(id)']],
  ['Origin', ['null', 'https://evil.test']],
  ['X-Forwarded-For', ['127.0.0.1']],
];

const QUERY_KEYS = [
  'project',
  'recursion',
  'filter',
  'all-projects',
  'target',
  'path',
  'secret',
  'timeout',
  'type',
  'public',
  'instance-type',
  'x',
  '__proto__',
] as const;

export function pathPart(random: Random, known: readonly string[]): string {
  if (known.length > 0 && random.chance(0.6)) return encodeURIComponent(random.pick(known));
  return random.pick(PATH_PARTS);
}

export function queryText(random: Random): string {
  const parts: string[] = [];
  while (random.chance(0.5) && parts.length < 6) {
    const value = random
      .pick(TEXTS)
      .replace(/[\ud800-\udfff]/g, '')
      .slice(0, 500);
    parts.push(`${random.pick(QUERY_KEYS)}=${random.chance(0.9) ? encodeURIComponent(value) : '%zz'}`);
  }
  return parts.length === 0 ? '' : `?${parts.join('&')}`;
}

export function headers(random: Random): Record<string, string> {
  const chosen: Record<string, string> = {};
  while (random.chance(0.4)) {
    const [name, values] = random.pick(HEADERS);
    chosen[name] = random.pick(values);
  }
  return chosen;
}

/** A body for a route with this schema: nearly right, of wrong types, or no JSON at all. */
export function body(random: Random, schema: z.ZodType | 'stream'): string | Buffer {
  const kind = random.next();
  if (schema === 'stream' || kind < 0.1)
    return random.pick<string | Buffer>(['', 'x', '{}', random.bytes(100), random.bytes(5000)]);
  if (kind < 0.2)
    return random.pick([
      '',
      'null',
      '[]',
      '"x"',
      '1',
      '{',
      '{"a":',
      '[1,]',
      '{"a":1}}',
      '['.repeat(20_000),
      '\ufeff{}',
    ]);
  const text = JSON.stringify(
    likeSchema(random, z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }), 0),
  );
  return kind < 0.3 ? text.slice(0, random.below(text.length)) : text;
}

/** Follows a JSON schema most of the time, so that values get past the first checks. */
function likeSchema(random: Random, schema: unknown, depth: number): unknown {
  if (depth > 6 || random.chance(0.15) || typeof schema !== 'object' || schema === null)
    return anything(random, depth);
  const facts = new Map<string, unknown>(Object.entries(schema));
  const choices = facts.get('anyOf') ?? facts.get('oneOf');
  if (Array.isArray(choices) && choices.length > 0)
    return likeSchema(random, random.pick<unknown>(choices), depth);
  if ('const' in schema) return schema.const;
  const listed = facts.get('enum');
  if (Array.isArray(listed) && listed.length > 0) return random.pick<unknown>(listed);
  switch (facts.get('type')) {
    case 'object':
      return likeObject(random, facts, depth);
    case 'array':
      return Array.from({ length: random.below(4) }, () => likeSchema(random, facts.get('items'), depth + 1));
    case 'string':
      return random.pick(TEXTS);
    case 'number':
    case 'integer':
      return random.pick(NUMBERS);
    case 'boolean':
      return random.chance(0.5);
    case 'null':
      return null;
    default:
      return anything(random, depth);
  }
}

function likeObject(random: Random, facts: ReadonlyMap<string, unknown>, depth: number): unknown {
  const made: [string, unknown][] = [];
  const properties = facts.get('properties');
  if (typeof properties === 'object' && properties !== null) {
    for (const [key, inner] of Object.entries(properties)) {
      if (random.chance(0.7)) made.push([key, likeSchema(random, inner, depth + 1)]);
    }
  }
  const more = facts.get('additionalProperties');
  if (more !== undefined && more !== false) {
    while (random.chance(0.6)) made.push([random.pick(TEXTS), likeSchema(random, more, depth + 1)]);
  }
  return Object.fromEntries(made);
}

function anything(random: Random, depth: number): unknown {
  const kind = random.below(depth > 6 ? 4 : 6);
  if (kind === 0) return random.pick(TEXTS);
  if (kind === 1) return random.pick(NUMBERS);
  if (kind === 2) return random.chance(0.5);
  if (kind === 3) return null;
  if (kind === 4) return Array.from({ length: random.below(3) }, () => anything(random, depth + 1));
  return Object.fromEntries(
    Array.from({ length: random.below(4) }, () => [random.pick(TEXTS), anything(random, depth + 1)]),
  );
}
