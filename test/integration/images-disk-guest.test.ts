import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { cloudDisk } from '../support/cloud-disk.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

const DEADLINE_MS = 120_000;
const NAME = 'disk-guest';
let daemon: SlipwayDaemon;
let fingerprint = '';

before(async () => {
  const disk = await cloudDisk();
  daemon = await SlipwayDaemon.start();
  await daemon.furnish('idguest0');
  fingerprint = await daemon.importImage(disk, 'cloud');
  await daemon.done('POST', '/1.0/instances', {
    name: NAME,
    source: { type: 'image', alias: 'cloud' },
    config: { 'limits.memory': '512MiB', 'security.idmap.isolated': 'true' },
  });
  await daemon.done('PUT', `/1.0/instances/${NAME}/state`, { action: 'start' });
});

after(() => daemon.destroy());

async function until<T>(what: string, ask: () => Promise<T | null>): Promise<T> {
  const end = Date.now() + DEADLINE_MS;
  for (;;) {
    const found = await ask();
    if (found !== null) return found;
    if (Date.now() > end) throw new Error(`${what}: not within ${String(DEADLINE_MS)} ms`);
    await sleep(100);
  }
}

async function exec(...command: string[]): Promise<string> {
  const body = { command, 'record-output': true, 'wait-for-websocket': false, interactive: false };
  const { metadata } = await daemon.done('POST', `/1.0/instances/${NAME}/exec`, body);
  const path = String(metadata.output['1']);
  return new Promise((resolve, reject) => {
    http
      .get({ socketPath: daemon.socket, path, agent: false }, (res) => {
        let all = '';
        res.setEncoding('utf8').on('data', (chunk: string) => (all += chunk));
        res.on('end', () => {
          resolve(all);
        });
      })
      .on('error', reject);
  });
}

interface Address {
  readonly family: string;
  readonly address: string;
  readonly scope: string;
}

test('the image of a virtual machine is described by its os-release', async () => {
  const image = await daemon.done('GET', `/1.0/images/${fingerprint}`);
  assert.equal(image.properties.os, 'debian');
  assert.equal(image.properties.release, 'bookworm');
  assert.equal(image.type, 'container');
});

test('systemd boots from it to the end, and nothing that has to do with disks fails', async () => {
  await until('the guest has booted', async () => {
    const out = await exec('systemctl', 'is-system-running');
    return /^(running|degraded)/.test(out) ? out.trim() : null;
  });
  const failed = await exec('systemctl', '--failed', '--no-legend', '--plain');
  assert.doesNotMatch(failed, /\.(mount|swap|device)|remount|growfs|fsck|grub|getty/);
});

test('it gets an address by DHCP', async () => {
  const found = await until('an address', async () => {
    const { network } = await daemon.done('GET', `/1.0/instances/${NAME}/state`);
    const addresses = (network?.eth0?.addresses ?? []) as Address[]; // as LXD shows them
    return addresses.find((one) => one.family === 'inet' && one.scope === 'global') ?? null;
  });
  assert.match(found.address, /^\d+\.\d+\.\d+\.\d+$/);
});

test('it waits for no disk, and mounts what needs none', async () => {
  const units = await exec(
    'systemctl',
    'list-units',
    '--all',
    '--plain',
    '--no-legend',
    '--type=mount,swap,device',
  );
  assert.match(units, /mnt-scratch\.mount +loaded +active/);
  assert.doesNotMatch(units, /boot-efi|cloudimg|\.swap/);
  assert.equal((await exec('systemctl', 'list-jobs', '--no-legend')).trim(), '');
  assert.match(await exec('cat', '/etc/fstab'), /^# LABEL=UEFI/m);
});
