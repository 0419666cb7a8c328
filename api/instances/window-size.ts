/** A terminal's size as clients ask for it; null when it is none (LXD leaves the size alone then). */
export function clampSize(asked: {
  readonly width: number;
  readonly height: number;
}): { readonly columns: number; readonly rows: number } | null {
  if (asked.width <= 0 || asked.height <= 0) return null;
  // The kernel keeps both in 16 bits.
  return { columns: Math.min(asked.width, 65_535), rows: Math.min(asked.height, 65_535) };
}
