/** metadata.yaml: its text -> what we know of an image, and back. Pure. */
import { parse, stringify } from 'yaml';
import { HOST_ARCHITECTURE } from '../architectures.ts';
import { Fault } from '../../process/fault.ts';
import type { StringMap } from '../db/rows.ts';
import type { ImageMetadata, TemplateRule } from './types.ts';

/** Larger descriptions are refused unread. */
export const MAX_METADATA_BYTES = 1024 * 1024;

/** LXD's names, and Debian's and the kernel's for the same. */
const ARCHITECTURES: Readonly<Record<string, string>> = {
  i686: 'i686',
  i386: 'i686',
  i586: 'i686',
  x86: 'i686',
  '386': 'i686',
  x86_64: 'x86_64',
  amd64: 'x86_64',
  generic_64: 'x86_64',
  armv6l: 'armv6l',
  armel: 'armv6l',
  armv7l: 'armv7l',
  armhf: 'armv7l',
  arm: 'armv7l',
  armv7: 'armv7l',
  armv8l: 'armv8l',
  aarch64: 'aarch64',
  arm64: 'aarch64',
  ppc: 'ppc',
  powerpc: 'ppc',
  ppc64: 'ppc64',
  powerpc64: 'ppc64',
  ppc64le: 'ppc64le',
  ppc64el: 'ppc64le',
  s390x: 's390x',
  mips: 'mips',
  mips64: 'mips64',
  riscv32: 'riscv32',
  riscv64: 'riscv64',
  loongarch64: 'loongarch64',
};

/** LXD's name for any of an architecture's names; null when it is none. */
export function architectureName(text: string): string | null {
  return Object.hasOwn(ARCHITECTURES, text) ? (ARCHITECTURES[text] ?? null) : null;
}

type Loose = Readonly<Record<string, unknown>>;

function isMap(value: unknown): value is Loose {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function bad(problem: string): Fault {
  return new Fault('bad_request', `metadata.yaml of the image: ${problem}`);
}

/** YAML writes `release: 12` as a number; for us all properties are text. */
function strings(value: unknown, where: string): StringMap {
  if (value === undefined || value === null) return {};
  if (!isMap(value)) throw bad(`${where} is no map`);
  // fromEntries takes any key for what it is, `__proto__` too.
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => {
      if (typeof item === 'object' && item !== null) throw bad(`${where}.${key} is no text`);
      return [key, item === null || item === undefined ? '' : String(item as string | number | boolean)]; // scalars only
    }),
  );
}

function seconds(value: unknown, where: string): number {
  if (value === undefined || value === null) return 0;
  const number = Number(value);
  if (!Number.isSafeInteger(number) || number < 0 || number > 253402300799) {
    throw bad(`${where} is no number of seconds since 1970`);
  }
  return number;
}

function templateRule(value: unknown, path: string): TemplateRule {
  if (!isMap(value)) throw bad(`templates.${path} is no map`);
  const when = value['when'] ?? [];
  const template = value['template'] ?? '';
  if (!Array.isArray(when) || !when.every((word) => typeof word === 'string')) {
    throw bad(`templates.${path}.when is no list of words`);
  }
  if (typeof template !== 'string') throw bad(`templates.${path}.template is no file name`);
  return {
    when,
    createOnly: value['create_only'] === true,
    template,
    properties: strings(value['properties'], `templates.${path}.properties`),
  };
}

/** Fault bad_request when the text is no metadata.yaml. */
export function parseImageMetadata(text: string): ImageMetadata {
  if (Buffer.byteLength(text) > MAX_METADATA_BYTES) throw bad('it is larger than 1 MiB');
  let document: unknown;
  try {
    document = parse(text, { maxAliasCount: 20, logLevel: 'error' });
  } catch (err) {
    throw new Fault('bad_request', 'metadata.yaml of the image is not YAML', { cause: err });
  }
  if (!isMap(document)) throw bad('it is no map');
  const named = document['architecture'];
  const architecture = typeof named === 'string' ? architectureName(named) : null;
  if (architecture === null) throw bad(`architecture ${JSON.stringify(named ?? null)} is not known`);
  const templates = document['templates'] ?? {};
  if (!isMap(templates)) throw bad('templates is no map');
  return {
    architecture,
    creationDate: seconds(document['creation_date'], 'creation_date'),
    expiryDate: seconds(document['expiry_date'], 'expiry_date'),
    properties: strings(document['properties'], 'properties'),
    templates: Object.fromEntries(
      Object.entries(templates).map(([path, rule]) => [path, templateRule(rule, path)]),
    ),
  };
}

/** The object of the API (`GET …/metadata`), also the content of the file. */
export function metadataWire(metadata: ImageMetadata): Loose {
  const templates: Record<string, unknown> = {};
  for (const [path, rule] of Object.entries(metadata.templates)) {
    templates[path] = {
      when: rule.when,
      create_only: rule.createOnly,
      template: rule.template,
      properties: rule.properties,
    };
  }
  return {
    architecture: metadata.architecture,
    creation_date: metadata.creationDate,
    expiry_date: metadata.expiryDate,
    properties: metadata.properties,
    templates,
  };
}

export function renderImageMetadata(metadata: ImageMetadata): string {
  return stringify(metadataWire(metadata));
}

/** What is said of a root file system that came without a description. */
export function metadataOfRoot(osRelease: string | null, createdS: number): ImageMetadata {
  const facts = osReleaseFacts(osRelease ?? '');
  const properties: Record<string, string> = {};
  const description = facts['PRETTY_NAME'] ?? facts['NAME'];
  if (facts['ID'] !== undefined) properties['os'] = facts['ID'];
  const release = facts['VERSION_CODENAME'] ?? facts['VERSION_ID'];
  if (release !== undefined && release !== '') properties['release'] = release;
  if (facts['VERSION_ID'] !== undefined) properties['version'] = facts['VERSION_ID'];
  properties['description'] = description ?? 'Root file system';
  return {
    architecture: HOST_ARCHITECTURE,
    creationDate: createdS,
    expiryDate: 0,
    properties,
    templates: {},
  };
}

function osReleaseFacts(text: string): Readonly<Record<string, string | undefined>> {
  const facts: Record<string, string> = {};
  for (const line of text.split('\n')) {
    const match = /^([A-Z_]{1,64})=(?:"([^"]*)"|'([^']*)'|(\S*))\s*$/.exec(line);
    if (match?.[1] !== undefined) facts[match[1]] = (match[2] ?? match[3] ?? match[4] ?? '').slice(0, 256);
  }
  return facts;
}
