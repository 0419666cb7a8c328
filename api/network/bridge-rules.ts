/**
 * The nftables rules of managed bridges, as text for `nft -f -`. Pure.
 *
 * All live in the table `inet slipway`, in base chains of their own per bridge,
 * so that bridges come and go without touching each other or other tables:
 *
 *   pstrt.<bridge>  source NAT of the bridge's subnets
 *   fwd.<bridge>    forwarding from and to the bridge
 *   in.<bridge>     DHCP, DNS and the ICMP they need, to the host
 *   out.<bridge>    their answers
 *
 * An "accept" here does not overrule another table's drop: nftables asks all
 * tables, and each must let a packet pass.
 */
import type { StringMap } from '../db/rows.ts';
import type { Family } from './addresses.ts';
import { networkOf } from './addresses.ts';
import { bridgeSubnet, isOn } from './network-keys.ts';

export const TABLE = 'slipway';

export interface RuleSection {
  readonly name: 'nat' | 'forward' | 'input' | 'output';
  /** A complete transaction: replaces the section's chain, or removes it. */
  readonly script: string;
}

const FAMILIES: readonly Family[] = [4, 6];

/** One transaction for each chain of the bridge. */
export function bridgeRules(bridge: string, config: StringMap): RuleSection[] {
  return [
    section('nat', `pstrt.${bridge}`, 'type nat hook postrouting priority 100', natRules(config)),
    section('forward', `fwd.${bridge}`, 'type filter hook forward priority 0', forwardRules(bridge, config)),
    section('input', `in.${bridge}`, 'type filter hook input priority 0', inputRules(bridge, config)),
    section('output', `out.${bridge}`, 'type filter hook output priority 0', outputRules(bridge, config)),
  ];
}

/** Removes every chain of the bridge; no error when there is none. */
export function removalOf(bridge: string): string {
  return ['pstrt', 'fwd', 'in', 'out'].map((chain) => removeChain('inet', `${chain}.${bridge}`)).join('');
}

/** `add` before `delete`: in one transaction this deletes a chain that may not be there. */
export function removeChain(family: 'inet' | 'bridge', chain: string): string {
  const at = `${family} ${TABLE} ${chain}`;
  return `add table ${family} ${TABLE}\nadd chain ${at}\nflush chain ${at}\ndelete chain ${at}\n`;
}

function section(
  name: RuleSection['name'],
  chain: string,
  hook: string,
  rules: readonly string[],
): RuleSection {
  const clear = removeChain('inet', chain);
  if (rules.length === 0) return { name, script: clear };
  const at = `inet ${TABLE} ${chain}`;
  const lines = rules.map((rule) => `add rule ${at} ${rule}\n`);
  // The whole text is one transaction: there is no moment without the chain.
  return { name, script: `${clear}add chain ${at} { ${hook}; policy accept; }\n${lines.join('')}` };
}

function natRules(config: StringMap): string[] {
  return FAMILIES.flatMap((family) => {
    const subnet = bridgeSubnet(config, family);
    const key = `ipv${String(family)}.nat`;
    if (subnet === null || !isOn(config[key], false)) return [];
    const ip = family === 4 ? 'ip' : 'ip6';
    const net = networkOf(subnet);
    const source = config[`${key}.address`] ?? '';
    const target = source === '' ? 'masquerade' : `snat ${ip} to ${source}`;
    return [`${ip} saddr ${net} ${ip} daddr != ${net} ${target}`];
  });
}

function forwardRules(bridge: string, config: StringMap): string[] {
  const own = `iifname "${bridge}" oifname "${bridge}" accept`;
  const rules = FAMILIES.flatMap((family) => {
    const key = `ipv${String(family)}`;
    if (bridgeSubnet(config, family) === null) return [];
    const match = `meta nfproto ipv${String(family)}`;
    const verdict = !isOn(config[`${key}.routing`], true) ? 'reject' : 'accept';
    if (verdict === 'accept' && !isOn(config[`${key}.firewall`], true)) return [];
    return [`${match} oifname "${bridge}" ${verdict}`, `${match} iifname "${bridge}" ${verdict}`];
  });
  // Where br_netfilter is on, frames inside the bridge pass here as well.
  return rules.length === 0 ? [] : [own, ...rules];
}

function isGuarded(config: StringMap, family: Family): boolean {
  return bridgeSubnet(config, family) !== null && isOn(config[`ipv${String(family)}.firewall`], true);
}

function inputRules(bridge: string, config: StringMap): string[] {
  const from = `iifname "${bridge}"`;
  const rules: string[] = [];
  if (isGuarded(config, 4)) {
    rules.push(`${from} udp dport 67 accept`);
    rules.push(`${from} icmp type { destination-unreachable, time-exceeded, parameter-problem } accept`);
  }
  if (isGuarded(config, 6)) {
    rules.push(`${from} udp dport 547 accept`);
    rules.push(
      `${from} icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem, ` +
        'nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, mld2-listener-report } accept',
    );
  }
  return rules.length === 0 ? [] : [...dns(from, 'dport'), ...rules];
}

function outputRules(bridge: string, config: StringMap): string[] {
  const to = `oifname "${bridge}"`;
  const rules: string[] = [];
  if (isGuarded(config, 4)) {
    rules.push(`${to} udp sport 67 accept`);
    rules.push(`${to} icmp type { destination-unreachable, time-exceeded, parameter-problem } accept`);
  }
  if (isGuarded(config, 6)) {
    rules.push(`${to} udp sport 547 accept`);
    rules.push(
      `${to} icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem, echo-request, ` +
        'nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, mld2-listener-report } accept',
    );
  }
  return rules.length === 0 ? [] : [...dns(to, 'sport'), ...rules];
}

function dns(match: string, port: 'sport' | 'dport'): string[] {
  return [`${match} udp ${port} 53 accept`, `${match} tcp ${port} 53 accept`];
}
