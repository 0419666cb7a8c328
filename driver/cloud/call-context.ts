/** On whose behalf a call to the cloud is made. Pure. */
import { readContextCatalog, type Catalog } from './catalog.ts';
import { textOf, textOrNull } from './json.ts';

export interface CallContext {
  /** The global request id when there is one, else the local one; '' for none. */
  readonly requestId: string;
  /** Token of the user; null for work of the service itself. */
  readonly authToken: string | null;
  readonly projectId: string;
  readonly userId: string;
  readonly isAdmin: boolean;
  readonly catalog: Catalog;
  /** Ends the calls when the work is given up. */
  readonly signal?: AbortSignal | undefined;
}

/** From the context of a message: its keys without `_context_`. */
export function callContext(rpc: Readonly<Record<string, unknown>>, signal?: AbortSignal): CallContext {
  return {
    requestId: textOf(rpc['global_request_id']) || textOf(rpc['request_id']),
    authToken: textOrNull(rpc['auth_token']),
    projectId: textOf(rpc['project_id']) || textOf(rpc['project']),
    userId: textOf(rpc['user_id']) || textOf(rpc['user']),
    isAdmin: rpc['is_admin'] === true,
    catalog: readContextCatalog(rpc['service_catalog']),
    signal,
  };
}

/** For periodic work and the start: no user, the accounts of nova.conf. */
export function serviceContext(requestId: string, signal?: AbortSignal): CallContext {
  return { requestId, authToken: null, projectId: '', userId: '', isAdmin: true, catalog: [], signal };
}
