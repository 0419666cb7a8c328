/** `/1.0/profiles`. */
import { Fault } from '../../process/fault.ts';
import type { ProfileRow } from '../db/rows.ts';
import { answers } from '../http/route.ts';
import type { Answer, Call, Route } from '../http/route.ts';
import { instanceUrl } from '../instances/instance-url.ts';
import { merged, replaced, taggedPart } from '../profiles/definition.ts';
import { profileUrl } from '../profiles/profiles.ts';
import type { Profiles } from '../profiles/profiles.ts';
import type { ProfileKey } from '../profiles/types.ts';
import { profile, profileList, profilePost, profilePut, profilesPost } from '../wire/profiles.ts';
import type { ProfileWire } from '../wire/profiles.ts';

const LIST = '/1.0/profiles';
const ONE = '/1.0/profiles/{name}';

export function profileRoutes(profiles: Profiles): Route[] {
  return [...listRoutes(profiles), ...oneRoutes(profiles)];
}

const access = 'project';

function listRoutes(profiles: Profiles): Route[] {
  return [
    {
      method: 'GET',
      path: LIST,
      access,
      summary: 'List the profiles of a project.',
      answer: profileList,
      handle: async (call) => list(profiles, call),
    },
    {
      method: 'POST',
      path: LIST,
      access,
      summary: 'Create a profile.',
      body: profilesPost,
      handle: (call) => create(profiles, call),
    },
  ];
}

function oneRoutes(profiles: Profiles): Route[] {
  return [
    {
      method: 'GET',
      path: ONE,
      access,
      summary: 'Show a profile.',
      answer: profile,
      handle: async (call) => {
        const row = profiles.get(keyOf(profiles, call));
        return answers.sync(render(profiles, row, call), taggedPart(row));
      },
    },
    {
      method: 'POST',
      path: ONE,
      access,
      summary: 'Rename a profile.',
      body: profilePost,
      handle: (call) => rename(profiles, call),
    },
    {
      method: 'PUT',
      path: ONE,
      access,
      summary: 'Replace a profile; every instance that uses it is brought to it.',
      body: profilePut,
      handle: (call) => update(profiles, call, () => replaced(profilePut.parse(call.body))),
    },
    {
      method: 'PATCH',
      path: ONE,
      access,
      summary: 'Change parts of a profile; every instance that uses it is brought to it.',
      body: profilePut,
      handle: (call) => update(profiles, call, (row) => merged(row, profilePut.parse(call.body))),
    },
    {
      method: 'DELETE',
      path: ONE,
      access,
      summary: 'Delete a profile that no instance uses.',
      handle: async (call) => {
        await profiles.remove(writableKey(profiles, call), call.caller.requestor);
        return answers.empty();
      },
    },
  ];
}

function list(profiles: Profiles, call: Call): Answer {
  const rows = profiles.list(profiles.projectFor(call.project));
  return answers.sync(
    call.recursion > 0 ? rows.map((row) => render(profiles, row, call)) : rows.map(profileUrl),
  );
}

async function create(profiles: Profiles, call: Call): Promise<Answer> {
  const body = profilesPost.parse(call.body);
  const key = { project: writableProject(profiles, call), name: body.name };
  await profiles.create(key, body, call.caller.requestor);
  return answers.created(profileUrl(key));
}

async function rename(profiles: Profiles, call: Call): Promise<Answer> {
  const { name } = profilePost.parse(call.body);
  const key = writableKey(profiles, call);
  await profiles.rename(key, name, call.caller.requestor);
  return answers.created(profileUrl({ ...key, name }));
}

async function update(
  profiles: Profiles,
  call: Call,
  next: (row: ProfileRow) => ReturnType<typeof replaced>,
): Promise<Answer> {
  const checked = (row: ProfileRow) => {
    call.checkEtag(taggedPart(row));
    return next(row);
  };
  await profiles.update(writableKey(profiles, call), checked, call.caller.requestor);
  return answers.empty();
}

function keyOf(profiles: Profiles, call: Call): ProfileKey {
  return { project: profiles.projectFor(call.project), name: call.params['name'] ?? '' };
}

function writableKey(profiles: Profiles, call: Call): ProfileKey {
  return { project: writableProject(profiles, call), name: call.params['name'] ?? '' };
}

/**
 * Differs: LXD lets a restricted certificate change the profiles of `default`
 * through a project that has none of its own.
 */
function writableProject(profiles: Profiles, call: Call): string {
  const project = profiles.projectFor(call.project);
  const { projects } = call.caller;
  if (projects !== null && !projects.includes(project)) {
    const text = `the profiles of project "${call.project}" are those of "${project}", which this certificate may not change`;
    throw new Fault('forbidden', text);
  }
  return project;
}

/** Users in projects the caller may not see are left out. */
function render(profiles: Profiles, row: ProfileRow, call: Call): ProfileWire {
  const { projects } = call.caller;
  const users = profiles.usersOf(row).filter((user) => projects === null || projects.includes(user.project));
  return {
    config: row.config,
    description: row.description,
    devices: row.devices,
    name: row.name,
    used_by: users.map((user) => instanceUrl(user)),
  };
}
