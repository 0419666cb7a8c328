/** The REST daemon under the cloud: the one of `npm run up`. */
import { join } from 'node:path';
import * as background from '../../api/setup/background.ts';
import { PROGRAM_ROOT } from '../../config/root.ts';
import { ensureComputeUser } from './compute-host.ts';
import type { Cloud } from './setting.ts';

/** The built program: the daemon and the compute service outlive this one. */
const PROGRAM = [process.execPath, join(PROGRAM_ROOT, 'dist', 'process', 'slipway.js')];

/** Starts the daemon unless it runs. */
export async function ensureDaemon({ progress, signal, rest, daemon }: Cloud): Promise<void> {
  await progress.step('daemon', async (report) => {
    await background.ensureLxcfs(daemon, signal);
    // Before the daemon starts: it gives its socket to this group if there is one.
    await ensureComputeUser();
    const running = await background.daemonPid(rest, signal);
    const pid = running ?? (await background.startDaemon(daemon, signal, PROGRAM));
    report.result(`${running === null ? 'started' : 'running already'}, process ${String(pid)}`);
  });
}
