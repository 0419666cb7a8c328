/**
 * Where this machine gets its packages from, so that an image of the same
 * distribution comes from the same mirror. Pure, but for readAptMirror().
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../../process/fault.ts';

/** One line of sources.list, or one URI and suite of a deb822 stanza. */
export interface AptSource {
  readonly uri: string;
  readonly suite: string;
  readonly components: readonly string[];
  /** Keyring file, or null for apt's own. */
  readonly signedBy: string | null;
}

export interface OsRelease {
  /** `debian`, `ubuntu` … */
  readonly id: string;
  /** `12`; '' for a release that has no number yet. */
  readonly version: string;
  /** `bookworm`. */
  readonly codename: string;
}

export function parseOsRelease(text: string): OsRelease {
  const value = (key: string): string => new RegExp(`^${key}=["']?(.*?)["']?$`, 'm').exec(text)?.[1] ?? '';
  return { id: value('ID'), version: value('VERSION_ID'), codename: value('VERSION_CODENAME') };
}

/** The classic form: `deb [options] uri suite component …`. */
export function parseSourcesList(text: string): AptSource[] {
  const sources: AptSource[] = [];
  for (const line of text.split('\n')) {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s*([^#]*)/.exec(line);
    if (match === null) continue;
    const [, options = '', uri = '', suite = '', components = ''] = match;
    const signedBy = /(?:^|\s)signed-by=(\S+)/i.exec(options)?.[1] ?? null;
    sources.push({ uri, suite, components: words(components), signedBy });
  }
  return sources;
}

/** The deb822 form: stanzas of `Field: value`, parted by blank lines. */
export function parseDeb822(text: string): AptSource[] {
  const sources: AptSource[] = [];
  for (const stanza of text.split(/\n\s*\n/)) {
    const fields = stanzaFields(stanza);
    if (/^(no|false|0)$/i.test(fields.get('enabled') ?? '')) continue;
    if (!words(fields.get('types') ?? '').includes('deb')) continue;
    const signed = fields.get('signed-by') ?? '';
    for (const uri of words(fields.get('uris') ?? '')) {
      for (const suite of words(fields.get('suites') ?? '')) {
        sources.push({
          uri,
          suite,
          components: words(fields.get('components') ?? ''),
          // A key may also be written into the field itself; apt's own keyrings have it then, or fail clearly.
          signedBy: signed.startsWith('/') ? (words(signed)[0] ?? null) : null,
        });
      }
    }
  }
  return sources;
}

function stanzaFields(stanza: string): Map<string, string> {
  const fields = new Map<string, string>();
  let last = '';
  for (const line of stanza.split('\n')) {
    if (line.startsWith('#')) continue;
    if (/^\s/.test(line)) {
      fields.set(last, `${fields.get(last) ?? ''} ${line.trim()}`);
      continue;
    }
    const at = line.indexOf(':');
    if (at < 0) continue;
    last = line.slice(0, at).trim().toLowerCase();
    fields.set(last, line.slice(at + 1).trim());
  }
  return fields;
}

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}

/**
 * The machine's sources of its own release, written for another release of the
 * same distribution: `bookworm-updates` becomes `trixie-updates`. Empty when
 * the machine has no source of its own release.
 */
export function sourcesFor(sources: readonly AptSource[], own: string, wanted: string): AptSource[] {
  const found: AptSource[] = [];
  for (const source of sources) {
    if (source.suite !== own && !/^(-updates|-security|\/updates)$/.test(suffix(source.suite, own))) continue;
    const suite = wanted + source.suite.slice(own.length);
    const components = source.components.filter((name) => name === 'main' || name === 'universe');
    if (found.some((other) => other.uri === source.uri && other.suite === suite)) continue;
    found.push({ ...source, suite, components: components.length > 0 ? components : ['main'] });
  }
  // The plain suite comes first: the others only hold what changed since.
  return found.sort((a, b) => Number(a.suite !== wanted) - Number(b.suite !== wanted));
}

function suffix(suite: string, own: string): string {
  return suite.startsWith(own) ? suite.slice(own.length) : '';
}

/** The distribution of this machine and all sources its apt knows. */
export async function readAptMirror(root = '/'): Promise<{ os: OsRelease; sources: AptSource[] }> {
  const os = parseOsRelease(await readFile(join(root, 'etc/os-release'), 'utf8'));
  const sources: AptSource[] = [];
  const apt = join(root, 'etc/apt');
  const parts = (await listFolder(join(apt, 'sources.list.d'))).map((name) => join('sources.list.d', name));
  for (const part of ['sources.list', ...parts]) {
    const text = await readFile(join(apt, part), 'utf8').catch(() => '');
    if (part.endsWith('.list')) sources.push(...parseSourcesList(text));
    if (part.endsWith('.sources')) sources.push(...parseDeb822(text));
  }
  if (os.codename === '') {
    throw new Fault(
      'unavailable',
      'make an image: /etc/os-release has no VERSION_CODENAME; give one with --image',
    );
  }
  return { os, sources };
}

async function listFolder(folder: string): Promise<string[]> {
  return (await readdir(folder).catch(() => [])).sort();
}
