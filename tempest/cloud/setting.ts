/** What every step of `npm run cloud` works with, and what of it is kept from one run to the next. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { clientOf } from '../../api/setup/background.ts';
import type { Progress } from '../../api/setup/progress.ts';
import type { RestClient } from '../../api/setup/rest-client.ts';
import { runTool } from '../../api/tools.ts';
import type { DaemonConfig } from '../../config/load.ts';
import { LxdClient, type Caller } from '../../driver/lxd/client.ts';
import { Fault } from '../../process/fault.ts';

/** The running control plane. */
export const CONTROL = 'cloud-control';
/** Configured once, never started again: the control plane is a copy of it. */
export const MASTER = 'cloud-control-master';
export const MANAGEMENT_BRIDGE = 'cloudbr0';
export const REGION = 'RegionOne';
/** Neutron's name of the network the host shares with floating addresses. */
export const PHYSICAL_NETWORK = 'provider';
/** OVS bridge of that network. */
export const PUBLIC_BRIDGE = 'br-provider';

const facts = z.object({
  /** First three numbers of the network between host and control plane. */
  management: z.string(),
  /** The same of the network of floating addresses. */
  floating: z.string(),
  password: z.string(),
  /** Nova's and OVN's name of this machine. */
  host: z.string(),
});
export type CloudFacts = z.infer<typeof facts>;

export interface Cloud {
  /** Built parts that outlive a cloud. */
  readonly cache: string;
  /** Everything of the running cloud that is not in the daemon. */
  readonly home: string;
  readonly daemon: DaemonConfig;
  readonly rest: RestClient;
  readonly lxd: LxdClient;
  readonly caller: Caller;
  readonly facts: CloudFacts;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export interface CloudPlaces {
  readonly cache: string;
  readonly home: string;
  readonly daemon: DaemonConfig;
}

export function controlAddress({ management }: CloudFacts): string {
  return `${management}.2`;
}

/** Address of this host on the management network. */
export function hostAddress({ management }: CloudFacts): string {
  return `${management}.1`;
}

export function openCloud(
  places: CloudPlaces,
  kept: CloudFacts,
  progress: Progress,
  signal: AbortSignal,
): Cloud {
  return {
    ...places,
    rest: clientOf(places.daemon),
    lxd: new LxdClient(join(places.daemon.paths.state, 'unix.socket')),
    caller: { requestId: '', signal },
    facts: kept,
    progress,
    signal,
  };
}

function factsFile(home: string): string {
  return join(home, 'cloud.json');
}

/** Null when there is no cloud yet. Fault conflict for a file that is not ours. */
export async function readFacts(home: string): Promise<CloudFacts | null> {
  const file = factsFile(home);
  if (!existsSync(file)) return null;
  const found = facts.safeParse(JSON.parse(await readFile(file, 'utf8')));
  if (found.success) return found.data;
  throw new Fault(
    'conflict',
    `read ${file}: it is of another version; "npm run cloud -- down --purge" removes it`,
  );
}

/** What was kept, or new facts: two networks nothing here has a route to, and a password. */
export async function ensureFacts(home: string): Promise<CloudFacts> {
  const kept = await readFacts(home);
  if (kept !== null) return kept;
  const [management, floating] = await freeNetworks();
  const made: CloudFacts = {
    management,
    floating,
    password: randomBytes(12).toString('hex'),
    host: hostname(),
  };
  await mkdir(home, { recursive: true, mode: 0o755 });
  await replaceFile(factsFile(home), `${JSON.stringify(made, null, 2)}\n`, 0o600);
  return made;
}

export async function replaceFile(file: string, text: string, mode: number): Promise<void> {
  await writeFile(`${file}.new`, text, { mode });
  await rename(`${file}.new`, file);
}

const FIRST_CHOICE = 40;
const LAST_CHOICE = 250;

/** Two neighbours of 10.80.0.0/16 that no address and no route of this host touches. */
async function freeNetworks(): Promise<[string, string]> {
  const routes = await runTool('ip', ['-4', 'route', 'show', 'table', 'all']);
  const addresses = await runTool('ip', ['-4', '-brief', 'address']);
  const used = routes.stdout + addresses.stdout;
  for (let number = FIRST_CHOICE; number < LAST_CHOICE; number += 2) {
    const pair: [string, string] = [`10.80.${String(number)}`, `10.80.${String(number + 1)}`];
    if (!pair.some((network) => used.includes(`${network}.`))) return pair;
  }
  throw new Fault('conflict', 'choose addresses for the cloud: nothing of 10.80.40.0 to 10.80.249.0 is free');
}
