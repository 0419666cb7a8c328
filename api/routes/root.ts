/** `/` and `/1.0`: what this server is, and its configuration. */
import { API_EXTENSIONS } from '../api-extensions.ts';
import type { Events } from '../events/events.ts';
import { answers, type Answer, type Call, type Route } from '../http/route.ts';
import type { ServerConfigAdmin } from '../server-config-types.ts';
import { apiVersions, server, serverPut, type ServerEnvironment } from '../wire/server.ts';

export interface RootRouteParts {
  readonly serverConfig: ServerConfigAdmin;
  readonly environment: (project: string) => ServerEnvironment;
  readonly events: Events;
}

const SERVER = '/1.0';

export function rootRoutes(parts: RootRouteParts): Route[] {
  const change = async (call: Call, merge: boolean): Promise<Answer> => {
    const config = serverPut.parse(call.body).config ?? {};
    const check = (): void => {
      call.checkEtag(parts.serverConfig.render());
    };
    if (merge) await parts.serverConfig.merge(config, check);
    else await parts.serverConfig.replace(config, check);
    parts.events.lifecycle('config-updated', SERVER, { requestor: call.caller.requestor });
    return answers.empty();
  };
  return [
    {
      method: 'GET',
      path: '/',
      access: 'any',
      summary: 'Lists the versions of the API.',
      answer: apiVersions,
      handle: async () => answers.sync(['/1.0']),
    },
    {
      method: 'GET',
      path: SERVER,
      access: 'any',
      summary: 'Shows the server; callers nobody trusts see neither configuration nor environment.',
      answer: server,
      handle: async (call) => showServer(parts, call),
    },
    {
      method: 'PUT',
      path: SERVER,
      access: 'admin',
      summary: 'Replaces the configuration of the server.',
      body: serverPut,
      handle: (call) => change(call, false),
    },
    {
      method: 'PATCH',
      path: SERVER,
      access: 'admin',
      summary: 'Changes keys of the configuration of the server.',
      body: serverPut,
      handle: (call) => change(call, true),
    },
  ];
}

function showServer(parts: RootRouteParts, call: Call): Answer {
  const { caller } = call;
  const facts = {
    api_extensions: API_EXTENSIONS,
    api_status: 'stable',
    api_version: '1.0',
    auth: caller.trusted ? 'trusted' : 'untrusted',
    public: false,
    auth_methods: ['tls'],
  };
  if (!caller.trusted) return answers.sync(facts);
  const config = parts.serverConfig.render();
  const shown = {
    config: caller.admin ? config : null,
    ...facts,
    environment: parts.environment(call.project),
  };
  // The tag is of the configuration, so callers who may not see it get none.
  return caller.admin ? answers.sync(shown, config) : answers.sync(shown);
}
