/**
 * The seccomp policy of an instance, in liblxc's text form. Pure.
 *
 * `security.syscalls.*`: the default denials are LXD's list (calls that reach
 * the host's kernel modules, its file handles, or that detach mounts by force).
 */
import { Fault } from '../../process/fault.ts';
import type { StringMap } from '../db/rows.ts';
import { parseBool } from './values.ts';

const DEFAULT_DENIALS = [
  'reject_force_umount',
  '[all]',
  'kexec_load errno 38',
  'open_by_handle_at errno 38',
  'init_module errno 38',
  'finit_module errno 38',
  'delete_module errno 38',
];

function either(config: StringMap, key: string, old: string): string {
  return config[key] ?? config[old] ?? '';
}

/**
 * Text of the policy file; null when nothing is filtered.
 *
 * @throws Fault bad_request for deny_compat: liblxc has no way to say "every
 * call of this other architecture", and accepting the key would promise it.
 */
export function seccompPolicy(config: StringMap): string | null {
  const raw = config['raw.seccomp'] ?? '';
  if (raw !== '') return raw;
  const allow = either(config, 'security.syscalls.allow', 'security.syscalls.whitelist');
  if (allow !== '') return `2\nallowlist\n[all]\n${allow.trim()}\n`;
  const deny = either(config, 'security.syscalls.deny', 'security.syscalls.blacklist');
  const defaults = parseBool(
    either(config, 'security.syscalls.deny_default', 'security.syscalls.blacklist_default'),
    true,
  );
  const compat = parseBool(
    either(config, 'security.syscalls.deny_compat', 'security.syscalls.blacklist_compat'),
  );
  if (compat) {
    throw new Fault(
      'bad_request',
      'security.syscalls.deny_compat is not supported here; name the calls in security.syscalls.deny instead',
    );
  }
  const lines = ['2', 'denylist'];
  if (defaults) lines.push(...DEFAULT_DENIALS);
  if (deny !== '') lines.push('[all]', deny.trim());
  return lines.length === 2 ? null : `${lines.join('\n')}\n`;
}
