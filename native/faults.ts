/** From errno values and failed steps to Faults. */
import { constants } from 'node:os';
import { Fault } from '../process/fault.ts';
import type { FaultCode } from '../process/fault.ts';
import type { StepFailure } from './types.ts';

const { errno } = constants;

const NAMES = new Map<number, string>(Object.entries(errno).map(([name, value]) => [value, name]));

/** `ENOENT` for 2. */
export function errnoName(value: number): string {
  return NAMES.get(value) ?? `errno ${String(value)}`;
}

/** What the kernel says about files of a container, in the words of FileSession. */
const FILE_CODES: ReadonlyMap<number, FaultCode> = new Map<number, FaultCode>([
  [errno.ENOENT, 'not_found'],
  [errno.EACCES, 'forbidden'],
  [errno.EPERM, 'forbidden'],
  [errno.EROFS, 'forbidden'],
  [errno.EEXIST, 'already_exists'],
  [errno.ENOTDIR, 'bad_request'],
  [errno.EISDIR, 'bad_request'],
  [errno.ENOTEMPTY, 'bad_request'],
  [errno.ELOOP, 'bad_request'],
  [errno.EINVAL, 'bad_request'],
  [errno.ENAMETOOLONG, 'bad_request'],
  [errno.ENXIO, 'bad_request'],
  [errno.EXDEV, 'bad_request'],
  [errno.EOVERFLOW, 'bad_request'],
  [errno.ETXTBSY, 'busy'],
  [errno.EBUSY, 'busy'],
  [errno.EAGAIN, 'busy'],
  [errno.ENOSPC, 'storage_full'],
  [errno.EDQUOT, 'storage_full'],
  [errno.EFBIG, 'storage_full'],
]);

/** A Fault for a refused file operation; the text ends in what the kernel said. */
export function fileFault(what: string, value: number): Fault {
  const code = FILE_CODES.get(value) ?? 'native_failed';
  return new Fault(code, `${what}: ${FILE_TEXTS.get(value) ?? errnoName(value)}`, {
    facts: { errno: value },
  });
}

const FILE_TEXTS: ReadonlyMap<number, string> = new Map([
  [errno.ENOENT, 'no such file or directory'],
  [errno.EACCES, 'permission denied'],
  [errno.EPERM, 'operation not permitted'],
  [errno.EROFS, 'read-only file system'],
  [errno.EEXIST, 'file exists'],
  [errno.ENOTDIR, 'not a directory'],
  [errno.EISDIR, 'is a directory'],
  [errno.ENOTEMPTY, 'directory not empty'],
  [errno.ELOOP, 'too many levels of symbolic links'],
  [errno.EINVAL, 'invalid path, owner or mode for this container'],
  [errno.ENAMETOOLONG, 'name too long'],
  [errno.ENXIO, 'neither a file nor a directory'],
  [errno.EOVERFLOW, 'too many names in the directory'],
  [errno.ENOSPC, 'no space left on device'],
  [errno.EDQUOT, 'disk quota exceeded'],
  [errno.EFBIG, 'file too large'],
]);

/** A system call of the addon that went wrong. */
export function systemFault(what: string, value: number): Fault {
  return new Fault('native_failed', `${what}: ${errnoName(Math.abs(value))}`, {
    facts: { errno: Math.abs(value) },
  });
}

/** The failure of one step of a plan, as the cause of a Fault. */
export class StepError extends Error {
  override readonly name = 'StepError';
  readonly failure: StepFailure;

  constructor(failure: StepFailure) {
    super(failure.text);
    this.failure = failure;
  }
}

/** A Fault for a failed plan: storage_full when the disk is, else native_failed. */
export function stepFault(failure: StepFailure): Fault {
  const full = failure.errno === errno.ENOSPC || failure.errno === errno.EDQUOT;
  return new Fault(full ? 'storage_full' : 'native_failed', `helper step ${failure.step}`, {
    cause: new StepError(failure),
    facts: { step: failure.step, errno: failure.errno },
  });
}
