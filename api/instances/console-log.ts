/** The console's ring buffer of a running container, and the file it leaves when it stops. */
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../../process/fault.ts';
import type { InstanceRow } from '../db/rows.ts';
import { containerName } from '../paths.ts';
import { isErrno } from './descriptor-streams.ts';
import { instanceLogDir } from './logs.ts';
import type { InstanceParts } from './parts.ts';

type ConsoleLogParts = Pick<InstanceParts, 'native' | 'paths' | 'log' | 'runtime'>;

/** What the console has shown; empty when there is nothing. Fault timeout when the monitor does not answer. */
export async function readConsoleLog(parts: ConsoleLogParts, row: InstanceRow): Promise<Buffer> {
  const file = consoleFile(parts, row);
  if (parts.runtime.initPid(row.id) > 0) {
    const text = await monitorOf(parts, row).consoleLog({ clear: false });
    // LXD's side effect: tools read the file.
    await writeFile(file, text, { mode: 0o600 }).catch((err: unknown) => {
      parts.log.warn('console log could not be kept', { instance: row.name, error: err });
    });
    return text;
  }
  try {
    return await readFile(file);
  } catch (err) {
    // Differs: LXD 5.0 answers 500 for a container that has no console log.
    if (isErrno(err, 'ENOENT')) return Buffer.alloc(0);
    throw new Fault('internal', 'read the console log', { cause: err });
  }
}

/** Empties the buffer, or the file of a stopped instance. */
export async function clearConsoleLog(parts: ConsoleLogParts, row: InstanceRow): Promise<void> {
  if (parts.runtime.initPid(row.id) > 0) {
    await monitorOf(parts, row).consoleLog({ clear: true });
    return;
  }
  try {
    await truncate(consoleFile(parts, row));
  } catch (err) {
    if (!isErrno(err, 'ENOENT')) throw new Fault('internal', 'clear the console log', { cause: err });
  }
}

function consoleFile(parts: ConsoleLogParts, row: InstanceRow): string {
  return join(instanceLogDir(parts.paths, row), 'console.log');
}

function monitorOf(
  parts: ConsoleLogParts,
  row: InstanceRow,
): ReturnType<ConsoleLogParts['native']['monitor']> {
  return parts.native.monitor(parts.paths.lxc, containerName(row.project, row.name));
}
