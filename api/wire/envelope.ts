/** The seven keys around every JSON answer of `/1.0`. */
import { z } from 'zod';

export const errorEnvelope = z.object({
  type: z.literal('error'),
  status: z.literal(''),
  status_code: z.literal(0),
  operation: z.literal(''),
  error_code: z.number().int(),
  error: z.string(),
  metadata: z.null(),
});

/** An answer, or an operation that was started; `operation` is the URL of the latter. */
export const envelope = z.object({
  type: z.enum(['sync', 'async']),
  status: z.string(),
  status_code: z.number().int(),
  operation: z.string(),
  error_code: z.literal(0),
  error: z.literal(''),
  metadata: z.unknown(),
});
