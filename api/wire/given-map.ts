/** Maps of texts as clients send them. */
import { z } from 'zod';

/** A null value is Go's zero value: the empty text, which unsets its key. */
export const givenMap = z.record(
  z.string(),
  z
    .string()
    .nullable()
    .transform((value) => value ?? ''),
);
