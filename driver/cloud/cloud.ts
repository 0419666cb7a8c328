/** All neighbours in the cloud, made of the sections of nova.conf. */
import { Fault } from '../../process/fault.ts';
import { type Log } from '../../process/log.ts';
import { choiceOf, versioned } from './catalog.ts';
import { Cinder } from './cinder.ts';
import { Glance } from './glance.ts';
import { Keystone, readAccount } from './keystone.ts';
import { Neutron } from './neutron.ts';
import { Placement } from './placement.ts';
import { ServiceClient } from './service-client.ts';
import { HttpSession, type TlsOptions } from './session.ts';

/** Options of a section as texts, by their names in nova.conf; what is not set is absent. */
export type Section = Readonly<Record<string, string>>;

export interface CloudOptions {
  readonly log: Log;
  readonly sections: {
    readonly placement: Section;
    readonly neutron: Section;
    readonly glance: Section;
    readonly cinder: Section;
    readonly service_user: Section;
  };
  /** Reads a PEM file: `cafile`, `certfile`, `keyfile`. */
  readonly readFile: (path: string) => string;
}

export interface Cloud {
  readonly placement: Placement;
  readonly neutron: Neutron;
  readonly glance: Glance;
  readonly cinder: Cinder;
  /** False: Cinder and long uploads will fail once the token of a user ends; a start says so. */
  readonly hasServiceUser: boolean;
  close(): void;
}

const DEFAULT_TIMEOUT_S = 60;
const DEFAULT_RETRIES = 3;
/** keystoneauth's first pause. */
const RETRY_MS = 500;
const TRUE = /^(?:true|1|yes|on)$/i;

/** Opens nothing yet. Fault bad_request for a section that lacks what is needed. */
export function openCloud(options: CloudOptions): Cloud {
  const { log, sections } = options;
  const opened: HttpSession[] = [];
  const session = (section: Section): HttpSession => {
    const timeoutS = Number(section['timeout'] ?? '') || DEFAULT_TIMEOUT_S;
    const made = new HttpSession({ log, timeoutMs: timeoutS * 1000, tls: tlsOf(section, options.readFile) });
    opened.push(made);
    return made;
  };
  const hasServiceUser = TRUE.test(sections.service_user['send_service_user_token'] ?? '');
  const serviceUser = hasServiceUser
    ? keystone('service_user', sections.service_user, session(sections.service_user), log)
    : null;
  const client = (name: keyof CloudOptions['sections'], known: readonly string[], version: string | null) => {
    const section = sections[name];
    const types = [...new Set([section['service_type'] ?? '', ...known])].filter((one) => one !== '');
    const http = session(section);
    const hasAccount = (section['auth_url'] ?? '') !== '';
    return new ServiceClient({
      session: http,
      account: hasAccount ? keystone(name, section, http, log) : null,
      serviceUser: name === 'placement' ? null : serviceUser,
      endpoint: choiceOf(types, {
        interfaces: listOf(section['valid_interfaces']),
        region: first(section, 'region_name', 'os_region_name'),
        override:
          first(section, 'endpoint_override', 'endpoint_template') ||
          (listOf(section['api_servers'])[0] ?? ''),
      }),
      // Glance's client counts its tries itself.
      ...(name === 'glance' ? {} : { retries: { count: retriesOf(section), firstMs: RETRY_MS } }),
      ...(version === null ? {} : { base: (url: string) => versioned(url, version) }),
    });
  };
  for (const name of ['placement', 'neutron'] as const) {
    if ((sections[name]['auth_url'] ?? '') === '') {
      throw new Fault(
        'bad_request',
        `read [${name}]: auth_url is missing; no server can be built without this account`,
      );
    }
  }
  return {
    placement: new Placement(client('placement', ['placement'], null)),
    neutron: new Neutron({ client: client('neutron', ['network'], 'v2.0') }),
    glance: new Glance(client('glance', ['image'], 'v2'), Number(sections.glance['num_retries'] ?? 3)),
    cinder: new Cinder(client('cinder', cinderTypes(sections.cinder), null)),
    hasServiceUser,
    close: () => {
      for (const one of opened) one.close();
    },
  };
}

function keystone(name: string, section: Section, session: HttpSession, log: Log): Keystone {
  return new Keystone({ session, account: readAccount(name, section), log });
}

/** `catalog_info` is "type:name:interface"; newer clouds call the service block-storage. */
function cinderTypes(section: Section): string[] {
  const [type = 'volumev3'] = (section['catalog_info'] ?? 'volumev3::publicURL').split(':');
  return [...new Set([type, 'volumev3', 'block-storage'])];
}

/** What is written under the first of these names. */
function first(section: Section, ...names: readonly string[]): string {
  return names.map((name) => section[name] ?? '').find((value) => value !== '') ?? '';
}

function retriesOf(section: Section): number {
  const count = Number(first(section, 'http_retries', 'connect_retries') || DEFAULT_RETRIES);
  return Number.isFinite(count) ? count : DEFAULT_RETRIES;
}

function listOf(text = ''): string[] {
  return text
    .split(',')
    .map((one) => one.trim())
    .filter((one) => one !== '');
}

function tlsOf(section: Section, readFile: (path: string) => string): TlsOptions {
  const file = (key: string): string | undefined => {
    const path = section[key] ?? '';
    return path === '' ? undefined : readFile(path);
  };
  const ca = file('cafile');
  const cert = file('certfile');
  const key = file('keyfile');
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    insecure: TRUE.test(section['insecure'] ?? ''),
  };
}
