/**
 * Nova's database, reached through conductor. Errors come as NovaError with the
 * class Nova gave them (UnexpectedTaskStateError, InstanceNotFound, …), Fault
 * timeout when conductor did not answer.
 */
import { Fault } from '../../process/fault.ts';
import type { RpcContext } from '../rpc/envelope.ts';
import type { CallOptions, RpcClient } from '../rpc/client.ts';
import { isRecord, type Json } from '../rpc/json.ts';
import { manifestOf, OBJECT_VERSIONS } from './object-versions.ts';
import { fromWire, NovaObject } from './versioned-object.ts';

/** The part of the RPC client that is used here. */
export type Calls = Pick<RpcClient, 'call' | 'cast'>;

export interface ClassCall {
  readonly object: string;
  readonly method: string;
  readonly args?: readonly unknown[];
  readonly kwargs?: Json;
}

export interface MethodCall {
  readonly method: string;
  readonly args?: readonly unknown[];
  readonly kwargs?: Json;
}

const TARGET = { topic: 'conductor' };
const VERSION = '3.0';

export class Conductor {
  private readonly calls: Calls;
  private readonly longTimeoutMs: number;

  constructor(calls: Calls, longTimeoutMs = 1_800_000) {
    this.calls = calls;
    this.longTimeoutMs = longTimeoutMs;
  }

  /** Asks whether a conductor is there; rejects when none answers in time. */
  async ping(context: RpcContext, options: CallOptions = {}): Promise<void> {
    const request = {
      method: 'ping',
      namespace: 'baseapi',
      version: '1.0',
      args: { arg: 'slipway' },
      context,
    };
    await this.calls.call(TARGET, request, options);
  }

  /** A class method; objects of the result are NovaObjects. Times in arguments are texts of contextTime(). */
  async classCall(context: RpcContext, call: ClassCall): Promise<unknown> {
    const args = {
      objname: call.object,
      objmethod: call.method,
      object_versions: manifestOf(call.object),
      args: call.args ?? [],
      kwargs: call.kwargs ?? {},
    };
    const request = { method: 'object_class_action_versions', version: VERSION, args, context };
    return fromWire(await this.calls.call(TARGET, request));
  }

  /** A class method that gives an object. */
  async classObject(context: RpcContext, call: ClassCall): Promise<NovaObject> {
    return NovaObject.of(await this.classCall(context, call));
  }

  /** A class method that gives an object or nothing. */
  async classObjectOrNull(context: RpcContext, call: ClassCall): Promise<NovaObject | null> {
    const result = await this.classCall(context, call);
    return result === null ? null : NovaObject.of(result);
  }

  /** A class method that gives a list object; its members. */
  async classList(context: RpcContext, call: ClassCall): Promise<readonly NovaObject[]> {
    return (await this.classObject(context, call)).objects();
  }

  /**
   * A method of the object itself. It gets the values conductor answers, and
   * its changes are forgotten but for those made while the call was under way.
   * Nothing changes when the call fails.
   */
  async objectCall(context: RpcContext, object: NovaObject, call: MethodCall): Promise<unknown> {
    const newer = object.track();
    try {
      const args = {
        objinst: object.toPrimitive(),
        objmethod: call.method,
        args: call.args ?? [],
        kwargs: call.kwargs ?? {},
      };
      const request = { method: 'object_action', version: VERSION, args, context };
      const answer: unknown = await this.calls.call(TARGET, request);
      const updates: unknown = Array.isArray(answer) ? answer[0] : null;
      if (!Array.isArray(answer) || !isRecord(updates)) {
        throw new Fault(
          'internal',
          `call ${call.method} of ${object.name}: conductor's answer has no updates`,
        );
      }
      object.applyUpdates(updates, newer);
      return fromWire(answer[1] ?? null);
    } finally {
      object.untrack(newer);
    }
  }

  /** The object in a version this service speaks, made by a conductor that knows both. */
  async backport(context: RpcContext, object: NovaObject): Promise<NovaObject> {
    const args = {
      objinst: object.toPrimitive(),
      object_versions: { ...OBJECT_VERSIONS, ...manifestOf(object.name) },
    };
    const request = { method: 'object_backport_versions', version: VERSION, args, context };
    return NovaObject.of(await this.calls.call(TARGET, request));
  }

  /** Gives a build back to be tried on another host. The arguments are those the build came with. */
  async buildInstances(context: RpcContext, args: Json): Promise<void> {
    const request = { method: 'build_instances', namespace: 'compute_task', version: '1.19', args, context };
    await this.calls.cast(TARGET, request);
  }

  /** Gives a resize back to be tried on another host. */
  async migrateServer(context: RpcContext, args: Json): Promise<void> {
    const fixed = {
      live: false,
      rebuild: false,
      block_migration: null,
      disk_over_commit: null,
      reservations: null,
    };
    const request = {
      method: 'migrate_server',
      namespace: 'compute_task',
      version: '1.20',
      args: { ...fixed, ...args },
      context,
    };
    await this.calls.call(TARGET, request, { timeoutMs: this.longTimeoutMs });
  }
}
