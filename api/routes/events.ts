/** `/1.0/events`: the websocket every client that starts an operation listens on. */
import type { WebSocket } from 'ws';
import { Fault } from '../../process/fault.ts';
import type { Log } from '../../process/log.ts';
import type { ApiEvent, Events } from '../events/events.ts';
import type { Call, Caller, WebSocketRoute } from '../http/route.ts';
import { EVENT_TYPES } from '../wire/events.ts';

/** A listener that lets more than this wait is dropped: it must not cost the daemon's memory. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;

export interface EventRouteParts {
  readonly events: Events;
  readonly log: Log;
  readonly maxWaitingBytes?: number;
}

interface Wanted {
  readonly types: ReadonlySet<string>;
  /** null for all. */
  readonly project: string | null;
  /** Events of the whole server: admins alone. */
  readonly serverWide: boolean;
}

export function eventWebSockets(parts: EventRouteParts): WebSocketRoute[] {
  /** Every listener gets the same text: it is made once per event. */
  const texts = new WeakMap<ApiEvent, string>();
  const textOf = (event: ApiEvent): string => {
    const text = texts.get(event) ?? JSON.stringify(event);
    texts.set(event, text);
    return text;
  };
  return [
    {
      path: '/1.0/events',
      access: 'trusted',
      summary: 'Sends events, one JSON object per text message; `type`, `project` and `all-projects` choose.',
      accept: async (call) => {
        const wanted = readWanted(call);
        return (socket) => {
          follow(parts, socket, (event) => (isWanted(event, wanted) ? textOf(event) : null));
        };
      },
    },
  ];
}

function readWanted(call: Call): Wanted {
  const { caller, query } = call;
  const everywhere = query.get('all-projects') === 'true';
  if (everywhere && query.has('project')) {
    throw new Fault('bad_request', 'Cannot specify a project when requesting all projects');
  }
  if (!caller.admin && (everywhere || !(caller.projects ?? []).includes(call.project))) {
    throw new Fault('forbidden', 'not authorized');
  }
  return {
    types: readTypes(query.get('type'), caller),
    project: everywhere ? null : call.project,
    // Differs: LXD sends these to restricted listeners too, tokens included.
    serverWide: caller.admin,
  };
}

function readTypes(text: string | null, caller: Caller): ReadonlySet<string> {
  if (text === null || text === '') {
    return new Set(EVENT_TYPES.filter((type) => type !== 'logging' || caller.admin));
  }
  const types = text.split(',');
  const unknown = types.find((type) => !EVENT_TYPES.some((known) => known === type));
  if (unknown !== undefined) {
    throw new Fault('bad_request', `"${unknown.slice(0, 40)}" isn't a supported event type`);
  }
  if (types.includes('logging') && !caller.admin) throw new Fault('forbidden', 'not authorized');
  return new Set(types);
}

function isWanted(event: ApiEvent, wanted: Wanted): boolean {
  if (!wanted.types.has(event.type)) return false;
  if (event.project === undefined) return wanted.serverWide;
  return wanted.project === null || event.project === wanted.project;
}

function follow(parts: EventRouteParts, socket: WebSocket, textOf: (event: ApiEvent) => string | null): void {
  const limit = parts.maxWaitingBytes ?? MAX_WAITING_BYTES;
  const stop = parts.events.subscribe((event) => {
    const text = textOf(event);
    if (text === null || socket.readyState !== socket.OPEN) return;
    if (socket.bufferedAmount > limit) {
      stop();
      socket.terminate();
      parts.log.warn('dropped a listener that does not read its events', { waiting: socket.bufferedAmount });
      return;
    }
    socket.send(text);
  });
  socket.on('close', stop);
}
