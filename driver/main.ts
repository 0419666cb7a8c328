/** `slipway compute`: command line -> configuration -> service -> signals; nothing else. */
import { setFlagsFromString } from 'node:v8';
import { loadComputeConfig } from '../config/load-compute.ts';
import { describeChain } from '../process/fault.ts';
import { openLog } from '../process/log.ts';
import { ComputeService, openParts } from './service.ts';

/** Runs until a signal ends it. Resolves to the exit code: 0 when asked to stop, 1 on an error. */
export async function runCompute(argv: readonly string[]): Promise<number> {
  const config = loadComputeConfig(argv);
  const log = openLog(config.log);
  if (config.warnings.length > 0) {
    // One line: a nova.conf that nova-compute has used is full of them.
    log.info('options that mean nothing here', { options: config.warnings });
  }
  const ending = new AbortController();
  const asked = new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        if (!ending.signal.aborted) log.info('stopping', { signal });
        ending.abort();
        resolve();
      });
    }
  });
  // nova-compute reads its configuration again; here that is what a restart is for.
  process.on('SIGHUP', () => {
    log.info('SIGHUP changes nothing: restart the service to read nova.conf again');
  });
  const service = new ComputeService(config, log, openParts(config, log));
  try {
    await service.start(ending.signal);
    // The heap otherwise grows to twice what is needed before it is swept.
    setFlagsFromString('--optimize-for-size');
    await asked;
  } catch (err) {
    await service.stop();
    if (ending.signal.aborted) return 0;
    log.error('the compute service did not start', { error: describeChain(err) });
    throw err;
  }
  await service.stop();
  return 0;
}
