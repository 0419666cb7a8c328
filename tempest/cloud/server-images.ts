/** The images a tenant boots: a busybox of two megabytes, and a Debian with cloud-init and sshd. */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { buildDebianImage } from '../../api/setup/debian-image.ts';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import type { StepReport } from '../../api/setup/progress.ts';
import { SUITE } from './debian-tree.ts';
import type { Json, OpenStack } from './openstack.ts';
import { ensureImage } from './seed.ts';
import type { Cloud } from './setting.ts';

export const TINY_IMAGE = 'busybox';
export const DEBIAN_IMAGE = 'debian-13';
/** What makes a server of a container: its key and name from the cloud, and a way in. */
const PACKAGES = ['cloud-init', 'openssh-server', 'sudo', 'iputils-ping', 'curl', 'less'];

/** Keeps nova-compute hosts of other kinds away from images they cannot boot. */
const PROPERTIES: Json = { img_hv_type: 'lxc' };

/** Returns the image's id in Glance. */
export function ensureTinyImage(cloud: Cloud, admin: OpenStack, report: StepReport): Promise<string> {
  const make = async (): Promise<string> => {
    await mkdir(cloud.cache, { recursive: true });
    return buildTinyImage(cloud.cache);
  };
  return ensureImage(admin, TINY_IMAGE, PROPERTIES, make, report);
}

/** Returns the image's id in Glance; the file is built once and kept in the cache. */
export function ensureDebianImage(cloud: Cloud, admin: OpenStack, report: StepReport): Promise<string> {
  const properties = { ...PROPERTIES, os_distro: 'debian', os_version: '13' };
  return ensureImage(admin, DEBIAN_IMAGE, properties, () => debianFile(cloud, report), report);
}

async function debianFile(cloud: Cloud, report: StepReport): Promise<string> {
  const file = join(cloud.cache, 'debian-13.tar.zst');
  if (existsSync(file)) return file;
  await mkdir(cloud.cache, { recursive: true });
  const folder = await mkdtemp(join(cloud.cache, 'debian-'));
  try {
    const made = await buildDebianImage(folder, {
      suite: SUITE,
      packages: PACKAGES,
      signal: cloud.signal,
      onDetail: (text) => {
        report.detail(text);
      },
    });
    await rename(made, file);
    return file;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
