/** What Placement says and is told, and which of its conflicts another try may win. Pure. */
import { Fault } from '../../process/fault.ts';
import { CloudFault, isCloudFault } from './cloud-fault.ts';
import { numberOrNull, recordOf, textOf, type Json } from './json.ts';

export interface Provider {
  readonly uuid: string;
  readonly name: string;
  readonly generation: number;
}

export interface Inventory {
  readonly total: number;
  readonly reserved: number;
  readonly min_unit: number;
  readonly max_unit: number;
  readonly step_size: number;
  readonly allocation_ratio: number;
}

export type Inventories = Readonly<Record<string, Inventory>>;

/** What a consumer holds, as GET /allocations/{consumer} answers it (1.28). */
export interface Allocations {
  readonly allocations: Readonly<Record<string, { readonly resources: Readonly<Record<string, number>> }>>;
  readonly projectId: string;
  readonly userId: string;
  /** null: the consumer is not known to Placement. */
  readonly consumerGeneration: number | null;
}

/** Provider, resources of each consumer. */
export type ProviderAllocations = ReadonlyMap<string, Readonly<Record<string, number>>>;

const CONCURRENT = 'placement.concurrent_update';
const IN_USE = 'placement.inventory.inuse';

export function isCustom(trait: string): boolean {
  return trait.startsWith('CUSTOM_');
}

export function isInUse(err: unknown): boolean {
  return (
    err instanceof CloudFault && err.status === 409 && (err.kind === IN_USE || / in use/.test(err.detail))
  );
}

/** Below microversion 1.23 conflicts have no code but a text. A consumer's own generation is not tried again. */
export function isRaceLost(err: unknown): boolean {
  if (!isCloudFault(err, 409) || err.detail.includes('consumer generation conflict')) return false;
  return err.kind === CONCURRENT || isInUse(err) || /generation conflict|concurrently/.test(err.detail);
}

export function providerOf(data: Json): Provider {
  return {
    uuid: textOf(data['uuid']),
    name: textOf(data['name']),
    generation: numberOrNull(data['generation']) ?? 0,
  };
}

export function generationOf(body: unknown): number {
  const generation = numberOrNull(recordOf(body)['resource_provider_generation']);
  if (generation === null)
    throw new Fault('unavailable', 'read from Placement: the answer has no generation');
  return generation;
}

const FIELDS = ['total', 'reserved', 'min_unit', 'max_unit', 'step_size', 'allocation_ratio'] as const;

export function inventoryOf(data: Json): Inventory {
  const [total = 0, reserved = 0, min_unit = 1, max_unit = 1, step_size = 1, allocation_ratio = 1] =
    FIELDS.map((field) => numberOrNull(data[field]) ?? undefined);
  return { total, reserved, min_unit, max_unit, step_size, allocation_ratio };
}

export function sameInventories(a: Inventories, b: Inventories): boolean {
  const names = Object.keys(a);
  if (names.length !== Object.keys(b).length) return false;
  return names.every((name) => FIELDS.every((field) => a[name]?.[field] === b[name]?.[field]));
}

export function resourcesOf(one: unknown): Record<string, number> {
  const out: Record<string, number> = {};
  for (const [name, amount] of Object.entries(recordOf(recordOf(one)['resources']))) {
    if (typeof amount === 'number') out[name] = amount;
  }
  return out;
}

export function writable(now: Allocations, allocations: Allocations['allocations']): Json {
  return {
    allocations,
    project_id: now.projectId,
    user_id: now.userId,
    consumer_generation: now.consumerGeneration,
  };
}
