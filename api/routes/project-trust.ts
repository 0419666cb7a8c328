/** For routes that callers without trust may use too: who sees more than what is public. */
import type { Call } from '../http/route.ts';

/** Trusted for the project of the request; a restricted certificate counts only in its own projects. */
export function isTrustedForProject(call: Call): boolean {
  const { caller } = call;
  return (
    caller.trusted && (caller.admin || caller.projects === null || caller.projects.includes(call.project))
  );
}
