/** `/1.0/instances/{name}/state`: what an instance is doing, and changing it. */
import { Fault } from '../../process/fault.ts';
import type { Route } from '../http/route.ts';
import { answers } from '../http/route.ts';
import { parseAction } from '../instances/change-state.ts';
import type { StateChanges, StateRequest } from '../instances/change-state.ts';
import type { InstanceParts } from '../instances/parts.ts';
import { instanceState, instanceStatePut } from '../wire/instances.ts';
import type { InstanceStatePutWire } from '../wire/instances.ts';

const STATE = '/1.0/instances/{name}/state';

/** Faults bad_request (unknown action), not_implemented (stateful). */
export function decodeState(body: InstanceStatePutWire): StateRequest {
  const action = parseAction(body.action);
  if (body.stateful === true) {
    throw new Fault(
      'not_implemented',
      'keeping the running state of an instance is not done yet; leave "stateful" away',
    );
  }
  // Absent means for ever, 0 means at once, as in LXD.
  return { action, timeoutS: body.timeout ?? -1, force: body.force ?? false };
}

export function instanceStateRoutes(parts: InstanceParts, changes: StateChanges): Route[] {
  return [
    {
      method: 'GET',
      path: STATE,
      access: 'project',
      summary: 'Shows the state of an instance: its processes, memory, addresses.',
      answer: instanceState,
      handle: async (call) => {
        const row = parts.store.byName(call.project, call.params['name'] ?? '');
        return answers.sync(await parts.runtime.state(row.id));
      },
    },
    {
      method: 'PUT',
      path: STATE,
      access: 'project',
      summary: 'Starts, stops, restarts, freezes or unfreezes an instance.',
      body: instanceStatePut,
      handle: async (call) => {
        const row = parts.store.byName(call.project, call.params['name'] ?? '');
        const request = decodeState(instanceStatePut.parse(call.body));
        return answers.async(changes.begin(row, request, call.caller.requestor));
      },
    },
  ];
}
