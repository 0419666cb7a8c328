/** Shapes of `/1.0/warnings`. */
import { z } from 'zod';

export const warningPut = z.object({ status: z.string() });

export const warning = z.object({
  status: z.enum(['new', 'acknowledged', 'resolved']),
  uuid: z.string(),
  location: z.string(),
  project: z.string(),
  type: z.string(),
  count: z.number().int(),
  first_seen_at: z.string(),
  last_seen_at: z.string(),
  last_message: z.string(),
  severity: z.enum(['low', 'moderate', 'high']),
  entity_url: z.string(),
});

export const warningList = z.array(z.union([z.string(), warning]));
export type WarningWire = z.output<typeof warning>;
