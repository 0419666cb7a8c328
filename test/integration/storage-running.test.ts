import assert from 'node:assert/strict';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { steps } from '../../native/steps.ts';
import type { IdExtent } from '../../native/steps.ts';
import { isFault } from '../../process/fault.ts';
import type { StoredImage } from '../../api/storage/types.ts';
import { makeUnified, tar } from '../support/image-archives.ts';
import { StorageDaemon, volume } from '../support/storage-daemon.ts';

const MAP: readonly IdExtent[] = [{ kind: 'b', nsId: 0, hostId: 1_000_000, range: 65_536 }];
const MIB = 2 ** 20;
const BUSYBOX = '/bin/busybox';
const signal = new AbortController().signal;
const INIT = `#!/bin/sh
while [ ! -e /go ]; do sleep 0.05; done
dd if=/dev/zero of=/filled bs=1M count=200 2>/dev/null
touch /done
while true; do sleep 1; done
`;

/** CAP_SYS_RESOURCE, which growing a mounted ext4 needs. */
function hasResourceCapability(): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return (BigInt(`0x${effective}`) & (1n << 24n)) !== 0n;
}

for (const driver of ['overlay', 'dir', 'btrfs'] as const) {
  describe(
    `a running container on ${driver}`,
    { skip: existsSync(BUSYBOX) ? false : 'needs busybox-static' },
    () => {
      const daemon = new StorageDaemon();
      const name = `storage-${driver}`;
      let image: StoredImage;
      let initPid = 0;

      before(async () => {
        await daemon.open();
        const config = driver === 'btrfs' ? { size: '1GiB' } : {};
        await daemon.pools.create({ name: 'default', driver, description: '', config });
        const source = join(daemon.state, 'source');
        makeUnified(source);
        const root = join(source, 'rootfs');
        copyFileSync(BUSYBOX, join(root, 'bin/busybox'));
        for (const tool of ['sh', 'sleep', 'touch', 'dd']) symlinkSync('busybox', join(root, 'bin', tool));
        writeFileSync(join(root, 'init'), INIT);
        chmodSync(join(root, 'init'), 0o755);
        for (const dir of ['proc', 'sys']) mkdirSync(join(root, dir));
        const fingerprint = await daemon.import(readFileSync(tar(join(daemon.state, 'i.tar'), source)));
        image = await daemon.images.find({ project: 'default', fingerprint });
        initPid = await start();
        daemon.running.set(name, initPid);
      });
      after(async () => {
        if (initPid > 0) daemon.native.signalProcess(initPid, 9);
        await daemon.native.waitGone(initPid, 10_000);
        await daemon.close();
      });

      const start = async (): Promise<number> => {
        const pool = daemon.pools.get('default');
        await pool.create(volume(name), { kind: 'image', image }, { sizeBytes: 96 * MIB, signal });
        mkdirSync(daemon.paths.lxc, { recursive: true, mode: 0o711 });
        chmodSync(daemon.state, 0o711);
        const config = join(daemon.state, 'lxc.conf');
        writeFileSync(
          config,
          [
            `lxc.uts.name = ${name}`,
            `lxc.rootfs.path = dir:${pool.rootPath(volume(name))}`,
            'lxc.idmap = u 0 1000000 65536',
            'lxc.idmap = g 0 1000000 65536',
            'lxc.net.0.type = empty',
            'lxc.init.cmd = /init',
            'lxc.autodev = 1',
            'lxc.mount.auto = proc:rw',
            '',
          ].join('\n'),
        );
        const plan = [steps.privateMounts(), steps.idmap(MAP), ...(await pool.rootSteps(volume(name), MAP))];
        return (await daemon.native.start([...plan, steps.start(daemon.paths.lxc, name, config)])).initPid;
      };
      const inside = (path: string): string => join('/proc', String(initPid), 'root', path);

      test('its root is shifted inside, plain outside', () => {
        const status = readFileSync(`/proc/${String(initPid)}/status`, 'utf8');
        assert.match(status, /^Uid:\t1000000\t/m);
        assert.equal(readFileSync(inside('etc/hostname'), 'utf8'), 'image\n');
      });

      test('its volume can be neither removed, nor made anew, nor shrunk', async () => {
        const pool = daemon.pools.get('default');
        await assert.rejects(pool.remove(volume(name)), (err) => isFault(err, 'busy'));
        const source = { kind: 'image', image } as const;
        await assert.rejects(pool.create(volume(name), source, { sizeBytes: null, signal }), (err) =>
          isFault(err, 'busy'),
        );
        await assert.rejects(pool.resize(volume(name), driver === 'btrfs' ? 4096 : 32 * MIB), (err) =>
          isFault(err, 'bad_request'),
        );
      });

      test('its disk grows while it runs, where the kernel lets us, and is bounded in every case', async () => {
        const pool = daemon.pools.get('default');
        const canGrow = driver === 'btrfs' || hasResourceCapability();
        if (canGrow) {
          await pool.resize(volume(name), 160 * MIB);
        } else {
          await assert.rejects(pool.resize(volume(name), 160 * MIB), (err) => isFault(err, 'bad_request'));
        }
        const most = (canGrow ? 160 : 96) * MIB;
        if (driver !== 'btrfs') {
          const use = await daemon.pools.volumeUse('default', volume(name));
          assert.ok(use !== null && use.total > most * 0.8 && use.total <= most, JSON.stringify(use));
        }
        writeFileSync(inside('go'), '');
        const deadline = Date.now() + 60_000;
        let used = 0;
        while (used < most * 0.8) {
          assert.ok(Date.now() < deadline, `the guest wrote ${String(used)} bytes`);
          used = (await pool.usage(volume(name), initPid)) ?? 0;
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
        assert.ok(used <= most + MIB, String(used));
      });

      test('a copy of it has what it has written', async () => {
        const pool = daemon.pools.get('default');
        const source = { kind: 'copy', copyOf: volume(name) } as const;
        await pool.create(volume('copy'), source, { sizeBytes: 256 * MIB, signal });
        const plan = [
          steps.privateMounts(),
          steps.idmap(MAP),
          ...(await pool.rootSteps(volume('copy'), MAP)),
        ];
        const files = await daemon.native.openFiles({ plan, root: pool.rootPath(volume('copy')) });
        try {
          assert.equal((await files.stat('/go')).type, 'file');
          assert.ok((await files.stat('/filled')).size > 60 * MIB);
        } finally {
          await files.close();
        }
        await pool.remove(volume('copy'));
      });

      test('it leaves nothing mounted on the host and can be removed after its end', async () => {
        assert.doesNotMatch(
          readFileSync('/proc/self/mountinfo', 'utf8'),
          new RegExp(`${daemon.state}/\\S*mounts`),
        );
        daemon.native.signalProcess(initPid, 9);
        assert.equal(await daemon.native.waitGone(initPid, 10_000), true);
        daemon.running.delete(name);
        await daemon.pools.get('default').remove(volume(name));
        assert.deepEqual(await daemon.pools.get('default').list(), []);
      });
    },
  );
}
