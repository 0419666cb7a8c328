/**
 * Ends on the host of the nics of containers.
 *
 * liblxc removes those it made, while it ends. The rest (nics added to a
 * running container, those of a monitor that was killed) goes with the
 * container's network namespace, which the kernel clears away when it finds
 * the time, and not before the last process that has it open: a start right
 * after the stop would find the name taken.
 */
import { Fault, isFault } from '../../process/fault.ts';
import type { StringMap } from '../db/rows.ts';
import { isThere } from '../storage/layout.ts';
import { runTool } from '../tools.ts';

const RECORDED = /^volatile\..+\.host_name$/;

/** Keys of an instance's config that name its ends on the host. */
export function hostNameKeys(config: StringMap): string[] {
  return Object.keys(config).filter((key) => RECORDED.test(key));
}

/** Whether the host has a network interface of this name. */
export function isOnHost(link: string): Promise<boolean> {
  return isThere(`/sys/class/net/${link}`);
}

/**
 * Fault `bad_request` when the host has an interface of this name. To be asked
 * before the name is recorded: what is recorded is the instance's own.
 */
export async function refuseTaken(device: string, hostName: string | null): Promise<void> {
  if (hostName === null || !(await isOnHost(hostName))) return;
  throw new Fault(
    'bad_request',
    `device "${device}": a network interface "${hostName}" exists on the host; choose another host_name, or remove that interface`,
  );
}

/** Removes a link that may be gone. */
export async function removeLink(link: string): Promise<void> {
  try {
    await runTool('ip', ['link', 'delete', link]);
  } catch (err) {
    if (!isFault(err, 'tool_failed') || (await isOnHost(link))) throw err;
  }
}

/** Removes what is left of the nics of a container that has ended. Idempotent. */
export async function removeHostEnds(config: StringMap): Promise<void> {
  for (const key of hostNameKeys(config)) {
    const link = config[key] ?? '';
    if (link !== '' && (await isOnHost(link))) await removeLink(link);
  }
}
