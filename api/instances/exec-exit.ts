import { Fault } from '../../process/fault.ts';

const NOT_EXECUTABLE = 126;
const NOT_FOUND = 127;

/** LXD fails the operation for the two codes a shell would use; every other exit code is a success. */
export function checkExitCode(code: number): void {
  if (code === NOT_FOUND) throw new Fault('not_found', 'Command not found');
  if (code === NOT_EXECUTABLE) throw new Fault('forbidden', 'Command not executable');
}
