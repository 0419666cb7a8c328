/**
 * A busybox system of two megabytes: an init that answers SIGPWR, DHCP on every
 * network card, a shell on the console. Made in memory, so it needs no root;
 * the same busybox gives the same image, byte for byte.
 */
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packTar, type TarEntry } from 'modern-tar';
import { findProgram } from '../../config/packages.ts';
import { Fault } from '../../process/fault.ts';
import { runTool } from '../tools.ts';
import { imageMetadata, TEMPLATES } from './image-tree.ts';

const SBIN = ['init', 'halt', 'poweroff', 'reboot', 'udhcpc', 'getty', 'sysctl', 'route', 'ifconfig'];

const INITTAB = `::sysinit:/etc/init.d/rcS
::respawn:-/bin/sh
::ctrlaltdel:/sbin/reboot
`;

const RC = `#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
[ -s /etc/hostname ] && hostname -F /etc/hostname
ip link set lo up
for card in /sys/class/net/*; do
	card=\${card##*/}
	[ "$card" = lo ] && continue
	udhcpc -b -R -S -t 10 -T 1 -i "$card" -s /etc/udhcpc.script \\
		-x "hostname:$(hostname)" >/dev/null 2>&1 &
done
[ -x /etc/rc.local ] && /etc/rc.local
exit 0
`;

const DHCP_SCRIPT = `#!/bin/sh
# Called by udhcpc with what the server said in the environment.
resolvers() {
	[ -z "$dns" ] && return
	{
		[ -n "$domain" ] && echo "search $domain"
		for server in $dns; do echo "nameserver $server"; done
	} >/etc/resolv.conf.new && mv /etc/resolv.conf.new /etc/resolv.conf
}

case $1 in
	deconfig)
		ip link set "$interface" up
		ip -4 addr flush dev "$interface"
		;;
	bound | renew)
		if ! ip -4 addr show dev "$interface" | grep -q "inet $ip/"; then
			ip -4 addr flush dev "$interface"
			ip addr add "$ip/$mask" broadcast + dev "$interface"
		fi
		for gateway in $router; do
			ip route replace default via "$gateway" dev "$interface" && break
		done
		resolvers
		;;
esac
exit 0
`;

const PROFILE = `export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PS1='\\u@\\h:\\w\\$ '
`;

/** Paths relative to the root: content and mode. */
const FILES: Readonly<Record<string, readonly [string, number]>> = {
  'etc/inittab': [INITTAB, 0o644],
  'etc/init.d/rcS': [RC, 0o755],
  'etc/udhcpc.script': [DHCP_SCRIPT, 0o755],
  'etc/profile': [PROFILE, 0o644],
  'etc/passwd': ['root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n', 0o644],
  'etc/group': ['root:x:0:\ntty:x:5:\nusers:x:100:\nnogroup:x:65534:\n', 0o644],
  'etc/shadow': ['root:*:::::::\nnobody:*:::::::\n', 0o600],
  'etc/shells': ['/bin/sh\n', 0o644],
  'etc/resolv.conf': ['', 0o644],
  'etc/hostname': ['localhost\n', 0o644],
  'etc/hosts': ['127.0.0.1 localhost\n', 0o644],
};

const FOLDERS: Readonly<Record<string, number>> = {
  '': 0o755,
  bin: 0o755,
  sbin: 0o755,
  dev: 0o755,
  etc: 0o755,
  'etc/init.d': 0o755,
  home: 0o755,
  mnt: 0o755,
  opt: 0o755,
  proc: 0o755,
  root: 0o700,
  run: 0o755,
  srv: 0o755,
  sys: 0o755,
  tmp: 0o1777,
  usr: 0o755,
  'usr/bin': 0o755,
  'usr/sbin': 0o755,
  'usr/local': 0o755,
  'usr/local/bin': 0o755,
  'usr/local/sbin': 0o755,
  var: 0o755,
  'var/lib': 0o755,
  'var/log': 0o755,
  'var/tmp': 0o1777,
};

/** Writes `busybox.tar`, a unified image, into `dir` and returns its path. Fault tool_failed without a static busybox. */
export async function buildTinyImage(dir: string): Promise<string> {
  const program = findProgram('busybox');
  if (program === null)
    throw new Fault('tool_failed', 'make the busybox image: apt-get install busybox-static');
  const binary = await readFile(program);
  if (!isStatic(binary)) {
    throw new Fault(
      'tool_failed',
      `make the busybox image: ${program} needs shared libraries; apt-get install busybox-static`,
    );
  }
  const applets = (await runTool(program, ['--list'])).stdout
    .split('\n')
    .filter((name) => /^[\w[.-]+$/.test(name));
  for (const needed of ['init', 'udhcpc', 'ip', 'sh']) {
    if (!applets.includes(needed)) {
      throw new Fault('tool_failed', `make the busybox image: ${program} has no applet ${needed}`);
    }
  }
  const release = /v(\d[\w.]*)/.exec((await runTool(program, ['--help'])).stdout)?.[1] ?? 'unknown';
  const createdAt = (await stat(program)).mtime;
  const metadata = imageMetadata({
    os: 'BusyBox',
    release,
    description: `BusyBox ${release}`,
    createdAt,
  });
  await mkdir(dir, { recursive: true });
  const file = join(dir, 'busybox.tar');
  await writeFile(file, await packTar(entriesOf(metadata, binary, applets, createdAt)));
  return file;
}

function entriesOf(metadata: string, binary: Buffer, applets: readonly string[], mtime: Date): TarEntry[] {
  const common = { mtime, uid: 0, gid: 0 };
  const file = (name: string, body: string | Buffer, mode: number): TarEntry => {
    const bytes = Buffer.from(body);
    return { header: { ...common, name, type: 'file', mode, size: bytes.length }, body: bytes };
  };
  const folder = (name: string, mode: number): TarEntry => ({
    header: { ...common, name: `${name}/`, type: 'directory', mode, size: 0 },
  });
  const link = (name: string, linkname: string): TarEntry => ({
    header: { ...common, name, type: 'symlink', mode: 0o777, size: 0, linkname },
  });
  return [
    file('metadata.yaml', metadata, 0o644),
    folder('templates', 0o755),
    ...Object.entries(TEMPLATES).map(([name, text]) => file(`templates/${name}`, text, 0o644)),
    ...Object.entries(FOLDERS).map(([name, mode]) => folder(name === '' ? 'rootfs' : `rootfs/${name}`, mode)),
    ...Object.entries(FILES).map(([name, [text, mode]]) => file(`rootfs/${name}`, text, mode)),
    file('rootfs/bin/busybox', binary, 0o755),
    ...applets
      .filter((name) => name !== 'busybox')
      .map((name) =>
        SBIN.includes(name)
          ? link(`rootfs/sbin/${name}`, '../bin/busybox')
          : link(`rootfs/bin/${name}`, 'busybox'),
      ),
  ];
}

const PT_INTERP = 3;

/** True when a little-endian ELF file asks for no dynamic loader. */
function isStatic(elf: Buffer): boolean {
  if (elf.readUInt32BE(0) !== 0x7f454c46) return false;
  const wide = elf[4] === 2;
  const start = wide ? Number(elf.readBigUInt64LE(0x20)) : elf.readUInt32LE(0x1c);
  const size = elf.readUInt16LE(wide ? 0x36 : 0x2a);
  const count = elf.readUInt16LE(wide ? 0x38 : 0x2c);
  for (let i = 0; i < count; i++) {
    if (elf.readUInt32LE(start + i * size) === PT_INTERP) return false;
  }
  return true;
}
