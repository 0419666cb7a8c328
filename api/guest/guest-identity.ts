/**
 * Which instance is at the other end of the guest API's socket.
 *
 * All guests share one socket. The kernel tells the process id of the peer, in
 * the host's namespace; its pid namespace is that of exactly one running
 * container, or of something nested in one, whose parents lead there. The
 * peer's user must be that container's root: with an id range per instance
 * this also refuses a process that was given the number of a peer that ended.
 *
 * Everything read here is in /proc and answered by the kernel at once, so the
 * whole look is synchronous: the peer has the least time to go away.
 */
import { readFileSync, readlinkSync } from 'node:fs';
import type { Native } from '../../native/types.ts';
import type { InstanceStore, Runtime } from '../instances/types.ts';

export interface Guest {
  readonly id: string;
  readonly initPid: number;
}

interface KnownGuest extends Guest {
  /** As the kernel writes it: `pid:[4026532456]`. */
  readonly pidNamespace: string;
  /** The container's root on the host. */
  readonly rootUid: number;
}

export interface IdentityParts {
  readonly native: Pick<Native, 'peerCredentials'>;
  readonly store: Pick<InstanceStore, 'list'>;
  readonly runtime: Pick<Runtime, 'initPid'>;
}

/** How deep containers in containers may go. */
const MAX_PARENTS = 64;

export class GuestIdentity {
  private readonly parts: IdentityParts;
  private readonly byNamespace = new Map<string, KnownGuest>();
  private readonly hostNamespace = namespaceOf('self');

  constructor(parts: IdentityParts) {
    this.parts = parts;
  }

  /** The guest whose root is the peer of this connected socket; null for everybody else. */
  identify(socketFd: number): Guest | null {
    const peer = this.parts.native.peerCredentials(socketFd);
    let pid = peer.pid;
    for (let hops = 0; pid > 0 && hops < MAX_PARENTS; hops++) {
      const namespace = namespaceOf(String(pid));
      if (namespace === null || namespace === this.hostNamespace) return null;
      const guest = this.find(namespace);
      if (guest !== null) return guest.rootUid === peer.uid ? guest : null;
      pid = parentOf(pid);
    }
    return null;
  }

  private find(namespace: string): KnownGuest | null {
    const known = this.byNamespace.get(namespace);
    if (known !== undefined && this.parts.runtime.initPid(known.id) === known.initPid) return known;
    this.refresh();
    return this.byNamespace.get(namespace) ?? null;
  }

  /** Looks at the containers that were started since the last time, and forgets those that ended. */
  private refresh(): void {
    const before = new Map([...this.byNamespace.values()].map((guest) => [guest.id, guest]));
    this.byNamespace.clear();
    for (const { id } of this.parts.store.list()) {
      const initPid = this.parts.runtime.initPid(id);
      if (initPid === 0) continue;
      const kept = before.get(id);
      const guest = kept?.initPid === initPid ? kept : look(id, initPid);
      if (guest !== null) this.byNamespace.set(guest.pidNamespace, guest);
    }
  }
}

function look(id: string, initPid: number): KnownGuest | null {
  const pidNamespace = namespaceOf(String(initPid));
  const rootUid = rootUidOf(initPid);
  return pidNamespace === null || rootUid === null ? null : { id, initPid, pidNamespace, rootUid };
}

function namespaceOf(pid: string): string | null {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    // It has ended: nobody to be identified.
    return null;
  }
}

function rootUidOf(pid: number): number | null {
  for (const line of readProc(pid, 'uid_map').split('\n')) {
    const [inside, outside] = line.trim().split(/\s+/);
    if (inside === '0' && outside !== undefined) return Number(outside);
  }
  return null;
}

/** 0 when there is none. */
function parentOf(pid: number): number {
  const found = /^PPid:\s*(\d+)$/m.exec(readProc(pid, 'status'));
  return Number(found?.[1] ?? '0');
}

/** Empty when the process has ended. */
function readProc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${String(pid)}/${file}`, 'utf8');
  } catch {
    return '';
  }
}
