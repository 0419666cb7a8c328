/** Names and addresses that are made up: instance names, MAC addresses. */
import { randomBytes, randomInt } from 'node:crypto';
import { Fault } from '../../process/fault.ts';
import type { Expanded } from './types.ts';

const FIRST = [
  'able', 'airy', 'apt', 'brave', 'brisk', 'calm', 'clear', 'clever', 'cosmic', 'crisp', 'deep', 'eager',
  'early', 'fair', 'fast', 'fine', 'fond', 'free', 'fresh', 'gentle', 'glad', 'golden', 'good', 'grand',
  'happy', 'hardy', 'humble', 'jolly', 'keen', 'kind', 'large', 'light', 'lively', 'lucky', 'mellow', 'merry',
  'mighty', 'modest', 'neat', 'nimble', 'noble', 'patient', 'polite', 'proud', 'quick', 'quiet', 'rapid', 'ready',
  'rosy', 'sharp', 'shiny', 'smart', 'snug', 'solid', 'steady', 'sunny', 'swift', 'tidy', 'true', 'vivid',
  'warm', 'wise', 'witty', 'young',
]; // prettier-ignore

const SECOND = [
  'anchor', 'badger', 'barge', 'beacon', 'bear', 'beaver', 'bison', 'boat', 'buoy', 'canoe', 'cod', 'coral',
  'crab', 'crane', 'deer', 'dolphin', 'dove', 'duck', 'eagle', 'eel', 'falcon', 'ferry', 'finch', 'fox',
  'frigate', 'goose', 'gull', 'harbor', 'hare', 'heron', 'herring', 'kayak', 'kite', 'lagoon', 'lark', 'lobster',
  'lynx', 'marlin', 'mast', 'moose', 'mussel', 'otter', 'owl', 'oyster', 'pelican', 'perch', 'pike', 'puffin',
  'raft', 'raven', 'reef', 'robin', 'rudder', 'sail', 'salmon', 'seal', 'shark', 'shrimp', 'sloop', 'sparrow',
  'squid', 'swan', 'tern', 'walrus',
]; // prettier-ignore

/** A name of two words that `isTaken` refuses none of; a number is added when words alone are all taken. */
export function generateName(isTaken: (name: string) => boolean): string {
  for (let attempt = 0; ; attempt += 1) {
    const words = `${pick(FIRST)}-${pick(SECOND)}`;
    const name = attempt < 20 ? words : `${words}-${String(randomInt(1_000_000))}`;
    if (!isTaken(name)) return name;
  }
}

function pick(words: readonly string[]): string {
  return words[randomInt(words.length)] ?? 'ship';
}

/** What the instance is called inside: `slipway.hostname`, else its name. */
export function hostnameOf({ row, config }: Expanded): string {
  const own = config['slipway.hostname'] ?? '';
  return own === '' ? row.name : own;
}

/** Throws bad_request unless the name is a host name of LXD's grammar. */
export function checkInstanceName(name: string): void {
  if (/^[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/.test(name)) return;
  const shown = name.length > 64 ? `${name.slice(0, 64)}…` : name;
  throw new Fault(
    'bad_request',
    `Invalid instance name: ${JSON.stringify(shown)} is no host name; write 1 to 63 letters, digits and dashes, with a letter first and no dash at the end`,
  );
}

/** A MAC address `00:16:3e:…` that `isTaken` does not know. */
export function generateMac(isTaken: (mac: string) => boolean): string {
  for (;;) {
    const hex = randomBytes(3).toString('hex');
    const mac = `00:16:3e:${hex.slice(0, 2)}:${hex.slice(2, 4)}:${hex.slice(4, 6)}`;
    if (!isTaken(mac)) return mac;
  }
}
