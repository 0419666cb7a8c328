/** The tree of the control plane, packed and handed to the daemon as an image. */
import { createHash } from 'node:crypto';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { stringify } from 'yaml';
import { bytesDone } from '../../api/setup/given-image.ts';
import { HOST_ARCHITECTURE } from '../../api/architectures.ts';
import type { StepReport } from '../../api/setup/progress.ts';
import { runTool } from '../../api/tools.ts';
import { PROGRAM_ROOT } from '../../config/root.ts';
import { SUITE, treePath } from './debian-tree.ts';
import type { Cloud } from './setting.ts';

const ALIAS = 'cloud-control';
const RECIPE = ['packages.txt', 'debian-tree.ts', 'control-image.ts'];

/** Changes when the image would be another one. */
async function recipeOfImage(): Promise<string> {
  const hash = createHash('sha256');
  for (const name of RECIPE) hash.update(await readFile(join(PROGRAM_ROOT, 'tempest', 'cloud', name)));
  return hash.digest('hex').slice(0, 12);
}

/** Imports the image unless it is there. Returns its fingerprint. */
export async function ensureControlImage(cloud: Cloud, report: StepReport): Promise<string> {
  const path = `/1.0/images/aliases/${ALIAS}`;
  const wanted = `recipe ${await recipeOfImage()}`;
  // The shape is the daemon's own answer.
  const there = (await cloud.rest.find(path, cloud.signal)) as { description: string; target: string } | null;
  if (there?.description === wanted) {
    report.result('there already');
    return there.target;
  }
  const file = await pack(cloud, report);
  // The shape is the daemon's own answer.
  const made = (await cloud.rest.upload('/1.0/images', file, {
    signal: cloud.signal,
    headers: { 'X-LXD-filename': 'cloud-control.tar.zst' },
    onBytes: (sent, total) => {
      report.detail(sent < total ? `importing ${bytesDone(sent, total)}` : 'unpacking');
    },
  })) as { fingerprint: string };
  const alias = { name: ALIAS, target: made.fingerprint, description: wanted };
  if (there === null) await cloud.rest.change('POST', '/1.0/images/aliases', alias, cloud.signal);
  else {
    await cloud.rest.change('PUT', path, alias, cloud.signal);
    await cloud.rest.change('DELETE', `/1.0/images/${there.target}`, undefined, cloud.signal);
  }
  await rm(file, { force: true });
  report.result(`fingerprint ${made.fingerprint.slice(0, 12)}`);
  return made.fingerprint;
}

async function pack(cloud: Cloud, report: StepReport): Promise<string> {
  const folder = dirname(treePath(cloud.cache));
  const architecture = HOST_ARCHITECTURE;
  const about = {
    architecture,
    creation_date: Math.floor(Date.now() / 1000),
    properties: { architecture, os: 'Debian', release: SUITE, description: 'OpenStack 2025.1 control plane' },
  };
  await writeFile(join(folder, 'metadata.yaml'), stringify(about));
  const file = join(cloud.cache, 'control.tar.zst');
  report.detail('packing');
  const attributes = ['--numeric-owner', '--xattrs', '--xattrs-include=*'];
  const packing = ['tar', '--create', ...attributes, '-I', 'zstd -1 -T0', '-f', file];
  await runTool(packing[0] ?? '', [...packing.slice(1), '-C', folder, 'metadata.yaml', 'rootfs'], {
    timeoutMs: 0,
    signal: cloud.signal,
  });
  return file;
}

/** Removes the image from the daemon; the tree in the cache stays. Harmless when it is gone. */
export async function dropControlImage(cloud: Cloud): Promise<void> {
  // The shape is the daemon's own answer.
  const there = (await cloud.rest.find(`/1.0/images/aliases/${ALIAS}`, cloud.signal)) as {
    target: string;
  } | null;
  if (there !== null)
    await cloud.rest.change('DELETE', `/1.0/images/${there.target}`, undefined, cloud.signal);
}
