/** Which folders the search path of a container's commands gets beyond the usual ones. */
import { setTimeout as sleep } from 'node:timers/promises';
import { SEARCH_EXTRAS } from './exec-environment.ts';
import type { FileSessions } from './file-sessions.ts';
import { existing } from './files.ts';
import type { Runtime } from './types.ts';

/** What was found is believed for this long, so that a burst of commands asks once. */
const KEEP_MS = 60_000;
/** A guest can make a look at its files last; a command does not wait for that. */
const PATIENCE_MS = 500;
const MAX_KEPT = 4096;

interface Known {
  readonly initPid: number;
  readonly at: number;
  readonly folders: readonly string[];
}

/** The function that exec asks. It looks through the helper that stands inside the container, and never rejects. */
export function searchExtrasOf(
  sessions: FileSessions,
  runtime: Pick<Runtime, 'initPid'>,
): (id: string) => Promise<readonly string[]> {
  const kept = new Map<string, Known>();
  return async (id) => {
    const initPid = runtime.initPid(id);
    const known = kept.get(id);
    if (known?.initPid === initPid && Date.now() - known.at < KEEP_MS) return known.folders;
    const folders = await look(sessions, id);
    if (kept.size >= MAX_KEPT) kept.clear();
    kept.set(id, { initPid, at: Date.now(), folders });
    return folders;
  };
}

async function look(sessions: FileSessions, id: string): Promise<readonly string[]> {
  const paths = SEARCH_EXTRAS.map((extra) => extra.when);
  const timer = new AbortController();
  const late = sleep(PATIENCE_MS, [], { signal: timer.signal, ref: false }).catch(() => []);
  const found: readonly boolean[] = await Promise.race([existing(sessions, id, paths), late]);
  timer.abort();
  return SEARCH_EXTRAS.filter((_extra, at) => found[at] === true).map((extra) => extra.add);
}
