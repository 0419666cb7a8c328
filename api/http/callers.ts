/**
 * Who is calling: a peer of the unix socket (who could open it is trusted), or
 * a TLS client by its certificate. Nothing in a request's headers adds trust.
 */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { Requestor } from '../events/events.ts';
import type { CertificateRow } from '../db/rows.ts';
import { userName } from './system-names.ts';
import type { Caller } from './route.ts';

export interface CallersParts {
  /** SO_PEERCRED of a descriptor. */
  readonly peerCredentials: (fd: number) => { readonly uid: number };
  /** The trust store: the row of exactly this certificate, when its dates are good. */
  readonly trusted: (der: Buffer) => CertificateRow | null;
}

export interface Identity {
  readonly caller: Caller;
  /** A certificate of type metrics: good for `/1.0/metrics` alone. */
  readonly metricsOnly: boolean;
}

export class Callers {
  private readonly parts: CallersParts;
  /** What cannot change during a connection; trust is looked up for every request. */
  private readonly peers = new WeakMap<Socket, Caller>();

  constructor(parts: CallersParts) {
    this.parts = parts;
  }

  identify(req: IncomingMessage): Identity {
    const { socket } = req;
    let peer = this.peers.get(socket);
    if (peer === undefined) {
      peer = socket instanceof TLSSocket ? tlsPeer(socket) : this.unixPeer(socket);
      this.peers.set(socket, peer);
    }
    if (peer.trusted || peer.certificate === null) return { caller: peer, metricsOnly: false };
    const row = this.parts.trusted(peer.certificate);
    if (row === null) return { caller: peer, metricsOnly: false };
    return { caller: trustedPeer(peer, row), metricsOnly: row.type === 'metrics' };
  }

  private unixPeer(socket: Socket): Caller {
    const { uid } = this.parts.peerCredentials(descriptorOf(socket));
    const requestor: Requestor = { username: userName(uid), protocol: 'unix', address: '@' };
    return { trusted: true, admin: true, projects: null, requestor, certificate: null };
  }
}

function tlsPeer(socket: TLSSocket): Caller {
  const host = socket.remoteAddress ?? '';
  const shown = host.includes(':') ? `[${host}]` : host;
  const requestor: Requestor = {
    username: '',
    protocol: 'tls',
    address: `${shown}:${String(socket.remotePort ?? 0)}`,
  };
  const certificate = socket.getPeerX509Certificate()?.raw ?? null;
  return { trusted: false, admin: false, projects: [], requestor, certificate };
}

function trustedPeer(peer: Caller, row: CertificateRow): Caller {
  const requestor: Requestor = { ...peer.requestor, username: row.fingerprint };
  const isClient = row.type === 'client';
  return {
    trusted: isClient,
    admin: isClient && !row.restricted,
    projects: row.restricted ? row.projects : null,
    requestor,
    certificate: peer.certificate,
  };
}

function descriptorOf(socket: Socket): number {
  const handle: unknown = Reflect.get(socket, '_handle');
  const fd: unknown = typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'fd') : undefined;
  // The platform offers no public way to the descriptor of a socket.
  if (typeof fd !== 'number' || fd < 0) throw new Error('a connection of the unix socket has no descriptor');
  return fd;
}
