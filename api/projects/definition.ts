/** Names and keys of projects. Pure. */
import { Fault } from '../../process/fault.ts';
import type { ProjectRow, StringMap } from '../db/rows.ts';
import { parseBool } from '../instances/values.ts';
import { DEFAULT_PROJECT } from './store.ts';

export interface ProjectDefinition {
  readonly description: string;
  readonly config: StringMap;
}

export interface GivenProject {
  readonly description?: string | null | undefined;
  readonly config?: StringMap | null | undefined;
}

/** On in a new project unless it says otherwise. */
const OWN_BY_DEFAULT = ['features.images', 'features.profiles', 'features.storage.volumes'] as const;
const FEATURES: readonly string[] = [...OWN_BY_DEFAULT, 'features.networks'];
/** Keys of LXD whose meaning is not enforced here: refused, so that nobody relies on them. */
const NOT_YET = /^(limits\.|restricted(\.|$)|images\.|backups\.compression_algorithm$)/;
const MAX_NAME = 63;

/** Fault bad_request in LXD's words. */
export function checkProjectName(name: string): void {
  const refuse = (text: string) => {
    throw new Fault('bad_request', text);
  };
  if (name === '') refuse('No name provided');
  if (name.includes('/')) refuse('Project names may not contain slashes');
  if (name === '*') refuse('Reserved project name');
  if (/\s/.test(name)) refuse('Project names may not contain spaces');
  // The last underscore of `<project>_<instance>` parts the two.
  if (name.includes('_')) refuse('Project names may not contain underscores');
  if (/['"]/.test(name)) refuse('Project names may not contain quotes');
  // Names end up in folder and container names.
  const isOdd = name === '.' || name === '..' || name.includes('*') || /[\p{Cc}]/u.test(name);
  if (isOdd || Buffer.byteLength(name) > MAX_NAME) {
    refuse(`Invalid project name ${JSON.stringify(name.slice(0, MAX_NAME))}`);
  }
}

/** POST. */
export function newProject(given: GivenProject): ProjectDefinition {
  const own = Object.fromEntries(OWN_BY_DEFAULT.map((key) => [key, 'true']));
  return {
    description: given.description ?? '',
    config: checkedConfig({ ...own, ...given.config }, {}),
  };
}

/** PUT: what is not given is empty. */
export function replacedProject(row: ProjectRow, given: GivenProject): ProjectDefinition {
  return { description: given.description ?? '', config: checkedConfig(given.config ?? {}, row.config) };
}

/** PATCH: what is not given stays; '' removes a key. */
export function mergedProject(row: ProjectRow, given: GivenProject): ProjectDefinition {
  return {
    description: given.description ?? row.description,
    config: checkedConfig({ ...row.config, ...given.config }, row.config),
  };
}

/** Whether the project has its own objects of any kind where it had not, or the other way round. */
export function featuresDiffer(before: StringMap, after: StringMap): boolean {
  return FEATURES.some((key) => isOn(before, key) !== isOn(after, key));
}

export function hasOwnProfiles(config: StringMap): boolean {
  return isOn(config, 'features.profiles');
}

/** What the entity tag is made of. */
export function taggedPart(row: ProjectRow): readonly unknown[] {
  return [row.description, row.config];
}

export function refuseDefault(name: string, verb: string): void {
  if (name === DEFAULT_PROJECT) throw new Fault('forbidden', `The 'default' project cannot be ${verb}`);
}

function isOn(config: StringMap, key: string): boolean {
  return config[key] === 'true';
}

/** Keys as they are kept; a key that was there with this value may stay. */
function checkedConfig(config: StringMap, before: StringMap): StringMap {
  const kept: [string, string][] = [];
  for (const [key, value] of Object.entries(config)) {
    if (value !== '') kept.push([key, before[key] === value ? value : checkedValue(key, value)]);
  }
  return Object.fromEntries(kept);
}

function checkedValue(key: string, value: string): string {
  if (key.startsWith('user.') && key.length > 'user.'.length) return value;
  if (FEATURES.includes(key)) return checkedFeature(key, value);
  if (key === 'restricted' && !checkedBool(key, value)) return 'false';
  if (NOT_YET.test(key)) {
    const text = `project key ${key} cannot be set: this server does not enforce limits, restrictions and overrides of projects yet`;
    throw new Fault('bad_request', text);
  }
  throw new Fault('bad_request', `Invalid project configuration key ${JSON.stringify(key.slice(0, 255))}`);
}

function checkedFeature(key: string, value: string): string {
  const isWanted = checkedBool(key, value);
  if (key === 'features.networks' && isWanted) {
    throw new Fault(
      'bad_request',
      'project key features.networks cannot be true: all networks belong to the project default',
    );
  }
  return String(isWanted);
}

function checkedBool(key: string, value: string): boolean {
  try {
    return parseBool(value);
  } catch (cause) {
    throw new Fault('bad_request', `project key ${key}`, { cause });
  }
}
