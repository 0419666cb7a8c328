/** Sets a password inside a running guest. It goes by standard input: no list of processes and no log has it. */
import { Fault, isFault } from '../../process/fault.ts';
import type { Caller, ExecResult, LxdClient, LxdInstance } from './client.ts';
import { ADMIN_KEY } from './guest-spec.ts';

const DEFAULT_USER = 'root';
const NOT_FOUND = 127;

/** Fault bad_request when the guest refuses it, has no program for it, or does not run. */
export async function setPassword(
  client: LxdClient,
  caller: Caller,
  found: LxdInstance,
  password: string,
): Promise<void> {
  const user = found.config[ADMIN_KEY] ?? DEFAULT_USER;
  if (/[\n\r\0]/.test(password) || !/^[A-Za-z0-9_][\w.-]*\$?$/.test(user)) {
    throw new Fault(
      'bad_request',
      `set the password of ${user}: it, or the name, holds what cannot be in one`,
    );
  }
  const feed = (command: readonly string[], input: string) => run(client, caller, found.name, command, input);
  let ended = await feed(['chpasswd'], `${user}:${password}\n`);
  // Small systems have the one that asks, and asks twice.
  ended ??= await feed(['passwd', user], `${password}\n${password}\n`);
  if (ended === null) throw new Fault('bad_request', 'the guest has neither chpasswd nor passwd');
  if (ended.exitCode === 0) return;
  const [said = ''] = ended.stderr.trim().split('\n', 1);
  // A program may repeat what it was given.
  const reason = said === '' || said.includes(password) ? '' : `: ${said}`;
  throw new Fault('bad_request', `the program that sets it ended with ${String(ended.exitCode)}${reason}`);
}

/** Null when there is no such program. */
async function run(
  client: LxdClient,
  caller: Caller,
  name: string,
  command: readonly string[],
  input: string,
): Promise<ExecResult | null> {
  try {
    const ended = await client.execWithInput(caller, name, command, input);
    return ended.exitCode === NOT_FOUND ? null : ended;
  } catch (err) {
    if (isFault(err, 'internal') && /not found|No such file/i.test(err.message)) return null;
    throw err;
  }
}
