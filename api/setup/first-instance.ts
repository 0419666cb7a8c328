/** An image, when one is needed, and the first container made from it. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Fault, isFault } from '../../process/fault.ts';
import { readAptMirror } from './apt-mirror.ts';
import { until } from './background.ts';
import { buildDebianImage, imageAliases } from './debian-image.ts';
import { aliasFor, bytesDone, gatherImage, givenOrigin, type ImageFiles } from './given-image.ts';
import type { StepReport } from './progress.ts';
import type { RestClient } from './rest-client.ts';
import { buildTinyImage } from './tiny-image.ts';

export type ImageWish =
  | { readonly kind: 'tiny' }
  | { readonly kind: 'given'; readonly what: string }
  | { readonly kind: 'distribution'; readonly suite: string | null };

export interface Work {
  readonly client: RestClient;
  readonly signal: AbortSignal;
  readonly report: StepReport;
}

const ADDRESS_MS = 90_000;
export const TINY_ALIAS = 'busybox';

/** Names the image will have; the first one is used to launch from it. */
export async function aliasesFor(wish: ImageWish): Promise<string[]> {
  switch (wish.kind) {
    case 'tiny':
      return [TINY_ALIAS];
    case 'given':
      return [aliasFor(wish.what)];
    case 'distribution': {
      const { os } = await readAptMirror();
      if (wish.suite === null || wish.suite === os.codename) return [...imageAliases(os), os.id];
      return [`${os.id}/${wish.suite}`];
    }
  }
}

