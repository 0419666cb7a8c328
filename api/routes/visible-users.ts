/** `used_by` of what all projects share: a restricted certificate is told of its own projects alone, as in LXD. */
import type { Caller } from '../http/route.ts';

/** The URLs that are in projects the caller may see. */
export function visibleUsers(urls: readonly string[], caller: Pick<Caller, 'projects'>): string[] {
  const { projects } = caller;
  return urls.filter((url) => projects === null || projects.includes(projectOf(url)));
}

/** URLs of the default project name none. */
function projectOf(url: string): string {
  return new URLSearchParams(url.split('?')[1] ?? '').get('project') ?? 'default';
}
