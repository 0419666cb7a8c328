/**
 * Who this node is: a uuid in the file `compute_id`, as nova-compute has it
 * since 2023.1. Everything of the host in the cloud hangs from it (ComputeNode,
 * resource provider, allocations), so a start that finds it lost, changed or
 * together with another host name is refused before anything is touched.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { link, mkdir, open, readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../../process/fault.ts';
import type { Conductor } from '../nova/conductor.ts';
import { nodesByUuid, nodesOfHost } from '../nova/host-records.ts';
import type { NovaObject } from '../nova/versioned-object.ts';
import type { RpcContext } from '../rpc/envelope.ts';

const FILE = 'compute_id';
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** From this service version on a host is known to have kept its identity. */
const KEEPS_IDENTITY = 65;

export interface Identity {
  readonly uuid: string;
  readonly file: string;
}

/**
 * The identity found in these folders; null when there is none. Fault
 * bad_request for a file that holds no uuid, conflict for copies that differ.
 */
export async function readIdentity(folders: readonly string[]): Promise<Identity | null> {
  let found: Identity | null = null;
  for (const folder of folders) {
    const file = join(folder, FILE);
    const uuid = await readUuid(file);
    if (uuid === null) continue;
    if (found !== null && found.uuid !== uuid) {
      throw new Fault(
        'conflict',
        `read the identity of this node: ${found.file} says ${found.uuid} and ${file} says ${uuid}; ` +
          'keep the one that "openstack hypervisor list" shows and delete the other',
      );
    }
    found ??= { uuid, file };
  }
  return found;
}

async function readUuid(file: string): Promise<string | null> {
  let text: string;
  try {
    text = (await readFile(file, 'utf8')).trim().toLowerCase();
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return null;
    throw new Fault('bad_request', `read the identity of this node from ${file}`, { cause });
  }
  if (UUID.test(text)) return text;
  throw new Fault('bad_request', `read the identity of this node: ${file} does not hold a uuid`);
}

/**
 * Writes the identity into a folder, whole or not at all. Another process that
 * was faster wins: its identity comes back.
 */
export async function writeIdentity(folder: string, uuid: string): Promise<Identity> {
  const file = join(folder, FILE);
  const draft = `${file}.${randomBytes(6).toString('hex')}`;
  try {
    await mkdir(folder, { recursive: true });
    const handle = await open(draft, 'wx', 0o644);
    try {
      await handle.writeFile(`${uuid}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    // A link does not replace what is there, a rename would.
    await link(draft, file).catch((err: unknown) => {
      if (!(err instanceof Error && 'code' in err && err.code === 'EEXIST')) throw err;
    });
    await unlink(draft);
    await syncFolder(folder);
  } catch (cause) {
    throw new Fault(
      'bad_request',
      `write the identity of this node to ${file}; state_path must be writable for this user`,
      { cause },
    );
  }
  const written = await readIdentity([folder]);
  if (written === null) throw new Fault('internal', `write the identity of this node: ${file} is gone again`);
  return written;
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export interface KnownHost {
  readonly host: string;
  /** The service record of this host in Nova, or null. */
  readonly service: NovaObject | null;
  /** Live ComputeNodes of this host in Nova. */
  readonly nodes: readonly NovaObject[];
  /** Instances of Nova on this host. */
  readonly guestCount: number;
}

/**
 * What to do about a missing identity file: a uuid to take over, or null for a
 * new one. Fault conflict when that would lose what Nova knows of this host.
 */
export function adoptedIdentity(known: Omit<KnownHost, 'guestCount'>, folder: string): string | null {
  const { host, service, nodes } = known;
  if (service === null) return null;
  const version = service.numberOrNull('version') ?? 0;
  if (version >= KEEPS_IDENTITY) {
    throw new Fault(
      'conflict',
      `start as ${host}: this host has been a compute host before, but its identity, ${join(folder, FILE)}, is ` +
        'lost; write the id that "openstack hypervisor list" shows for it into that file, or delete the old ' +
        'record (openstack compute service delete)',
    );
  }
  const [only, ...others] = nodes;
  if (others.length > 0) {
    throw new Fault(
      'conflict',
      `start as ${host}: Nova knows ${String(nodes.length)} nodes of this host; write the uuid of the right one ` +
        `into ${join(folder, FILE)}`,
    );
  }
  return only?.text('uuid') ?? null;
}

/** Fault conflict for a host that is new to Nova and has instances of Nova all the same. */
export function refuseForeignGuests(known: Omit<KnownHost, 'nodes'>): void {
  if (known.service !== null || known.guestCount === 0) return;
  throw new Fault(
    'conflict',
    `start as ${known.host}: this host has ${String(known.guestCount)} instances of Nova, but the cloud knows no ` +
      'compute service of this name; is "host" or the cloud another one than before? ' +
      'Delete the instances first if the old cloud is gone',
  );
}

/** Fault conflict when the node of this identity is known under another name. */
export function refuseRename(node: NovaObject | null, host: string, nodename: string, file: string): void {
  if (node === null) return;
  const before = { host: node.textOrNull('host'), name: node.textOrNull('hypervisor_hostname') };
  if (before.host === host && before.name === nodename) return;
  throw new Fault(
    'conflict',
    `start as ${host} (node ${nodename}): the identity in ${file} belongs to host ${before.host ?? '?'} ` +
      `(node ${before.name ?? '?'}); a compute host cannot be renamed: set host = ${before.host ?? '?'} again, or, ` +
      `for a new host, delete ${file}`,
  );
}

/** Fault conflict when Nova knows this very node by another identity. */
export function refuseOtherIdentity(
  nodes: readonly NovaObject[],
  identity: Identity,
  nodename: string,
): void {
  const other = nodes.find(
    (node) => node.text('hypervisor_hostname') === nodename && node.text('uuid') !== identity.uuid,
  );
  if (other === undefined) return;
  throw new Fault(
    'conflict',
    `start as node ${nodename}: Nova knows it as ${other.text('uuid')}, but ${identity.file} says ${identity.uuid}; ` +
      'put the right id back',
  );
}

export interface IdentityParts {
  readonly conductor: Conductor;
  readonly host: string;
  readonly node: string;
  /** Where a copy of the identity may lie; a new one is written to the first. */
  readonly folders: readonly [string, ...string[]];
  readonly service: NovaObject | null;
  readonly guestCount: number;
}

/** The identity of this node: found, taken over from the database, or new. Fault conflict when a start must not be. */
export async function establishIdentity(parts: IdentityParts, context: RpcContext): Promise<Identity> {
  const { conductor, host, node, folders, service, guestCount } = parts;
  refuseForeignGuests({ host, service, guestCount });
  let identity = await readIdentity(folders);
  if (identity === null) {
    const nodes = service === null ? [] : await nodesOfHost(conductor, context, host);
    const adopted = adoptedIdentity({ host, service, nodes }, folders[0]);
    identity = await writeIdentity(folders[0], adopted ?? randomUUID());
  }
  const [known = null] = await nodesByUuid(conductor, context, identity.uuid);
  refuseRename(known, host, node, identity.file);
  return identity;
}
