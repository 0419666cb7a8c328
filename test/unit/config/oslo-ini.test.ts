import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readIni, substitute, type IniGroups } from '../../../config/oslo-ini.ts';
import { isFault } from '../../../process/fault.ts';

function texts(groups: IniGroups, group: string, key: string): string[] {
  return (groups.get(group)?.get(key) ?? []).map((value) => value.text);
}

test('a value is everything behind the first sign, without the space around it', () => {
  const cases: [string, string, string][] = [
    ['host = compute1', 'host', 'compute1'],
    ['host=compute1', 'host', 'compute1'],
    ['host: compute1', 'host', 'compute1'],
    ['url = rabbit://u:p@h:5672/', 'url', 'rabbit://u:p@h:5672/'],
    ['url: a=b', 'url', 'a=b'],
    ['password = a;b#c', 'password', 'a;b#c'],
    ['empty =', 'empty', ''],
    ['quoted = " kept "', 'quoted', ' kept '],
    ["quoted = 'it'", 'quoted', 'it'],
    ['quoted = "half', 'quoted', '"half'],
    ['quoted = a"b"', 'quoted', 'a"b"'],
    ['my-ip = 192.0.2.1', 'my_ip', '192.0.2.1'],
    ['format = %(message)s 100%%', 'format', '%(message)s 100%%'],
  ];
  for (const [line, key, value] of cases) {
    assert.deepEqual(texts(readIni(`[DEFAULT]\n${line}\n`, 'f'), 'DEFAULT', key), [value], line);
  }
});

test('a repeated key keeps every value in order, over several files too', () => {
  const groups = readIni('[pci]\nalias = one\nalias = two\n', 'a');
  readIni('[pci]\nalias = three\n', 'b', groups);
  assert.deepEqual(texts(groups, 'pci', 'alias'), ['one', 'two', 'three']);
});

test('a line that begins with white space continues the value, an empty line ends it', () => {
  const groups = readIni('[a]\nlist = one,\n  two,\n\tthree\n\nnext = x\n', 'f');
  assert.deepEqual(texts(groups, 'a', 'list'), ['one,\ntwo,\nthree']);
  assert.deepEqual(texts(groups, 'a', 'next'), ['x']);
});

test('comments and line ends of other systems are taken', () => {
  const groups = readIni('# top\r\n[a]\r\n; aside\r\nkey = value\r\n', 'f');
  assert.deepEqual(texts(groups, 'a', 'key'), ['value']);
});

test('sections may come twice and are compared without case', () => {
  const groups = readIni('[Glance]\na = 1\n[default]\nb = 2\n[glance]\nc = 3\n', 'f');
  assert.deepEqual([...groups.keys()], ['glance', 'DEFAULT']);
  assert.deepEqual(texts(groups, 'glance', 'c'), ['3']);
});

test('what is not the syntax is refused with file and line', () => {
  const cases: [string, number][] = [
    ['[a]\nno sign here\n', 2],
    ['[a\n', 1],
    ['[]\n', 1],
    ['[a]\n= value\n', 2],
    ['  continued\n', 1],
    ['above = 1\n', 1],
  ];
  for (const [text, line] of cases) {
    assert.throws(
      () => readIni(text, '/etc/x.conf'),
      (err: unknown) =>
        isFault(err, 'bad_request') && err.message.includes(`/etc/x.conf: line ${String(line)} `),
      text,
    );
  }
});

test('references are replaced, and what names nothing stays', () => {
  const options: Record<string, string> = {
    'DEFAULT.state_path': '/var/lib/nova',
    'DEFAULT.nested': '$state_path/deep',
    'DEFAULT.my_ip': '192.0.2.1',
    'glance.host': 'images.example.org',
    'glance.my_ip': '192.0.2.9',
  };
  const lookup = (group: string, name: string): string | undefined => options[`${group}.${name}`];
  const cases: [string, string, string][] = [
    ['$state_path/instances', 'DEFAULT', '/var/lib/nova/instances'],
    ['${state_path}x', 'DEFAULT', '/var/lib/novax'],
    ['$nested', 'DEFAULT', '/var/lib/nova/deep'],
    ['$my_ip', 'DEFAULT', '192.0.2.1'],
    ['$my_ip', 'glance', '192.0.2.9'],
    ['$state_path', 'glance', '/var/lib/nova'],
    ['${glance.host}:9292', 'DEFAULT', 'images.example.org:9292'],
    ['$glance.host', 'DEFAULT', 'images.example.org'],
    ['$my_ip.example.org', 'DEFAULT', '192.0.2.1.example.org'],
    ['pa$$word', 'DEFAULT', 'pa$word'],
    ['pa\\$my_ip', 'DEFAULT', 'pa$my_ip'],
    ['pa$nobody', 'DEFAULT', 'pa$nobody'],
    ['100$', 'DEFAULT', '100$'],
    ['%(message)s', 'DEFAULT', '%(message)s'],
  ];
  for (const [value, group, expected] of cases) {
    assert.equal(substitute(value, group, lookup), expected, `${value} in [${group}]`);
  }
});

test('options that refer to each other in a circle are refused', () => {
  const lookup = (_group: string, name: string): string => (name === 'a' ? '$b' : '$a');
  assert.throws(() => substitute('$a', 'DEFAULT', lookup), /circle/);
});
