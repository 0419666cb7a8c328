/**
 * What operators add to the provider of a host by files: inventories of custom
 * classes and custom traits, in the format of Nova's provider.yaml 1.x. The
 * files are read once, at the start; a wrong one ends it.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { describeChain, Fault } from '../../process/fault.ts';
import type { Inventories } from '../cloud/placement-wire.ts';

export interface ProviderExtras {
  readonly inventories: Inventories;
  readonly traits: readonly string[];
}

const THIS_NODE = '$COMPUTE_NODE';
const CUSTOM = /^CUSTOM_[A-Z0-9_]+$/;

const customName = z.string().regex(CUSTOM, 'only names that begin with CUSTOM_ may be added');

/** What is not written is as Placement has it. */
const inventory = z.object({
  total: z.int().positive(),
  reserved: z.int().nonnegative().default(0),
  min_unit: z.int().positive().default(1),
  max_unit: z.int().positive().optional(),
  step_size: z.int().positive().default(1),
  allocation_ratio: z.number().nonnegative().default(1),
});

const provider = z.object({
  identification: z.union([z.strictObject({ uuid: z.string() }), z.strictObject({ name: z.string() })]),
  inventories: z.object({ additional: z.array(z.record(customName, inventory)).default([]) }).nullish(),
  traits: z.object({ additional: z.array(customName).default([]) }).nullish(),
});

const file = z.object({
  meta: z.object({ schema_version: z.string().regex(/^1\.\d+$/, 'only versions 1.x are known') }),
  providers: z.array(provider).nullish(),
});

type Provider = z.infer<typeof provider>;

/** What the *.yaml files of the folder say about this node; nothing when there is no folder. Fault bad_request names the file. */
export function readProviderExtras(
  folder: string,
  node: { readonly uuid: string; readonly name: string },
): ProviderExtras {
  const found = yamlFiles(folder).flatMap((path) =>
    readProviders(path)
      .filter((one) => isAbout(one, node))
      .map((one) => ({ path, one, isNamed: !isGeneral(one) })),
  );
  // As in Nova: what names the node goes before what is for all.
  const named = found.filter(({ isNamed }) => isNamed);
  const chosen = named.length > 0 ? named : found;
  const [first, second] = chosen;
  if (first === undefined) return { inventories: {}, traits: [] };
  if (second !== undefined) {
    throw new Fault(
      'bad_request',
      `read ${first.path} and ${second.path}: both are about the node ${node.name}`,
    );
  }
  const { one } = first;
  const additional = (one.inventories?.additional ?? []).flatMap((each) => Object.entries(each));
  return {
    inventories: Object.fromEntries(
      additional.map(([name, each]) => [name, { ...each, max_unit: each.max_unit ?? each.total }]),
    ),
    traits: one.traits?.additional ?? [],
  };
}

function yamlFiles(folder: string): string[] {
  if (folder === '') return [];
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith('.yaml'))
      .sort()
      .map((name) => join(folder, name));
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return [];
    throw new Fault('bad_request', `read the folder ${folder} ([compute] provider_config_location)`, {
      cause,
    });
  }
}

function readProviders(path: string): readonly Provider[] {
  try {
    return file.parse(parse(readFileSync(path, 'utf8'))).providers ?? [];
  } catch (err) {
    const why = err instanceof z.ZodError ? z.prettifyError(err).replace(/\s+/g, ' ') : describeChain(err);
    throw new Fault('bad_request', `read ${path} ([compute] provider_config_location): ${why}`);
  }
}

function isGeneral(one: Provider): boolean {
  return 'uuid' in one.identification && one.identification.uuid === THIS_NODE;
}

function isAbout(one: Provider, node: { readonly uuid: string; readonly name: string }): boolean {
  if (isGeneral(one)) return true;
  return 'uuid' in one.identification
    ? one.identification.uuid === node.uuid
    : one.identification.name === node.name;
}
