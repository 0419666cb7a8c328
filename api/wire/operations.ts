/** Shapes of `/1.0/operations`. */
import { z } from 'zod';

export const operation = z.object({
  id: z.string(),
  class: z.enum(['task', 'websocket', 'token']),
  description: z.string(),
  created_at: z.string(),
  updated_at: z.string(),
  status: z.string(),
  status_code: z.number().int(),
  resources: z.record(z.string(), z.array(z.string())),
  metadata: z.record(z.string(), z.unknown()).nullable(),
  may_cancel: z.boolean(),
  err: z.string(),
  location: z.string(),
});

/** URLs, or with recursion the objects, by the lower-case name of their status. */
export const operationList = z.record(z.string(), z.array(z.union([z.string(), operation])));
