const PATIENCE_MS = 5000;

/**
 * For the end of things: resolves when the promise has settled, in whatever
 * way, or when the other side did not react for five seconds (or `patienceMs`).
 */
export async function quietly(ending: Promise<unknown>, patienceMs = PATIENCE_MS): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, patienceMs);
  });
  await Promise.race([ending.catch(() => undefined), late]);
  clearTimeout(timer);
}
