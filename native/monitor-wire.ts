/** liblxc's command protocol: names of sockets, requests, states. Pure. */
import { constants } from 'node:os';
import { Fault } from '../process/fault.ts';
import type { ContainerState } from './types.ts';

/** Numbers of the commands (liblxc 4 to 7; they are only ever appended to). */
export const COMMAND = {
  ttyFd: 0,
  state: 3,
  initPid: 4,
  cgroup: 6,
  configItem: 7,
  addStateClient: 10,
  consoleLog: 11,
  devptsFd: 21,
} as const;

/** In the order of liblxc's numbers. */
export const STATES: readonly ContainerState[] = [
  'STOPPED',
  'STARTING',
  'RUNNING',
  'STOPPING',
  'ABORTING',
  'FREEZING',
  'FROZEN',
  'THAWED',
];

/** Length of a request without its data, and of an answer without its. */
export const HEAD_BYTES = 16;

/** Longest name that liblxc uses as it is: sun_path without the NULs around it. */
const NAME_LIMIT = 105;
const FNV_OFFSET = 0xcbf29ce484222325n;
const FNV_PRIME = 0x100000001b3n;
const MASK = 0xffffffffffffffffn;

/** 64-bit FNV-1a as 16 hexadecimal digits. */
export function fnv1a64(bytes: Buffer): string {
  let hash = FNV_OFFSET;
  for (const byte of bytes) hash = ((hash ^ BigInt(byte)) * FNV_PRIME) & MASK;
  return hash.toString(16).padStart(16, '0');
}

/**
 * The abstract address, exactly as long as it must be: NUL, then
 * `<lxcpath>/<name>/command`, or a hash of path and name where that is too long.
 */
export function commandAddress(lxcPath: string, name: string): Buffer {
  const plain = Buffer.from(`\0${lxcPath}/${name}/command`);
  if (plain.length - 1 <= NAME_LIMIT) return plain;
  return Buffer.from(`\0lxc/${fnv1a64(Buffer.from(`${lxcPath}/${name}`))}/command`);
}

/** A request: command, length of the data, a value that some commands take instead, the data. */
export function encodeCommand(command: number, data: Buffer, value = 0): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeInt32LE(command, 0);
  head.writeInt32LE(data.length, 4);
  head.writeBigInt64LE(BigInt(value), 8);
  return Buffer.concat([head, data]);
}

/** Text up to the NUL that ends it. */
export function decodeText(data: Buffer): string {
  const end = data.indexOf(0);
  return data.subarray(0, end < 0 ? data.length : end).toString();
}

export function decodeState(value: number): ContainerState {
  const state = STATES[value];
  if (state === undefined) throw new Fault('native_failed', `monitor told an unknown state ${String(value)}`);
  return state;
}

/** True for what connect() says when nobody listens: the container is stopped. */
export function isNobody(errno: number): boolean {
  return errno === constants.errno.ECONNREFUSED || errno === constants.errno.ENOENT;
}
