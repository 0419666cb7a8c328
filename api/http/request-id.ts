/** OpenStack's request id, which the compute service sends with every request. */
import type { IncomingHttpHeaders } from 'node:http';

/** The id, or null when there is none or it is not of the known form. */
export function requestId(headers: IncomingHttpHeaders): string | null {
  const value = headers['x-openstack-request-id'];
  return typeof value === 'string' && /^req-[0-9A-Za-z-]{1,64}$/.test(value) ? value : null;
}
