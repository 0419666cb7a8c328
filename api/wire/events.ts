/** Messages of the `/1.0/events` websocket: one JSON object per text message. */
import { z } from 'zod';

export const EVENT_TYPES = ['operation', 'logging', 'lifecycle'] as const;

export const event = z.object({
  type: z.enum(EVENT_TYPES),
  timestamp: z.string(),
  metadata: z.unknown(),
  location: z.string(),
  project: z.string().optional(),
});
