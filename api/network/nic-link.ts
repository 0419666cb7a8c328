/** What needs the host side of a nic to exist: limits, isolation, vlans and routes. */
import { writeFile } from 'node:fs/promises';
import { Fault, isFault } from '../../process/fault.ts';
import type { BridgeParts } from './managed-bridge.ts';
import { rateOf } from './nic-rules.ts';
import { listOf } from './addresses.ts';
import { isOn } from './network-keys.ts';
import type { OvsPort } from './ovs-ports.ts';
import type { BridgedNic } from './types.ts';

type Parts = Pick<BridgeParts, 'runTool'>;

/** What one nic has beyond a plain link. */
export interface NicNote {
  readonly container: string;
  readonly device: string;
  readonly hostName: string;
  /** Where its routes are: the bridge, or the link itself. */
  readonly routeDev: string;
  readonly hasFilter: boolean;
  readonly hasLimit: boolean;
  readonly hasVlan: boolean;
  readonly routes4: readonly string[];
  readonly routes6: readonly string[];
  /** In an OVS bridge; null when it is in none. */
  readonly port: OvsPort | null;
}

/** Brings the link from one note to the next; `nic` is null when only routes are taken back. */
export async function applyLink(
  parts: Parts,
  nic: BridgedNic | null,
  before: NicNote,
  next: NicNote,
): Promise<void> {
  if (nic !== null) {
    await setIsolation(nic);
    if (next.hasLimit) await setLimits(parts, nic);
    if (next.hasVlan) await setVlan(parts, nic);
  }
  await setRoutes(parts, 4, next.routeDev, before.routes4, next.routes4);
  await setRoutes(parts, 6, next.routeDev, before.routes6, next.routes6);
}

/** `limits.ingress` is what the guest receives: a token bucket where the host sends to it. */
async function setLimits(parts: Parts, nic: BridgedNic): Promise<void> {
  const rate = String(rateOf(nic.config, 'limits.ingress'));
  const script = [
    `qdisc add dev ${nic.hostName} root handle 1:0 htb default 10`,
    `class add dev ${nic.hostName} parent 1:0 classid 1:10 htb rate ${rate}bit`,
  ].join('\n');
  await parts.runTool('tc', ['-batch', '-'], { stdin: `${script}\n` });
}

export async function clearLimits(parts: Parts, hostName: string): Promise<void> {
  try {
    await parts.runTool('tc', ['qdisc', 'del', 'dev', hostName, 'root']);
  } catch (err) {
    // No limit, or no link: nothing to clear.
    if (!isFault(err, 'tool_failed')) throw err;
  }
}

/** An isolated port of a bridge reaches only ports that are not. */
async function setIsolation(nic: BridgedNic): Promise<void> {
  if (!isOn(nic.config['security.port_isolation'], false)) return;
  try {
    await writeFile(`/sys/class/net/${nic.hostName}/brport/isolated`, '1');
  } catch (err) {
    throw new Fault('bad_request', `isolate the port "${nic.hostName}" of bridge "${nic.parent}"`, {
      cause: err,
    });
  }
}

async function setVlan(parts: Parts, nic: BridgedNic): Promise<void> {
  try {
    await writeFile(`/sys/class/net/${nic.parent}/bridge/vlan_filtering`, '1');
  } catch (err) {
    throw new Fault(
      'bad_request',
      `device "${nic.device}" asks for a vlan, but bridge "${nic.parent}" cannot filter vlans`,
      {
        cause: err,
      },
    );
  }
  const vlan = nic.config['vlan'] ?? '';
  const port = `dev ${nic.hostName}`;
  const tagged = listOf(nic.config['vlan.tagged']);
  const commands = [
    // Every port begins in vlan 1.
    ...(vlan === '' ? [] : [`vlan del ${port} vid 1`]),
    ...(vlan === '' || vlan === 'none' ? [] : [`vlan add ${port} vid ${vlan} pvid untagged master`]),
    ...tagged.map((id) => `vlan add ${port} vid ${id} master`),
  ];
  await parts.runTool('bridge', ['-force', '-batch', '-'], { stdin: `${commands.join('\n')}\n` });
}

async function setRoutes(
  parts: Parts,
  family: 4 | 6,
  dev: string,
  before: readonly string[],
  next: readonly string[],
): Promise<void> {
  const gone = before.filter((route) => !next.includes(route));
  const commands = [
    ...gone.map((route) => `route flush ${route} dev ${dev} proto boot`),
    ...next.map((route) => `route replace ${route} dev ${dev} proto boot`),
  ];
  if (commands.length === 0) return;
  await parts.runTool('ip', [`-${String(family)}`, '-batch', '-'], { stdin: `${commands.join('\n')}\n` });
}
