import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  architectureName,
  metadataOfRoot,
  parseImageMetadata,
  renderImageMetadata,
} from '../../../../api/images/metadata.ts';
import { Fault } from '../../../../process/fault.ts';
import { METADATA } from '../../../support/image-archives.ts';

test('a description is read, its values made text, and survives being written', () => {
  const metadata = parseImageMetadata(METADATA);
  assert.deepEqual(metadata, {
    architecture: 'x86_64',
    creationDate: 1700000000,
    expiryDate: 0,
    properties: { os: 'test', release: '12', description: 'an image of the tests' },
    templates: {
      '/etc/hostname': {
        when: ['create', 'copy'],
        createOnly: false,
        template: 'hostname.tpl',
        properties: {},
      },
    },
  });
  assert.deepEqual(parseImageMetadata(renderImageMetadata(metadata)), metadata);
});

test('names of architectures in use elsewhere are understood', () => {
  assert.equal(architectureName('amd64'), 'x86_64');
  assert.equal(architectureName('arm64'), 'aarch64');
  assert.equal(architectureName('constructor'), null);
});

test('what is no description is a bad request', () => {
  const bomb = `a: &a [x, x, x, x, x, x, x, x]\n${'bcdefgh'
    .split('')
    .map((name, i) => `${name}: &${name} [${`*${'abcdefg'[i] ?? 'a'}, `.repeat(9)}x]`)
    .join('\n')}\narchitecture: x86_64\n`;
  const cases = [
    '',
    '[]',
    'text',
    'architecture: 7',
    'architecture: nothing',
    'architecture: x86_64\nproperties: [a]',
    'architecture: x86_64\nproperties: {a: {b: c}}',
    'architecture: x86_64\ncreation_date: yesterday',
    'architecture: x86_64\ntemplates: 7',
    'architecture: x86_64\ntemplates: {/x: {when: create}}',
    'architecture: x86_64\ntemplates: {/x: {template: [a]}}',
    'architecture: [',
    bomb,
    `architecture: x86_64\nproperties: {a: ${'x'.repeat(2_000_000)}}`,
  ];
  for (const text of cases) assert.throws(() => parseImageMetadata(text), Fault, text.slice(0, 60));
});

test('a root file system describes itself by its os-release', () => {
  const text =
    'NAME="Debian GNU/Linux"\nID=debian\nVERSION_ID="13"\nVERSION_CODENAME=trixie\nPRETTY_NAME=\'Debian 13\'\n';
  const { properties, creationDate } = metadataOfRoot(text, 5);
  assert.deepEqual(properties, { os: 'debian', release: 'trixie', version: '13', description: 'Debian 13' });
  assert.equal(creationDate, 5);
  assert.deepEqual(metadataOfRoot(null, 5).properties, { description: 'Root file system' });
});
