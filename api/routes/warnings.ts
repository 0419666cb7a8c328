/** `/1.0/warnings`. */
import type { WarningRow } from '../db/rows.ts';
import type { Events } from '../events/events.ts';
import { answers } from '../http/route.ts';
import type { Answer, Call, Route } from '../http/route.ts';
import { Fault } from '../../process/fault.ts';
import type { WarningAdmin } from '../warnings-store.ts';
import { warning, warningList, warningPut } from '../wire/warnings.ts';
import type { WarningWire } from '../wire/warnings.ts';

const LIST = '/1.0/warnings';
const ONE = '/1.0/warnings/{id}';

export interface WarningRouteParts {
  readonly warnings: WarningAdmin;
  readonly events: Events;
}

export function warningRoutes(parts: WarningRouteParts): Route[] {
  const { warnings } = parts;
  const update = (call: Call) => setStatus(parts, call);
  return [
    {
      method: 'GET',
      path: LIST,
      access: 'admin',
      summary: 'List the warnings.',
      answer: warningList,
      handle: async (call) => {
        const rows = warnings.list(call.query.get('project') ?? undefined);
        return answers.sync(
          call.recursion > 0 ? rows.map(renderWarning) : rows.map((row) => urlOf(row.uuid)),
        );
      },
    },
    {
      method: 'GET',
      path: ONE,
      access: 'admin',
      summary: 'Show a warning.',
      answer: warning,
      handle: async (call) => answers.sync(renderWarning(warnings.get(idOf(call)))),
    },
    {
      method: 'PUT',
      path: ONE,
      access: 'admin',
      summary: 'Acknowledge a warning.',
      body: warningPut,
      handle: update,
    },
    {
      method: 'PATCH',
      path: ONE,
      access: 'admin',
      summary: 'Acknowledge a warning.',
      body: warningPut,
      handle: update,
    },
    {
      method: 'DELETE',
      path: ONE,
      access: 'admin',
      summary: 'Delete a warning.',
      handle: async (call) => {
        await warnings.remove(idOf(call));
        parts.events.lifecycle('warning-deleted', urlOf(idOf(call)), { requestor: call.caller.requestor });
        return answers.empty();
      },
    },
  ];
}

async function setStatus(parts: WarningRouteParts, call: Call): Promise<Answer> {
  const { status } = warningPut.parse(call.body);
  if (status !== 'new' && status !== 'acknowledged') {
    // LXD's words, its slip included: the value it takes is "acknowledged".
    throw new Fault('forbidden', 'Status may only be set to "acknowledge" or "new"');
  }
  await parts.warnings.setStatus(idOf(call), status);
  const action = status === 'new' ? 'warning-reset' : 'warning-acknowledged';
  parts.events.lifecycle(action, urlOf(idOf(call)), { requestor: call.caller.requestor });
  return answers.empty();
}

function idOf(call: Call): string {
  return call.params['id'] ?? '';
}

function urlOf(uuid: string): string {
  return `${LIST}/${uuid}`;
}

function renderWarning(row: WarningRow): WarningWire {
  return {
    status: row.status,
    uuid: row.uuid,
    location: 'none',
    project: row.project,
    type: row.type,
    count: row.count,
    first_seen_at: row.firstSeenAt,
    last_seen_at: row.lastSeenAt,
    last_message: row.lastMessage,
    severity: row.severity,
    entity_url: row.entityUrl,
  };
}
