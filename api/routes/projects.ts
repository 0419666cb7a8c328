/** `/1.0/projects`. */
import { Fault } from '../../process/fault.ts';
import type { ProjectRow } from '../db/rows.ts';
import { answers } from '../http/route.ts';
import type { Answer, Call, Route } from '../http/route.ts';
import type { Operations } from '../operations/types.ts';
import { mergedProject, replacedProject, taggedPart } from '../projects/definition.ts';
import type { ProjectDefinition } from '../projects/definition.ts';
import { projectUrl } from '../projects/projects.ts';
import type { Projects } from '../projects/projects.ts';
import {
  project,
  projectList,
  projectPost,
  projectPut,
  projectState,
  projectsPost,
} from '../wire/projects.ts';
import type { ProjectWire } from '../wire/projects.ts';

const LIST = '/1.0/projects';
const ONE = '/1.0/projects/{name}';

export interface ProjectRouteParts {
  readonly projects: Projects;
  readonly operations: Operations;
}

export function projectRoutes(parts: ProjectRouteParts): Route[] {
  return [...listRoutes(parts.projects), ...oneRoutes(parts)];
}

function listRoutes(projects: Projects): Route[] {
  return [
    {
      method: 'GET',
      path: LIST,
      access: 'trusted',
      summary: 'List the projects.',
      answer: projectList,
      handle: (call) => list(projects, call),
    },
    {
      method: 'POST',
      path: LIST,
      access: 'admin',
      summary: 'Create a project.',
      body: projectsPost,
      handle: (call) => create(projects, call),
    },
  ];
}

function oneRoutes(parts: ProjectRouteParts): Route[] {
  const { projects } = parts;
  return [
    {
      method: 'GET',
      path: ONE,
      access: 'trusted',
      summary: 'Show a project.',
      answer: project,
      handle: (call) => show(projects, call),
    },
    {
      method: 'POST',
      path: ONE,
      access: 'admin',
      summary: 'Rename an empty project.',
      body: projectPost,
      handle: (call) => rename(parts, call),
    },
    {
      method: 'PUT',
      path: ONE,
      access: 'admin',
      summary: 'Replace the description and the keys of a project.',
      body: projectPut,
      handle: (call) => update(projects, call, (row) => replacedProject(row, projectPut.parse(call.body))),
    },
    {
      method: 'PATCH',
      path: ONE,
      access: 'admin',
      summary: 'Change the description or keys of a project.',
      body: projectPut,
      handle: (call) => update(projects, call, (row) => mergedProject(row, projectPut.parse(call.body))),
    },
    {
      method: 'DELETE',
      path: ONE,
      access: 'admin',
      summary: 'Delete an empty project.',
      handle: async (call) => {
        await projects.remove(nameOf(call), call.caller.requestor);
        return answers.empty();
      },
    },
    {
      method: 'GET',
      path: `${ONE}/state`,
      access: 'trusted',
      summary: 'Show what the instances of a project may use together.',
      answer: projectState,
      handle: async (call) => answers.sync(await projects.state(visibleName(call))),
    },
  ];
}

async function list(projects: Projects, call: Call): Promise<Answer> {
  const allowed = call.caller.projects;
  const rows = projects.list().filter((row) => allowed === null || allowed.includes(row.name));
  if (call.recursion === 0) return answers.sync(rows.map((row) => projectUrl(row.name)));
  const usedBy = await projects.usedBy(rows.map((row) => row.name));
  return answers.sync(rows.map((row) => render(row, usedBy)));
}

async function show(projects: Projects, call: Call): Promise<Answer> {
  const row = projects.get(visibleName(call));
  return answers.sync(render(row, await projects.usedBy([row.name])), taggedPart(row));
}

async function create(projects: Projects, call: Call): Promise<Answer> {
  const body = projectsPost.parse(call.body);
  await projects.create(body.name, body, call.caller.requestor);
  return answers.created(projectUrl(body.name));
}

async function rename(parts: ProjectRouteParts, call: Call): Promise<Answer> {
  const { name } = projectPost.parse(call.body);
  const { requestor } = call.caller;
  await parts.projects.checkRename(nameOf(call), name);
  const operation = parts.operations.create({
    class: 'task',
    description: 'Renaming project',
    // Of the whole server: the client waits for it at the events of another project.
    project: '',
    requestor,
    run: () => parts.projects.rename(nameOf(call), name, requestor),
  });
  return answers.async(operation);
}

async function update(
  projects: Projects,
  call: Call,
  next: (row: ProjectRow) => ProjectDefinition,
): Promise<Answer> {
  const checked = (row: ProjectRow) => {
    call.checkEtag(taggedPart(row));
    return next(row);
  };
  await projects.update(nameOf(call), checked, call.caller.requestor);
  return answers.empty();
}

function render(row: ProjectRow, usedBy: ReadonlyMap<string, string[]>): ProjectWire {
  return {
    config: row.config,
    description: row.description,
    name: row.name,
    used_by: usedBy.get(row.name) ?? [],
  };
}

function nameOf(call: Call): string {
  return call.params['name'] ?? '';
}

function visibleName(call: Call): string {
  const { projects } = call.caller;
  const name = nameOf(call);
  if (projects !== null && !projects.includes(name)) {
    throw new Fault('forbidden', 'not authorized');
  }
  return name;
}
