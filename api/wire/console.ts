/** Shape of `POST /1.0/instances/{name}/console`. Its control frames are exec's resizes. */
import { z } from 'zod';

export const instanceConsolePost = z.object({
  width: z.number().int().nullish(),
  height: z.number().int().nullish(),
  type: z.string().nullish(),
});

export type InstanceConsolePost = z.infer<typeof instanceConsolePost>;
