import assert from 'node:assert/strict';
import { test } from 'node:test';
import { freeBridgeName } from '../../../../api/setup/defaults.ts';
import { addressesOf } from '../../../../api/setup/first-instance.ts';
import { aliasFor, bytesDone } from '../../../../api/setup/given-image.ts';

test('an image is named after the last part of its path or address', () => {
  const cases: [string, string][] = [
    ['/srv/My_Image.tar.xz', 'my-image'],
    ['/srv/rootfs.squashfs', 'rootfs'],
    ['/srv/debian-12.tgz', 'debian-12'],
    ['/srv/tree/', 'tree'],
    ['https://images.example.org/a/b/alpine_3.20.tar.gz?token=x', 'alpine-3.20'],
    ['https://images.example.org/', 'image'],
    ['/srv/---.tar', 'image'],
  ];
  for (const [given, expected] of cases) assert.equal(aliasFor(given), expected, given);
});

test('a download tells how far it is, with a known end and without', () => {
  assert.equal(bytesDone(1_500_000, 0), '2 MB');
  assert.equal(bytesDone(50_000_000, 100_000_000), '50 of 100 MB');
});

test('addresses are the global ones, IPv4 first, without loopback', () => {
  const address = (family: string, text: string, scope = 'global') => ({ family, address: text, scope });
  const state = {
    status: 'Running',
    network: {
      lo: { addresses: [address('inet', '127.0.0.1')] },
      eth0: {
        addresses: [
          address('inet6', 'fd00::2'),
          address('inet6', 'fe80::2', 'link'),
          address('inet', '192.0.2.2'),
        ],
      },
    },
  };
  assert.deepEqual(addressesOf(state), ['192.0.2.2', 'fd00::2']);
  assert.deepEqual(addressesOf({ status: 'Stopped', network: null }), []);
});

test('a bridge gets the first name that nothing on the host has', () => {
  assert.equal(freeBridgeName(['lo', 'eth0']), 'slipbr0');
  assert.equal(freeBridgeName(['slipbr0', 'slipbr1', 'slipbr3']), 'slipbr2');
});
