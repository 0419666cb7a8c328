/** The clients of the compute service, at a fake cloud. */
import { callContext, type CallContext } from '../../driver/cloud/call-context.ts';
import { choiceOf, versioned } from '../../driver/cloud/catalog.ts';
import { Cinder } from '../../driver/cloud/cinder.ts';
import { Glance } from '../../driver/cloud/glance.ts';
import { Keystone, readAccount } from '../../driver/cloud/keystone.ts';
import { Neutron } from '../../driver/cloud/neutron.ts';
import { Placement } from '../../driver/cloud/placement.ts';
import { ServiceClient } from '../../driver/cloud/service-client.ts';
import { HttpSession } from '../../driver/cloud/session.ts';
import type { RpcContext } from '../../driver/rpc/envelope.ts';
import { SILENT } from '../../process/log.ts';
import { type FakeCloud } from './fake-cloud.ts';

export interface CloudServices {
  readonly session: HttpSession;
  readonly keystone: Keystone;
  readonly placement: Placement;
  readonly neutron: Neutron;
  readonly glance: Glance;
  readonly cinder: Cinder;
}

export function cloudServices(cloud: FakeCloud, timeoutMs = 10_000): CloudServices {
  const session = new HttpSession({ log: SILENT, timeoutMs });
  const account = readAccount('service_user', {
    auth_url: `${cloud.url}/identity`,
    username: 'nova',
    password: 'secret',
    project_name: 'service',
    user_domain_name: 'Default',
    project_domain_name: 'Default',
  });
  const keystone = new Keystone({ session, account, log: SILENT });
  const client = (type: string, withServiceToken: boolean, version: string | null): ServiceClient =>
    new ServiceClient({
      session,
      account: keystone,
      serviceUser: withServiceToken ? keystone : null,
      endpoint: choiceOf([type], { region: 'RegionOne' }),
      ...(version === null ? {} : { base: (url: string) => versioned(url, version) }),
    });
  return {
    session,
    keystone,
    placement: new Placement(client('placement', false, null), 1),
    neutron: new Neutron({ client: client('network', true, 'v2.0') }),
    glance: new Glance(client('image', true, 'v2'), 3, 1),
    cinder: new Cinder(client('volumev3', true, null), 1),
  };
}

/** The same, for calls to the cloud. */
export function userContext(cloud: FakeCloud, project: string): CallContext {
  return callContext(userRpcContext(cloud, project));
}

/** The context of a user's request, as it comes with a message. */
export function userRpcContext(cloud: FakeCloud, project: string): RpcContext {
  return {
    request_id: 'req-1',
    auth_token: 'user-token',
    project_id: project,
    user_id: 'user-1',
    is_admin: false,
    service_catalog: ['network', 'image', 'volumev3'].map((type) => ({
      type,
      endpoints: [{ region: 'RegionOne', internalURL: `${cloud.url}/${type}`, publicURL: `${cloud.url}/no` }],
    })),
  };
}
