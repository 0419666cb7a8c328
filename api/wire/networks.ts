/** Shapes of `/1.0/networks`. */
import { z } from 'zod';
import { givenMap } from './given-map.ts';

const config = z.record(z.string(), z.string());

export const networkPut = z.object({
  config: givenMap.nullish(),
  description: z.string().nullish(),
});

export const networksPost = networkPut.extend({
  name: z.string(),
  /** '' stands for bridge. */
  type: z.string().nullish(),
});

export const networkPost = z.object({ name: z.string() });

export const network = z.object({
  config,
  description: z.string(),
  name: z.string(),
  type: z.string(),
  used_by: z.array(z.string()).nullable(),
  managed: z.boolean(),
  status: z.string(),
  locations: z.array(z.string()).nullable(),
});

export const networkList = z.array(z.union([z.string(), network]));

export const networkLease = z.object({
  hostname: z.string(),
  hwaddr: z.string(),
  address: z.string(),
  type: z.enum(['static', 'dynamic', 'gateway']),
  location: z.string(),
});

export const networkLeases = z.array(networkLease);

export const networkState = z.object({
  addresses: z.array(
    z.object({ family: z.string(), address: z.string(), netmask: z.string(), scope: z.string() }),
  ),
  counters: z.object({
    bytes_received: z.number(),
    bytes_sent: z.number(),
    packets_received: z.number(),
    packets_sent: z.number(),
  }),
  hwaddr: z.string(),
  mtu: z.number(),
  state: z.string(),
  type: z.string(),
  bond: z
    .object({
      mode: z.string(),
      transmit_policy: z.string(),
      up_delay: z.number(),
      down_delay: z.number(),
      mii_frequency: z.number(),
      mii_state: z.string(),
      lower_devices: z.array(z.string()),
    })
    .nullable(),
  bridge: z
    .object({
      id: z.string(),
      stp: z.boolean(),
      forward_delay: z.number(),
      vlan_default: z.number(),
      vlan_filtering: z.boolean(),
      upper_devices: z.array(z.string()),
    })
    .nullable(),
  vlan: z.object({ lower_device: z.string(), vid: z.number() }).nullable(),
  ovn: z.object({ chassis: z.string() }).nullable(),
});

export type NetworkPut = z.infer<typeof networkPut>;
export type NetworksPost = z.infer<typeof networksPost>;
export type NetworkPost = z.infer<typeof networkPost>;
export type NetworkWire = z.infer<typeof network>;
export type NetworkLeaseWire = z.infer<typeof networkLease>;
export type NetworkStateWire = z.infer<typeof networkState>;
