/** How instances end when the host does: they are shut down, and run again after the boot. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isFault } from '../../process/fault.ts';
import type { RuntimeParts } from './runtime-parts.ts';
import { stopInstance } from './stop.ts';

/** Called in the lane. Clean until `boot.host_shutdown_timeout` (30 s) is over, then by force. */
export async function stopForShutdown(parts: RuntimeParts, id: string): Promise<void> {
  if (parts.powers.running(id) === null) return;
  const seconds = Number(
    parts.store.expand(parts.store.byId(id)).config['boot.host_shutdown_timeout'] ?? '30',
  );
  const never = new AbortController().signal;
  try {
    await stopInstance(parts, id, { timeoutS: seconds, force: false }, never);
  } catch (err) {
    if (!isFault(err, 'timeout')) throw err;
    await stopInstance(parts, id, { timeoutS: 0, force: true }, never);
  }
  // What was running at shutdown is started at the next boot; the next start counts as
  // one, for `slipway down` and `slipway up` do the same without a boot in between.
  await parts.store.setConfig(id, { 'volatile.last_state.power': 'RUNNING' });
  await rm(join(parts.paths.state, 'boot_id'), { force: true });
}
