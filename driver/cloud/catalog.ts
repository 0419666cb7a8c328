/** Which address a service of the cloud has: the catalog and the rules of its options. Pure. */
import { Fault } from '../../process/fault.ts';
import { recordsOf, textOf, type Json } from './json.ts';

export interface Endpoint {
  readonly serviceType: string;
  readonly interface: string;
  readonly region: string;
  readonly url: string;
}

export type Catalog = readonly Endpoint[];

export interface EndpointChoice {
  /** Types by which the catalog may call the service, the best first. */
  readonly serviceTypes: readonly string[];
  /** `[neutron] valid_interfaces` and its like; the first that the catalog has is taken. */
  readonly interfaces: readonly string[];
  /** '' takes any region. */
  readonly region: string;
  /** `endpoint_override`; '' for none. */
  readonly override: string;
}

/** The catalog of a token: `token.catalog`. */
export function readCatalog(entries: unknown): Catalog {
  return recordsOf(entries).flatMap((service) =>
    recordsOf(service['endpoints']).map((endpoint) => ({
      serviceType: textOf(service['type']),
      interface: textOf(endpoint['interface']),
      region: textOf(endpoint['region_id']) || textOf(endpoint['region']),
      url: textOf(endpoint['url']),
    })),
  );
}

const SHORT_INTERFACES = ['public', 'internal', 'admin'];

/** The reduced catalog in a message's context: `_context_service_catalog`. */
export function readContextCatalog(entries: unknown): Catalog {
  return recordsOf(entries).flatMap((service) =>
    recordsOf(service['endpoints']).flatMap((endpoint) => shortEndpoints(textOf(service['type']), endpoint)),
  );
}

function shortEndpoints(serviceType: string, endpoint: Json): Endpoint[] {
  const region = textOf(endpoint['region']);
  return SHORT_INTERFACES.map((one) => ({
    serviceType,
    interface: one,
    region,
    url: textOf(endpoint[`${one}URL`]),
  })).filter((one) => one.url !== '');
}

/** Address without a slash at its end, or null when the catalog has none. */
export function findEndpoint(catalog: Catalog, choice: EndpointChoice, projectId: string): string | null {
  if (choice.override !== '') return withoutSlash(filled(choice.override, projectId));
  for (const type of choice.serviceTypes) {
    for (const wanted of choice.interfaces) {
      const found = catalog.find(
        (one) =>
          one.serviceType === type &&
          one.interface === wanted.replace(/URL$/, '') &&
          (choice.region === '' || one.region === choice.region),
      );
      if (found !== undefined) return withoutSlash(found.url);
    }
  }
  return null;
}

/** The Fault for a service the catalog does not have. */
export function noEndpoint(choice: EndpointChoice): Fault {
  const region = choice.region === '' ? '' : ` in region ${choice.region}`;
  return new Fault(
    'unavailable',
    `find the service ${choice.serviceTypes.join(' or ')}: the catalog has no ${choice.interfaces.join(' or ')} ` +
      `endpoint of it${region}; correct region_name, valid_interfaces or the catalog, or set endpoint_override`,
  );
}

/** Python's and Keystone's two ways to write the project into an address. */
function filled(url: string, projectId: string): string {
  return url.replace(/[%$]\((?:project|tenant)_id\)s/g, projectId);
}

function withoutSlash(url: string): string {
  return url.replace(/\/+$/, '');
}

/** Adds a version folder to a base address that does not end in one. */
export function versioned(base: string, version: string): string {
  return /\/v\d+(?:\.\d+)?$/.test(base) ? base : `${base}/${version}`;
}

/** `a=1&b=2&b=3` of pairs; values are encoded. */
export function query(pairs: readonly (readonly [string, string])[]): string {
  return pairs.map(([key, value]) => `${encodeURIComponent(key)}=${encodeURIComponent(value)}`).join('&');
}

/** Options of one service as nova.conf has them, with the defaults of Nova. */
export function choiceOf(
  serviceTypes: readonly string[],
  options: { readonly interfaces?: readonly string[]; readonly region?: string; readonly override?: string },
): EndpointChoice {
  const { interfaces = [], region = '', override = '' } = options;
  return {
    serviceTypes,
    interfaces: interfaces.length === 0 ? ['internal', 'public'] : interfaces,
    region,
    override,
  };
}
