/**
 * Interfaces of the host that were given to a running container.
 *
 * liblxc brings back those that a container was started with. One that was
 * given later would go with the container's network namespace: hardware goes
 * back under whatever name is free, anything else ends. So the namespace is
 * held while it has one, and the interface is fetched out of it.
 */
import { open, readFile } from 'node:fs/promises';
import { describeChain, Fault } from '../../process/fault.ts';
import type { StringMap } from '../db/rows.ts';
import { runTool } from '../tools.ts';
import { isOnHost } from './host-ends.ts';
import type { NicPlan } from './nics.ts';
import { planNics } from './nics.ts';
import type { Running } from './power.ts';
import type { RuntimeParts } from './runtime-parts.ts';
import type { Expanded } from './types.ts';

/** Names are those that were chosen when the nics were plugged in. */
export const KEPT_NAMES = { hostName: (): string => '', hwaddr: (): string => '' };

/**
 * What may be changed of a card that is lent, as volatile keys under LXD's
 * names. Fault `bad_request` when the host has no such interface.
 */
export async function cardState(device: string, card: string): Promise<StringMap> {
  if (!(await isOnHost(card))) {
    throw new Fault('bad_request', `device "${device}": the host has no interface "${card}" to lend`);
  }
  const read = async (file: string): Promise<string> =>
    (await readFile(`/sys/class/net/${card}/${file}`, 'utf8')).trim();
  return {
    [`volatile.${device}.last_state.hwaddr`]: await read('address'),
    [`volatile.${device}.last_state.mtu`]: await read('mtu'),
  };
}

const SAVED = /^volatile\..+\.last_state\.(hwaddr|mtu)$/;

/** Keys of `cardState` in an instance's config: they mean nothing when it has stopped. */
export function cardStateKeys(config: StringMap): string[] {
  return Object.keys(config).filter((key) => SAVED.test(key));
}

export interface LentCard {
  readonly device: string;
  /** Its name on the host. */
  readonly card: string;
  /** Its name in the container. */
  readonly inside: string;
  /** Config of the instance, with what `cardState` has noted. */
  readonly config: StringMap;
}

/** Gives a card that is back what `cardState` has noted of it. */
async function restore({ device, card, config }: LentCard): Promise<void> {
  const saved = (key: string): string => config[`volatile.${device}.last_state.${key}`] ?? '';
  if (saved('mtu') !== '') await runTool('ip', ['link', 'set', card, 'mtu', saved('mtu')]);
  if (saved('hwaddr') !== '') await runTool('ip', ['link', 'set', card, 'address', saved('hwaddr')]);
}

/** Brings a card back from the network namespace at a path, if it is not on the host already. */
export async function bringBack(namespace: string, lent: LentCard): Promise<void> {
  if (!(await isOnHost(lent.card))) {
    const host = String(process.pid);
    const move = ['ip', 'link', 'set', lent.inside, 'netns', host, 'name', lent.card];
    await runTool('nsenter', [`--net=${namespace}`, ...move]);
  }
  await restore(lent);
}

/** Keeps the container's network until `fetchCards`. */
export async function holdNetwork(running: Running): Promise<void> {
  running.network ??= await open(`/proc/${String(running.initPid)}/ns/net`);
}

/** For a container that was found running. */
export async function holdLentCards(
  parts: RuntimeParts,
  expanded: Expanded,
  running: Running,
): Promise<void> {
  try {
    if (cardsOf(parts, expanded).length > 0) await holdNetwork(running);
  } catch (err) {
    // It ends just now, or its network is gone from the database: it is followed all the same.
    parts.log.warn('the network of a container with interfaces of the host could not be held', {
      instance: expanded.row.name,
      error: describeChain(err),
    });
  }
}

/** Brings back what a container that has ended had of the host. */
export async function fetchCards(
  parts: RuntimeParts,
  expanded: Expanded,
  running: Running | null,
): Promise<void> {
  const network = running?.network ?? null;
  if (running !== null) running.network = null;
  const namespace = network === null ? null : `/proc/${String(process.pid)}/fd/${String(network.fd)}`;
  // The container has ended whatever becomes of a card: the kernel gives hardware back by itself.
  const warn = (err: unknown): void => {
    parts.log.warn('an interface of the host was not brought back as it was', {
      instance: expanded.row.name,
      error: describeChain(err),
    });
  };
  try {
    for (const nic of cardsOf(parts, expanded)) {
      // One that cannot come back must not keep the others.
      await fetchCard(nic, expanded, namespace).catch(warn);
    }
  } catch (err) {
    warn(err);
  } finally {
    await network?.close();
  }
}

async function fetchCard(
  { device, link }: NicPlan,
  expanded: Expanded,
  namespace: string | null,
): Promise<void> {
  const lent = {
    device,
    card: link.link ?? link.name,
    inside: link.name,
    config: expanded.row.config,
  };
  if (namespace !== null) await bringBack(namespace, lent);
  else if (await isOnHost(lent.card)) await restore(lent);
}

function cardsOf(parts: RuntimeParts, expanded: Expanded): NicPlan[] {
  const nics = planNics(expanded, (name) => parts.networks.managed(name), KEPT_NAMES);
  return nics.filter(({ link }) => link.kind === 'phys');
}
