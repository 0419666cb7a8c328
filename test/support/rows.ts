/** Rows of the database for tests: what a test is not about has a plain value. */
import { NEVER } from '../../api/db/rows.ts';
import type { InstanceRow } from '../../api/db/rows.ts';

/** A container that is ready, named `c1` with the id `id-1` unless told otherwise. */
export function instanceRow(changes: Partial<InstanceRow> = {}): InstanceRow {
  return {
    id: 'id-1',
    project: 'default',
    name: 'c1',
    phase: 'ready',
    architecture: 'x86_64',
    description: '',
    ephemeral: false,
    stateful: false,
    profiles: ['default'],
    config: {},
    devices: {},
    pool: 'default',
    createdAt: NEVER,
    lastUsedAt: NEVER,
    ...changes,
  };
}
