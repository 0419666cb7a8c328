/** Shapes of `/1.0/projects`. */
import { z } from 'zod';
import { givenMap } from './given-map.ts';

const config = z.record(z.string(), z.string());

export const projectPut = z.object({
  config: givenMap.nullish(),
  description: z.string().nullish(),
});

export const projectsPost = projectPut.extend({ name: z.string() });
export const projectPost = z.object({ name: z.string() });

export const project = z.object({
  config,
  description: z.string(),
  name: z.string(),
  used_by: z.array(z.string()),
});
export type ProjectWire = z.output<typeof project>;

export const projectList = z.array(z.union([z.string(), project]));

/** The capital letters are LXD's. */
export const projectState = z.object({
  resources: z.record(z.string(), z.object({ Limit: z.number().int(), Usage: z.number().int() })),
});
export type ProjectStateWire = z.output<typeof projectState>;