/** Makes and uploads the image, unless its first alias stands for the same source already. */
export async function ensureImage(wish: ImageWish, aliases: readonly string[], work: Work): Promise<void> {
  const [alias = ''] = aliases;
  const origin = originOf(wish);
  // The shape is this program's own answer.
  const there = (await work.client.find(aliasPath(alias), work.signal)) as { description?: string } | null;
  if (there !== null && (wish.kind !== 'given' || there.description === origin)) {
    work.report.result(`${alias} is there already`);
    return;
  }
  const folder = await mkdtemp(join(tmpdir(), 'slipway-image-'));
  try {
    const files = await makeImage(wish, folder, work);
    work.report.detail('uploading');
    const fingerprint = await upload(files, work);
    for (const name of aliases) await putAlias({ name, target: fingerprint, description: origin }, work);
    work.report.result(`${alias}, fingerprint ${fingerprint.slice(0, 12)}`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function originOf(wish: ImageWish): string {
  switch (wish.kind) {
    case 'tiny':
      return 'made from busybox';
    case 'given':
      return `made from ${givenOrigin(wish.what)}`;
    case 'distribution':
      return 'made from the mirror of this host';
  }
}

async function makeImage(wish: ImageWish, folder: string, work: Work): Promise<ImageFiles> {
  const { report, signal } = work;
  const onDetail = (text: string): void => {
    report.detail(text);
  };
  switch (wish.kind) {
    case 'tiny':
      return { file: await buildTinyImage(folder), rootfs: null };
    case 'given':
      return gatherImage(wish.what, { work: folder, signal, onDetail });
    case 'distribution': {
      const suite = wish.suite === null ? {} : { suite: wish.suite };
      return { file: await buildDebianImage(folder, { ...suite, signal, onDetail }), rootfs: null };
    }
  }
}

async function upload(files: ImageFiles, work: Work): Promise<string> {
  const options = {
    signal: work.signal,
    headers: { 'X-LXD-filename': basename(files.file) },
    onBytes: (sent: number, total: number) => {
      work.report.detail(sent < total ? `uploading ${bytesDone(sent, total)}` : 'unpacking');
    },
  };
  const parts = [
    { name: 'metadata', file: files.file },
    { name: 'rootfs', file: files.rootfs ?? '' },
  ];
  try {
    const metadata =
      files.rootfs === null
        ? await work.client.upload('/1.0/images', files.file, options)
        : await work.client.uploadForm('/1.0/images', parts, options);
    // The shape is this program's own answer.
    return (metadata as { fingerprint: string }).fingerprint;
  } catch (err) {
    // The same file was uploaded before, under another alias or none.
    const known = isFault(err) && /already exists/.test(err.message) ? await findUploaded(files, work) : null;
    if (known === null) throw err;
    return known;
  }
}

/** The fingerprint is the hash of the files; a bare root was given metadata, and is known by its file name. */
async function findUploaded(files: ImageFiles, work: Work): Promise<string | null> {
  const hash = createHash('sha256');
  for (const file of [files.file, files.rootfs]) {
    if (file !== null) await pipeline(createReadStream(file), hash, { end: false });
  }
  const fingerprint = hash.digest('hex');
  // The shape is this program's own answer.
  const images = (await work.client.get('/1.0/images?recursion=1', work.signal)) as {
    fingerprint: string;
    filename: string;
  }[];
  const found =
    images.find((image) => image.fingerprint === fingerprint) ??
    images.find((image) => image.filename === basename(files.file));
  return found?.fingerprint ?? null;
}

interface Alias {
  readonly name: string;
  readonly target: string;
  readonly description: string;
}

async function putAlias(alias: Alias, work: Work): Promise<void> {
  const there = await work.client.find(aliasPath(alias.name), work.signal);
  if (there === null) await work.client.change('POST', '/1.0/images/aliases', alias, work.signal);
  else await work.client.change('PUT', aliasPath(alias.name), alias, work.signal);
}

function aliasPath(name: string): string {
  return `/1.0/images/aliases/${encodeURIComponent(name)}`;
}

export interface InstanceState {
  readonly status: string;
  readonly network?: Readonly<
    Record<
      string,
      {
        readonly addresses: readonly {
          readonly family: string;
          readonly address: string;
          readonly scope: string;
        }[];
      }
    >
  > | null;
}

export async function instanceState(
  client: RestClient,
  name: string,
  signal: AbortSignal,
): Promise<InstanceState | null> {
  const state = await client.find(`/1.0/instances/${name}/state`, signal);
  // The shape is this program's own answer.
  return state as InstanceState | null;
}

export async function createInstance(name: string, alias: string, work: Work): Promise<void> {
  const body = { name, source: { type: 'image', alias } };
  await work.client.change('POST', '/1.0/instances', body, work.signal);
}

/** A daemon that was just started may be at it by itself: it brings back what ran before. */
export async function startInstance(name: string, work: Work): Promise<void> {
  const path = `/1.0/instances/${name}/state`;
  try {
    await work.client.change('PUT', path, { action: 'start', timeout: -1, force: false }, work.signal);
  } catch (err) {
    const state = await instanceState(work.client, name, work.signal);
    if (state?.status !== 'Running') throw err;
  }
}

/** Global addresses of all its network cards, IPv4 first. */
export function addressesOf(state: InstanceState): string[] {
  const all = Object.entries(state.network ?? {})
    .filter(([card]) => card !== 'lo')
    .flatMap(([, card]) => card.addresses)
    .filter((address) => address.scope === 'global');
  const of = (family: string): string[] => all.filter((a) => a.family === family).map((a) => a.address);
  return [...of('inet'), ...of('inet6')];
}

/** Waits for an IPv4 address. Fault timeout says what to look at. */
export async function waitForAddress(name: string, work: Work): Promise<InstanceState> {
  return until(
    `${name} gets an IPv4 address by DHCP (see \`lxc console --show-log ${name}\`)`,
    ADDRESS_MS,
    async () => {
      const state = await instanceState(work.client, name, work.signal);
      if (state !== null && state.status !== 'Running') {
        throw new Fault('unavailable', `wait for the address of ${name}: it is ${state.status}`);
      }
      return state !== null && addressesOf(state).some((address) => address.includes('.')) ? state : null;
    },
    work.signal,
  );
}
