import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  parseDeb822,
  parseOsRelease,
  parseSourcesList,
  sourcesFor,
} from '../../../../api/setup/apt-mirror.ts';

const BOOKWORM = `# a comment
Types: deb
# another
URIs: http://deb.example.org/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb deb-src
URIs: http://deb.example.org/debian-security http://other.example.org/security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://off.example.org/
Suites: bookworm

Types: deb-src
URIs: http://src.example.org/
Suites: bookworm
`;

test('stanzas become one source for each address and suite; what is off or source code is left out', () => {
  const sources = parseDeb822(BOOKWORM);
  assert.deepEqual(
    sources.map((source) => `${source.uri} ${source.suite}`),
    [
      'http://deb.example.org/debian bookworm',
      'http://deb.example.org/debian bookworm-updates',
      'http://deb.example.org/debian-security bookworm-security',
      'http://other.example.org/security bookworm-security',
    ],
  );
  assert.equal(sources[0]?.signedBy, '/usr/share/keyrings/debian-archive-keyring.gpg');
  assert.equal(sources[2]?.signedBy, null);
});

test('a key that is written into the stanza is not taken for a file', () => {
  const text =
    'Types: deb\nURIs: http://a/\nSuites: x\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ==\n';
  assert.equal(parseDeb822(text)[0]?.signedBy, null);
});

test('lines of sources.list are read with their options', () => {
  const text = `deb http://deb.example.org/debian bookworm main contrib # words
deb-src http://deb.example.org/debian bookworm main
#deb http://off.example.org/ bookworm main
deb [arch=amd64 signed-by=/etc/key.gpg] https://x.example.org stable main
`;
  assert.deepEqual(parseSourcesList(text), [
    {
      uri: 'http://deb.example.org/debian',
      suite: 'bookworm',
      components: ['main', 'contrib'],
      signedBy: null,
    },
    { uri: 'https://x.example.org', suite: 'stable', components: ['main'], signedBy: '/etc/key.gpg' },
  ]);
});

test('sources of the own release are written for another one, the plain suite first', () => {
  const sources = [
    ...parseSourcesList('deb http://sec bookworm-security main\ndeb http://node nodistro main\n'),
    ...parseDeb822(BOOKWORM),
  ];
  assert.deepEqual(
    sourcesFor(sources, 'bookworm', 'trixie').map(
      (source) => `${source.uri} ${source.suite} ${source.components.join()}`,
    ),
    [
      'http://deb.example.org/debian trixie main',
      'http://sec trixie-security main',
      'http://deb.example.org/debian trixie-updates main',
      'http://deb.example.org/debian-security trixie-security main',
      'http://other.example.org/security trixie-security main',
    ],
  );
  assert.deepEqual(sourcesFor(parseSourcesList('deb http://a sid main'), 'bookworm', 'bookworm'), []);
});

test('the release of a machine is read with and without quotes', () => {
  assert.deepEqual(parseOsRelease('ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n'), {
    id: 'debian',
    version: '12',
    codename: 'bookworm',
  });
  assert.deepEqual(parseOsRelease('ID=debian\nPRETTY_NAME="Debian sid"\n'), {
    id: 'debian',
    version: '',
    codename: '',
  });
});
