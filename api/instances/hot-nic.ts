/** Adds and removes nics of a running container. */
import { faultPoint } from '../../process/fault-points.ts';
import { steps } from '../../native/steps.ts';
import { Fault } from '../../process/fault.ts';
import type { StringMap } from '../db/rows.ts';
import { runTool } from '../tools.ts';
import { isOnHost, refuseTaken, removeLink } from './host-ends.ts';
import { bringBack, cardState, holdNetwork, type LentCard } from './lent-cards.ts';
import type { NicLink } from './lxc-config.ts';
import type { NicPlan } from './nics.ts';
import { planNic } from './nics.ts';
import type { Running } from './power.ts';
import type { RuntimeParts } from './runtime-parts.ts';
import { nicNames } from './start.ts';
import type { Expanded } from './types.ts';
import type { ConfigChanges } from './volatile-keys.ts';

async function plan(
  parts: RuntimeParts,
  running: Running,
  expanded: Expanded,
  device: string,
  config: StringMap,
): Promise<NicPlan> {
  const [there] = await parts.native.interfaces([running.initPid]);
  const taken = new Set((there ?? []).map((nic) => nic.name));
  return planNic(expanded, device, config, (n) => parts.networks.managed(n), nicNames, taken);
}

export const hotPlugNic = {
  /** Makes the link and moves it into the container; returns what was chosen as volatile keys. */
  async plug(
    parts: RuntimeParts,
    running: Running,
    expanded: Expanded,
    device: string,
    config: StringMap,
  ): Promise<StringMap> {
    const { link, bridged, volatile: chosen } = await plan(parts, running, expanded, device, config);
    const pid = String(running.initPid);
    const card = link.kind === 'phys' ? (link.link ?? '') : null;
    const guest = card ?? `sw${nicNames.hostName().slice(4)}`;
    const volatile = card === null ? chosen : { ...chosen, ...(await cardState(device, card)) };
    await refuseTaken(device, link.hostName);
    const saved = parts.store.byId(expanded.row.id).config;
    // A move that fails at the name may have happened: the nic is in the guest, as it was called here.
    let inside = guest;
    // Said before it is done: a start after a crash finds the link by its name.
    await parts.store.setConfig(expanded.row.id, volatile);
    faultPoint('update.nic-noted');
    try {
      // First: it may have to make the bridge.
      if (bridged !== null) await parts.networks.plug(bridged);
      if (link.kind === 'veth') await addVeth(link, guest);
      else if (link.kind === 'macvlan') {
        await runTool('ip', [
          'link',
          'add',
          'link',
          link.link ?? '',
          'name',
          guest,
          'type',
          'macvlan',
          'mode',
          'bridge',
        ]);
      } else await holdNetwork(running);
      if (link.hwaddr !== null) await runTool('ip', ['link', 'set', guest, 'address', link.hwaddr]);
      if (link.mtu !== null) await runTool('ip', ['link', 'set', guest, 'mtu', link.mtu]);
      faultPoint('update.nic-made');
      await runTool('ip', ['link', 'set', guest, 'netns', pid, 'name', link.name]);
      inside = link.name;
      if (bridged !== null && (await parts.networks.needsChecksums(bridged)))
        await parts.native.run([steps.checksumsOff(running.initPid, link.name)]);
      await inContainer(running, ['link', 'set', link.name, 'up']);
      if (bridged !== null) await parts.networks.plugged(bridged);
      faultPoint('update.nic-plugged');
      return volatile;
    } catch (err) {
      if (bridged !== null) await parts.networks.unplug(bridged);
      if (card !== null) {
        const lent = { device, card, config: volatile };
        await returnCard(parts, running, { ...link, name: inside }, lent);
      } else if (link.kind === 'macvlan' && (await nameInside(parts, running, inside, null)) !== null) {
        await inContainer(running, ['link', 'delete', inside]);
      } else await removeLink(link.hostName ?? guest);
      await parts.store.setConfig(expanded.row.id, keysAsBefore(saved, volatile));
      throw new Fault('bad_request', `add nic "${device}" to the running container`, { cause: err });
    }
  },

  /** Limits, filters and addresses changed: the link stays. */
  async replug(parts: RuntimeParts, expanded: Expanded, device: string, config: StringMap): Promise<void> {
    const hostName = expanded.row.config[`volatile.${device}.host_name`] ?? '';
    const kept = { hostName: (): string => hostName, hwaddr: (): string => '' };
    const { bridged } = planNic(expanded, device, config, (n) => parts.networks.managed(n), kept, new Set());
    if (bridged === null || bridged.hostName === '') return;
    await parts.networks.plug(bridged);
    await parts.networks.plugged(bridged);
  },
};

