/** Whether a caller may use a route at all. What a route shows of an object is the route's affair. */
import type { IncomingHttpHeaders } from 'node:http';
import { Fault } from '../../process/fault.ts';
import type { ServerConfig } from '../server-config.ts';
import type { Identity } from './callers.ts';
import type { Access } from './route.ts';

export interface AccessQuestion {
  readonly access: Access;
  readonly identity: Identity;
  readonly project: string;
  readonly headers: IncomingHttpHeaders;
}

/** LXD's text for everyone who is not let in; clients match on it. */
const NOT_AUTHORIZED = 'not authorized';

/** Fault not_trusted or forbidden; no word about why. */
export function checkAccess(question: AccessQuestion, config: ServerConfig): void {
  const { access, identity, headers } = question;
  const { caller } = identity;
  // The client insists on being trusted: it would rather fail than be shown the public half.
  const insists = headers['x-lxd-authenticated'] === 'true';
  if (access === 'any' && !insists) return;
  if (access === 'metrics' && (identity.metricsOnly || config.get('core.metrics_authentication') === 'false'))
    return;
  if (!caller.trusted) throw new Fault('not_trusted', NOT_AUTHORIZED);
  if (caller.admin) return;
  const isAllowed =
    access === 'project' ? (caller.projects ?? []).includes(question.project) : access !== 'admin';
  if (!isAllowed) throw new Fault('forbidden', NOT_AUTHORIZED);
}
