/** `/1.0/networks`. */
import type { Answer, Call, Route } from '../http/route.ts';
import { answers } from '../http/route.ts';
import type { NetworkAdmin } from '../network/types.ts';
import type { NetworkPost, NetworkPut, NetworkWire, NetworksPost } from '../wire/networks.ts';
import {
  network,
  networkLeases,
  networkList,
  networkPost,
  networkPut,
  networkState,
  networksPost,
} from '../wire/networks.ts';
import { visibleUsers } from './visible-users.ts';

const PATH = '/1.0/networks';
const ONE = `${PATH}/{name}`;

function nameOf(call: Call): string {
  return call.params['name'] ?? '';
}

function shown(one: NetworkWire, call: Call): NetworkWire {
  return { ...one, used_by: one.used_by === null ? null : visibleUsers(one.used_by, call.caller) };
}

export function networkRoutes(networks: NetworkAdmin): Route[] {
  return [...readingRoutes(networks), ...changingRoutes(networks), ...renamingRoutes(networks)];
}

function readingRoutes(networks: NetworkAdmin): Route[] {
  return [
    {
      method: 'GET',
      path: PATH,
      access: 'project',
      summary: 'Lists the managed networks and the other interfaces of the host',
      answer: networkList,
      handle: async (call) => {
        const all = await networks.list();
        if (call.recursion > 0) return answers.sync(all.map((one) => shown(one, call)));
        return answers.sync(all.map((one) => `${PATH}/${encodeURIComponent(one.name)}`));
      },
    },
    {
      method: 'GET',
      path: ONE,
      access: 'project',
      summary: 'Shows a network',
      answer: network,
      handle: async (call) => {
        const one = await networks.get(nameOf(call));
        return answers.sync(shown(one, call), networks.etagParts(one));
      },
    },
    {
      method: 'GET',
      path: `${ONE}/state`,
      access: 'project',
      summary: 'Shows addresses and counters of a network or interface',
      answer: networkState,
      handle: async (call) => answers.sync(await networks.state(nameOf(call))),
    },
    {
      method: 'GET',
      path: `${ONE}/leases`,
      access: 'project',
      summary: "Lists the addresses of the project's guests on a network",
      answer: networkLeases,
      handle: async (call) => answers.sync(await networks.leases(nameOf(call), call.project)),
    },
  ];
}

/**
 * Differs: LXD lets a restricted certificate change networks of its projects;
 * here only administrators may, for raw.dnsmasq can run programs as root.
 */
function changingRoutes(networks: NetworkAdmin): Route[] {
  const change = async (call: Call, verb: 'replace' | 'merge'): Promise<Answer> => {
    const body = call.body as NetworkPut; // checked by the schema
    await networks[verb](nameOf(call), body, call.caller.requestor, (now) => {
      call.checkEtag(networks.etagParts(now));
    });
    return answers.empty();
  };
  return [
    {
      method: 'POST',
      path: PATH,
      access: 'admin',
      summary: 'Creates a network and brings it up',
      body: networksPost,
      handle: async (call) => {
        const body = call.body as NetworksPost; // checked by the schema above
        await networks.create(body, call.caller.requestor);
        return answers.created(`${PATH}/${encodeURIComponent(body.name)}`);
      },
    },
    {
      method: 'PUT',
      path: ONE,
      access: 'admin',
      summary: 'Replaces the configuration of a network while it is in use',
      body: networkPut,
      handle: (call) => change(call, 'replace'),
    },
    {
      method: 'PATCH',
      path: ONE,
      access: 'admin',
      summary: 'Changes some keys of a network',
      body: networkPut,
      handle: (call) => change(call, 'merge'),
    },
  ];
}

function renamingRoutes(networks: NetworkAdmin): Route[] {
  return [
    {
      method: 'POST',
      path: ONE,
      access: 'admin',
      summary: 'Renames a network that nothing uses',
      body: networkPost,
      handle: async (call) => {
        const { name } = call.body as NetworkPost; // checked by the schema above
        await networks.rename(nameOf(call), name, call.caller.requestor);
        return answers.created(`${PATH}/${encodeURIComponent(name)}`);
      },
    },
    {
      method: 'DELETE',
      path: ONE,
      access: 'admin',
      summary: 'Deletes a network that nothing uses',
      handle: async (call) => {
        await networks.remove(nameOf(call), call.caller.requestor);
        return answers.empty();
      },
    },
  ];
}
