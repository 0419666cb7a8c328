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

/** A sync answer whose metadata has this shape. */
export function syncEnvelope(metadata: z.ZodType): z.ZodType {
  return z.object({
    type: z.literal('sync'),
    status: z.literal('Success'),
    status_code: z.literal(200),
    operation: z.literal(''),
    error_code: z.literal(0),
    error: z.literal(''),
    metadata,
  });
}

/** An async answer: the operation that has been started. */
export function asyncEnvelope(operation: z.ZodType): z.ZodType {
  return z.object({
    type: z.literal('async'),
    status: z.literal('Operation created'),
    status_code: z.literal(100),
    operation: z.string(),
    error_code: z.literal(0),
    error: z.literal(''),
    metadata: operation,
  });
}
