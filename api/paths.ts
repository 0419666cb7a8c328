/** Where everything is on disk, from the state folder (`/var/lib/slipway` or `$SLIPWAY_DIR`). */
import { join } from 'node:path';

export interface Paths {
  readonly state: string;
  readonly socket: string;
  readonly database: string;
  /** Logs of the daemon and, below `<log>/<instance>`, of each instance. */
  readonly log: string;
  readonly images: string;
  readonly pools: string;
  readonly networks: string;
  readonly devices: string;
  /** One folder for each instance that has a config drive. */
  readonly configDrives: string;
  /** liblxc's lxcpath: its command sockets are named after it. Nothing is stored there. */
  readonly lxc: string;
  readonly serverCertificate: string;
  readonly serverKey: string;
}

export function pathsBelow(state: string, log: string): Paths {
  return {
    state,
    socket: join(state, 'unix.socket'),
    database: join(state, 'database', 'local.db'),
    log,
    images: join(state, 'images'),
    pools: join(state, 'storage-pools'),
    networks: join(state, 'networks'),
    devices: join(state, 'devices'),
    configDrives: join(state, 'config-drives'),
    lxc: join(state, 'lxc'),
    serverCertificate: join(state, 'server.crt'),
    serverKey: join(state, 'server.key'),
  };
}

/** Name of an instance in the kernel and on disk: `<name>`, or `<project>_<name>` outside `default`. */
export function containerName(project: string, name: string): string {
  return project === 'default' ? name : `${project}_${name}`;
}

/** The inverse; project names hold no `_`, so the last one parts them. */
export function splitContainerName(text: string): { project: string; name: string } {
  const at = text.lastIndexOf('_');
  return at < 0
    ? { project: 'default', name: text }
    : { project: text.slice(0, at), name: text.slice(at + 1) };
}
