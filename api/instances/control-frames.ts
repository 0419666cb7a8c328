/** What clients send on the control socket of a terminal. */
import type { z } from 'zod';

/** A terminal's size as clients ask for it; null when it is none (LXD leaves the size alone then). */
export function clampSize(asked: {
  readonly width: number;
  readonly height: number;
}): { readonly columns: number; readonly rows: number } | null {
  if (asked.width <= 0 || asked.height <= 0) return null;
  // The kernel keeps both in 16 bits.
  return { columns: Math.min(asked.width, 65_535), rows: Math.min(asked.height, 65_535) };
}

/** An order on a control socket; null when the frame is none. Broken JSON is ignored, as by LXD. */
export function readOrder<T>(frame: Buffer, schema: z.ZodType<T>): T | null {
  let json: unknown;
  try {
    json = JSON.parse(frame.toString('utf8'));
  } catch {
    return null;
  }
  return schema.safeParse(json).data ?? null;
}
