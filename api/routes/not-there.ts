/** Paths of LXD whose features this server does not have: known, and refused. */
import { Fault } from '../../process/fault.ts';
import type { Route } from '../http/route.ts';

const NOT_THERE: readonly (readonly [path: string, what: string])[] = [
  ['/1.0/instances/{name}/sftp', 'SFTP'],
  ['/1.0/network-acls', 'network ACLs'],
  ['/1.0/network-acls/{name}', 'network ACLs'],
  ['/1.0/network-zones', 'network zones'],
  ['/1.0/network-zones/{name}', 'network zones'],
  ['/1.0/networks/{name}/forwards', 'network forwards'],
  ['/1.0/networks/{name}/forwards/{address}', 'network forwards'],
  ['/1.0/networks/{name}/peers', 'network peers'],
  ['/1.0/networks/{name}/peers/{peer}', 'network peers'],
];

/** Reading is enough: any other method of a known path is answered alike. */
export function notThereRoutes(): Route[] {
  return NOT_THERE.map(([path, what]) => ({
    method: 'GET',
    path,
    access: 'project',
    summary: `Answers that this server has no ${what}.`,
    handle: () => Promise.reject(new Fault('not_implemented', `${what}: not implemented by this server`)),
  }));
}
