/** Sets a password inside a running guest. It goes by standard input: no list of processes and no log has it. */
import { Fault, isFault } from '../../process/fault.ts';
import type { Caller, LxdClient, LxdInstance } from './client.ts';
import { ADMIN_KEY } from './guest-spec.ts';

const DEFAULT_USER = 'root';
const NOT_FOUND = 127;

/** Fault bad_request when the guest refuses it, has no chpasswd, or does not run. */
export async function setPassword(
  client: LxdClient,
  caller: Caller,
  found: LxdInstance,
  password: string,
): Promise<void> {
  const user = found.config[ADMIN_KEY] ?? DEFAULT_USER;
  if (/[\n\r\0]/.test(password) || /[:\n\r\0]/.test(user)) {
    throw new Fault('bad_request', `set the password of ${user}: a line break or a colon has no place in it`);
  }
  const ended = await run(client, caller, found.name, `${user}:${password}\n`);
  if (ended.exitCode === 0) return;
  const said = ended.stderr.trim().split('\n', 1)[0] ?? '';
  // A program may repeat what it was given.
  const reason = said.includes(password) ? '' : said;
  throw new Fault(
    'bad_request',
    ended.exitCode === NOT_FOUND
      ? 'the guest has no chpasswd'
      : `chpasswd ended with ${String(ended.exitCode)}${reason === '' ? '' : `: ${reason}`}`,
  );
}

async function run(client: LxdClient, caller: Caller, name: string, input: string) {
  try {
    return await client.execWithInput(caller, name, ['chpasswd'], input);
  } catch (err) {
    if (isFault(err, 'internal') && /not found|No such file/i.test(err.message)) {
      throw new Fault('bad_request', 'the guest has no chpasswd', { cause: err });
    }
    throw err;
  }
}
