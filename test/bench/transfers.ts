/** Large streams: into and out of commands and files; images. */
import { randomFillSync } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { mibPerSecond, rateOfInput, rateOfOutput } from './exec.ts';
import { measureProgram } from './floor.ts';
import type { Setting } from './setting.ts';

const BYTES = 100 * 1024 * 1024;

export async function measureTransfers({ dir, hosts, ledger, rounds, say }: Setting): Promise<void> {
  const rate = { unit: 'MiB/s', target: { timesPeer: 1 } };
  ledger.ask('exec-in', { what: 'exec stream of 100 MB, in', ...rate });
  ledger.ask('exec-out', { what: 'exec stream of 100 MB, out', ...rate });
  ledger.ask('push', { what: 'file push of 100 MB', ...rate });
  ledger.ask('pull', { what: 'file pull of 100 MB', ...rate });
  const file = join(dir, 'blob');
  const block = Buffer.alloc(BYTES);
  randomFillSync(block);
  await writeFile(file, block);
  const name = 'bench-files';
  for (const host of hosts) {
    await host.create(name, 'tiny');
    await host.change(name, 'start');
  }
  for (let i = 0; i < Math.max(3, rounds / 3); i += 1) {
    for (const host of hosts) {
      say(`streams on ${host.name}`);
      const { client } = host;
      ledger.add('exec-in', host.name, await rateOfInput(client, name, BYTES));
      ledger.add('exec-out', host.name, await rateOfOutput(client, name, BYTES));
      const path = `/1.0/instances/${name}/files?path=/root/blob`;
      let begin = performance.now();
      const pushed = await client.upload(path, file, { 'x-lxd-type': 'file', 'x-lxd-mode': '0644' });
      if (pushed.type === 'error') throw new Error(`push: ${pushed.error}`);
      ledger.add('push', host.name, mibPerSecond(BYTES, performance.now() - begin));
      begin = performance.now();
      const bytes = await client.drain(path);
      if (bytes !== BYTES) throw new Error(`pull: ${String(bytes)} bytes came`);
      ledger.add('pull', host.name, mibPerSecond(BYTES, performance.now() - begin));
    }
  }
  for (const host of hosts) {
    await host.change(name, 'stop');
    await host.remove(name);
  }
}

/** From the first byte sent until an instance could be created from it, beside unpacking alone. */
export async function measureImport(setting: Setting): Promise<void> {
  const { dir, hosts, ledger, debianImage, say } = setting;
  if (debianImage === null) return;
  ledger.ask('import', { what: 'image import, systemd Debian, until the operation ends', unit: 'ms' });
  ledger.ask('import-ready', {
    what: 'image import, systemd Debian, until an instance of it is created',
    unit: 'ms',
    target: { timesFloor: 1.2 },
    note: 'floor: tar alone',
  });
  for (let i = 0; i < 3; i += 1) {
    say('image import');
    const tree = join(dir, 'unpacked');
    await mkdir(tree);
    ledger.add(
      'import-ready',
      'floor',
      await measureProgram('tar', ['-xf', debianImage, '-C', tree, '--numeric-owner', '--xattrs']),
    );
    await rm(tree, { recursive: true, force: true });
    for (const host of hosts) {
      const begin = performance.now();
      await host.importImage(debianImage, 'imported');
      ledger.add('import', host.name, performance.now() - begin);
      await host.create('bench-import', 'imported');
      ledger.add('import-ready', host.name, performance.now() - begin);
      await host.remove('bench-import');
      const urls = await host.client.done('GET', '/1.0/images/aliases/imported');
      const target = typeof urls === 'object' && urls !== null && 'target' in urls ? String(urls.target) : '';
      await host.client.done('DELETE', `/1.0/images/${target}`);
    }
  }
}
