/** Request contexts: whose request it is, and what conductor may show for it. */
import { randomUUID } from 'node:crypto';
import type { RpcContext } from '../rpc/envelope.ts';
import { textOrNull } from '../rpc/json.ts';

export type ReadDeleted = 'no' | 'yes' | 'only';

/** For work nobody asked for: periodic tasks, the start of the service. It has no token. */
export function adminContext(readDeleted: ReadDeleted = 'no'): RpcContext {
  return {
    user: null,
    project_id: null,
    system_scope: null,
    project: null,
    domain: null,
    user_domain: null,
    project_domain: null,
    is_admin: true,
    read_only: false,
    show_deleted: false,
    auth_token: null,
    request_id: `req-${randomUUID()}`,
    global_request_id: null,
    resource_uuid: null,
    roles: [],
    user_identity: '- - - - -',
    is_admin_project: true,
    user_id: null,
    read_deleted: readDeleted,
    remote_address: null,
    timestamp: contextTime(new Date()),
    quota_class: null,
    user_name: null,
    service_catalog: [],
    project_name: null,
  };
}

/** The same request with the rights of an administrator. */
export function elevated(context: RpcContext, readDeleted?: ReadDeleted): RpcContext {
  const roles = Array.isArray(context['roles'])
    ? context['roles'].filter((each) => typeof each === 'string')
    : [];
  return {
    ...context,
    is_admin: true,
    roles: roles.includes('admin') ? roles : [...roles, 'admin'],
    ...(readDeleted === undefined ? {} : { read_deleted: readDeleted }),
  };
}

/** The same request, which also sees what is deleted. */
export function withDeleted(context: RpcContext, readDeleted: ReadDeleted = 'yes'): RpcContext {
  return { ...context, read_deleted: readDeleted };
}

/** `req-…` of the request, or ''. */
export function requestIdOf(context: RpcContext): string {
  return textOrNull(context['request_id']) ?? '';
}

/** The user's token, or null for work of the service itself. Never for logs. */
export function tokenOf(context: RpcContext): string | null {
  return textOrNull(context['auth_token']);
}

/** `YYYY-MM-DDTHH:MM:SS.ffffff`, UTC without a zone: times in contexts and in arguments of object calls. */
export function contextTime(at: Date): string {
  return `${at.toISOString().slice(0, -1)}000`;
}
