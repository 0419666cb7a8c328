/** What every image made here holds beside its root: metadata.yaml and the templates of /etc/hostname and /etc/hosts. */
import { arch } from 'node:os';
import { stringify } from 'yaml';

export interface ImageAbout {
  readonly os: string;
  readonly release: string;
  readonly description: string;
  readonly createdAt: Date;
}

/** The kernel's name of this machine's architecture, as image metadata has it. */
const ARCHITECTURES: Readonly<Record<string, string>> = {
  x64: 'x86_64',
  arm64: 'aarch64',
  arm: 'armv7l',
  ia32: 'i686',
  ppc64: 'ppc64le',
  riscv64: 'riscv64',
  s390x: 's390x',
};

export function machineArchitecture(): string {
  return ARCHITECTURES[arch()] ?? arch();
}

export const TEMPLATES: Readonly<Record<string, string>> = {
  'hostname.tpl': '{{ container.name }}\n',
  'hosts.tpl':
    '127.0.0.1 localhost\n127.0.1.1 {{ container.name }}\n' +
    '::1 localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n',
};

const TARGETS: Readonly<Record<string, string>> = {
  '/etc/hostname': 'hostname.tpl',
  '/etc/hosts': 'hosts.tpl',
};

export function imageMetadata(about: ImageAbout): string {
  const architecture = machineArchitecture();
  const templates = Object.fromEntries(
    Object.entries(TARGETS).map(([path, template]) => [
      path,
      { when: ['create', 'copy', 'rename'], create_only: false, template, properties: {} },
    ]),
  );
  return stringify({
    architecture,
    creation_date: Math.floor(about.createdAt.getTime() / 1000),
    properties: {
      architecture,
      description: about.description,
      name: `${about.os.toLowerCase()}-${about.release}`,
      os: about.os,
      release: about.release,
    },
    templates,
  });
}
