/** Shapes of `/1.0/profiles`. Go clients send null for what they leave empty. */
import { z } from 'zod';
import { givenMap } from './given-map.ts';

const config = z.record(z.string(), z.string());
const devices = z.record(z.string(), config);

export const profilePut = z.object({
  config: givenMap.nullish(),
  description: z.string().nullish(),
  devices: z.record(z.string(), givenMap).nullish(),
});

export const profilesPost = profilePut.extend({ name: z.string() });
export const profilePost = z.object({ name: z.string() });

export const profile = z.object({
  config,
  description: z.string(),
  devices,
  name: z.string(),
  used_by: z.array(z.string()),
});
export type ProfileWire = z.output<typeof profile>;

export const profileList = z.array(z.union([z.string(), profile]));
