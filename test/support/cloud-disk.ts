/**
 * A Debian as clouds have it: a disk with a GPT, an EFI partition and an ext4
 * root that expects to be a virtual machine's. Made once, kept in `.cache/images`.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, readdir, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeDebianTree } from '../../api/setup/debian-image.ts';
import { PROGRAM_ROOT } from '../../config/root.ts';

const FOLDER = join(PROGRAM_ROOT, '.cache', 'images');
const SUITE = 'bookworm';
const KIND = `cloud-disk-${SUITE}-`;
const PACKAGES = [
  'systemd',
  'systemd-sysv',
  'systemd-resolved',
  'udev',
  'dbus',
  'cloud-init',
  'netplan.io',
  'iproute2',
  'openssh-server',
  'sudo',
];

/** What Debian's own image says of its disks, and a swap file's line as users add it. */
const FSTAB = `# <file system> <mount point> <type> <options> <dump> <pass>
LABEL=cloudimg-rootfs\t/\text4\tdiscard,errors=remount-ro,x-systemd.growfs\t0 1
LABEL=UEFI\t/boot/efi\tvfat\tumask=0077\t0 1
UUID=9f1c6b0e-8d4e-4f0f-9c40-5f4f5d1d7a11\tnone\tswap\tsw\t0 0
tmpfs\t/mnt/scratch\ttmpfs\tsize=1m\t0 0
`;

/** As /etc/netplan/90-default.yaml of that image. */
const NETPLAN = `network:
  version: 2
  ethernets:
    all-en:
      match:
        name: en*
      dhcp4: true
      dhcp6: true
    all-eth:
      match:
        name: eth*
      dhcp4: true
      dhcp6: true
`;

export const ROOT_AT_MIB = 64;
const ROOT_MIB = 1472;

/** Path of the disk as a compressed qcow2. */
export async function cloudDisk(): Promise<string> {
  const recipe = await readFile(fileURLToPath(import.meta.url));
  const hash = createHash('sha256').update(recipe).digest('hex').slice(0, 12);
  const file = join(FOLDER, `${KIND}${hash}.qcow2`);
  if (existsSync(file)) return file;
  await mkdir(FOLDER, { recursive: true });
  for (const old of await readdir(FOLDER)) {
    if (old.startsWith(KIND)) await rm(join(FOLDER, old), { force: true });
  }
  const work = await mkdtemp(join(FOLDER, 'disk-'));
  try {
    const root = join(work, 'root');
    await makeDebianTree(root, { suite: SUITE, include: PACKAGES });
    await configure(root);
    await makeDisk(work, root, join(work, 'disk.raw'));
    run('qemu-img', ['convert', '-c', '-O', 'qcow2', join(work, 'disk.raw'), join(work, 'disk.qcow2')]);
    await rename(join(work, 'disk.qcow2'), file);
    return file;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function configure(root: string): Promise<void> {
  const put = (path: string, text: string): Promise<void> =>
    writeFile(join(root, path), text, { mode: 0o644 });
  await put('etc/fstab', FSTAB);
  await put('etc/hostname', 'localhost\n');
  // Empty, so that each guest makes one of its own at its first start.
  await put('etc/machine-id', '');
  await mkdir(join(root, 'etc/netplan'), { recursive: true });
  await put('etc/netplan/90-default.yaml', NETPLAN);
  await mkdir(join(root, 'boot/efi'), { recursive: true });
  await mkdir(join(root, 'mnt/scratch'), { recursive: true });
  await rm(join(root, 'etc/apt/apt.conf.d/99mmdebstrap'), { force: true });
  run('chroot', [root, 'systemctl', 'enable', 'systemd-networkd', 'systemd-resolved']);
}

async function makeDisk(work: string, root: string, disk: string): Promise<void> {
  const part = join(work, 'root.ext4');
  await writeFile(part, '');
  await truncate(part, ROOT_MIB * 2 ** 20);
  run('mkfs.ext4', ['-q', '-L', 'cloudimg-rootfs', '-d', root, part]);
  await writeFile(disk, '');
  await truncate(disk, (ROOT_AT_MIB + ROOT_MIB + 1) * 2 ** 20);
  // Numbered as on real images: the root is partition 1 and lies behind the others.
  const table = [
    'label: gpt',
    `1 : start=${String(ROOT_AT_MIB)}MiB, size=${String(ROOT_MIB)}MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709`,
    '14 : start=1MiB, size=3MiB, type=21686148-6449-6E6F-744E-656564454649',
    '15 : start=4MiB, size=48MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B',
  ].join('\n');
  execFileSync('sfdisk', ['--quiet', disk], { input: `${table}\n` });
  const at = `seek=${String(ROOT_AT_MIB)}`;
  run('dd', [`if=${part}`, `of=${disk}`, 'bs=1M', at, 'conv=notrunc,sparse', 'status=none']);
}

function run(program: string, args: readonly string[]): void {
  execFileSync(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