/** Takes back the volatile.* keys of a nic that is gone again. Its end on the host has gone with it. */
export function keysAsBefore(saved: StringMap, chosen: ConfigChanges): ConfigChanges {
  const before = (key: string): string | null => (key.endsWith('.host_name') ? null : (saved[key] ?? null));
  return Object.fromEntries(Object.keys(chosen).map((key) => [key, before(key)]));
}

async function addVeth({ hostName, link, mtu }: NicLink, guest: string): Promise<void> {
  const host = hostName ?? '';
  const size = mtu === null ? [] : ['mtu', mtu];
  await runTool('ip', ['link', 'add', host, ...size, 'type', 'veth', 'peer', 'name', guest]);
  if (link !== null) await runTool('ip', ['link', 'set', host, 'master', link]);
  await runTool('ip', ['link', 'set', host, 'up']);
}

async function inContainer(running: Running, args: readonly string[]): Promise<void> {
  await runTool('nsenter', [`--net=${networkOf(running)}`, 'ip', ...args]);
}

function networkOf(running: Running): string {
  return `/proc/${String(running.initPid)}/ns/net`;
}

/** Takes a nic out of a running container; a physical one comes back to the host under its own name. */
export async function hotUnplugNic(
  parts: RuntimeParts,
  running: Running,
  expanded: Expanded,
  device: string,
  config: StringMap,
): Promise<void> {
  const hostName = expanded.row.config[`volatile.${device}.host_name`] ?? '';
  const kept = { hostName: (): string => hostName, hwaddr: (): string => '' };
  const { link, bridged } = planNic(
    expanded,
    device,
    config,
    (n) => parts.networks.managed(n),
    kept,
    new Set(),
  );
  // One that was never plugged: what has its name belongs to somebody else.
  const isKnown = link.kind === 'veth' ? hostName !== '' : isNamed(expanded, device, config);
  if (!isKnown) return;
  if (bridged !== null) await parts.networks.unplug(bridged);
  if (link.kind === 'veth') {
    await removeLink(hostName);
    return;
  }
  if (link.kind === 'macvlan') {
    const inside = await nameInside(parts, running, link.name, link.hwaddr);
    if (inside !== null) await inContainer(running, ['link', 'delete', inside]);
    return;
  }
  await returnCard(parts, running, link, {
    device,
    card: link.link ?? link.name,
    config: expanded.row.config,
  });
}

function isNamed(expanded: Expanded, device: string, config: StringMap): boolean {
  return (config['name'] ?? expanded.row.config[`volatile.${device}.name`]) !== undefined;
}

/** Takes a card of the host out of a running container, under whatever name it is there. */
async function returnCard(
  parts: RuntimeParts,
  running: Running,
  link: NicLink,
  lent: Omit<LentCard, 'inside'>,
): Promise<void> {
  const hwaddr = link.hwaddr ?? lent.config[`volatile.${lent.device}.last_state.hwaddr`] ?? null;
  const inside = await nameInside(parts, running, link.name, hwaddr);
  if (inside === null && !(await isOnHost(lent.card))) {
    throw new Fault(
      'bad_request',
      `nic "${lent.device}": the guest has no interface "${link.name}" to take back`,
    );
  }
  await bringBack(networkOf(running), { ...lent, inside: inside ?? link.name });
}

/** What the guest calls a nic now: it may have given it another name, or have deleted it (null). */
async function nameInside(
  parts: RuntimeParts,
  running: Running,
  name: string,
  hwaddr: string | null,
): Promise<string | null> {
  const [there = null] = await parts.native.interfaces([running.initPid]);
  const nics = (there ?? []).filter((nic) => nic.type !== 'loopback');
  const found =
    nics.find((nic) => nic.name === name) ??
    nics.find((nic) => hwaddr !== null && hwaddr !== '' && nic.hwaddr === hwaddr.toLowerCase());
  return found?.name ?? null;
}
