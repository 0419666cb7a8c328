/** What every image made here holds beside its root: metadata.yaml and the templates of /etc/hostname and /etc/hosts. */
import { stringify } from 'yaml';
import { HOST_ARCHITECTURE } from '../architectures.ts';

export interface ImageAbout {
  readonly os: string;
  readonly release: string;
  readonly description: string;
  readonly createdAt: Date;
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
  const architecture = HOST_ARCHITECTURE;
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
