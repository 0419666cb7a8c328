/**
 * Steps that assemble an instance's root in a private mount namespace: the
 * common beginning of a start and of a look into a stopped instance's files.
 */
import type { IdExtent, Step } from '../../native/steps.ts';
import { steps } from '../../native/steps.ts';
import type { RootVolume } from '../storage/types.ts';
import { buildIdmap, idmapWish, placeIdmap } from '../idmap/idmap.ts';
import type { HostRange } from '../idmap/idmap.ts';
import { readMetadata, readTemplate } from './metadata.ts';
import type { RuntimeParts } from './runtime-parts.ts';
import { renderTemplates } from './templates.ts';
import type { Expanded } from './types.ts';

export function rootVolume(expanded: Expanded): RootVolume {
  return { project: expanded.row.project, instance: expanded.row.name };
}

/** The map the instance has, or will have at its next start. */
export function instanceIdmap(
  parts: Pick<RuntimeParts, 'host' | 'store'>,
  expanded: Expanded,
): { readonly place: HostRange; readonly extents: IdExtent[] } {
  const wish = idmapWish(expanded.config);
  const kept = expanded.row.config['volatile.idmap.base'];
  const current = kept === undefined || !/^\d+$/.test(kept) || kept === '0' ? null : Number(kept);
  const place = placeIdmap(
    wish,
    parts.host.idRange,
    wish.isolated ? isolatedRanges(parts, expanded.row.id) : [],
    current,
  );
  return { place, extents: buildIdmap(wish, place) };
}

function isolatedRanges(parts: Pick<RuntimeParts, 'store'>, except: string): HostRange[] {
  const out: HostRange[] = [];
  for (const row of parts.store.list()) {
    if (row.id === except) continue;
    const base = Number(row.config['volatile.idmap.base'] ?? '0');
    if (base === 0) continue;
    const wish = idmapWish(parts.store.expand(row).config);
    if (wish.isolated) out.push({ start: base, size: wish.size ?? 65_536 });
  }
  return out;
}

/** `private-mounts`, `idmap`, what has to be assembled `before`, and the pool's own steps. */
export async function rootSteps(
  parts: Pick<RuntimeParts, 'pools'>,
  expanded: Expanded,
  idmap: readonly IdExtent[],
  before: readonly Step[] = [],
): Promise<{ readonly plan: Step[]; readonly root: string }> {
  const pool = parts.pools.get(expanded.row.pool);
  const volume = rootVolume(expanded);
  return {
    plan: [steps.privateMounts(), steps.idmap(idmap), ...before, ...(await pool.rootSteps(volume, idmap))],
    root: pool.rootPath(volume),
  };
}

/** Files that the image's templates give for the pending triggers and for `start`. */
export async function templateSteps(parts: RuntimeParts, expanded: Expanded, root: string): Promise<Step[]> {
  const volume = parts.pools.get(expanded.row.pool).volumePath(rootVolume(expanded));
  const metadata = await readMetadata(volume);
  const pending = expanded.row.config['volatile.apply_template'] ?? '';
  const triggers = pending === '' ? ['start'] : [pending, 'start'];
  const out: Step[] = [];
  for (const trigger of triggers) {
    for (const file of await renderTemplates(metadata, trigger, {
      expanded,
      readTemplate: (name: string) => readTemplate(volume, name),
    })) {
      out.push(steps.writeFile(root, file.path, file.content, file.createOnly));
    }
  }
  return out;
}
