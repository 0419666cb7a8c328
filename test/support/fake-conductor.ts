import assert from 'node:assert/strict';
import type { Calls } from '../../driver/nova/conductor.ts';
import type { Outgoing } from '../../driver/rpc/envelope.ts';
import { isRecord, type Json } from '../../driver/rpc/json.ts';
import { recordedRequest } from './recorded-messages.ts';

/** A conductor that gives prepared answers, in order, and keeps what it was asked. */
export class FakeCalls implements Calls {
  readonly asked: Outgoing[] = [];
  private readonly answers: unknown[];

  constructor(...answers: readonly unknown[]) {
    this.answers = [...answers];
  }

  call(_target: unknown, request: Outgoing): Promise<unknown> {
    // As on the wire: what is sent is a copy.
    this.asked.push(structuredClone({ ...request, args: wire(request.args) }));
    const answer = this.answers.shift() ?? null;
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
  }

  cast(target: unknown, request: Outgoing): Promise<void> {
    return this.call(target, request).then(() => undefined);
  }

  get args(): readonly Json[] {
    return this.asked.map((each) => ({ ...each.args }));
  }
}

function wire(value: unknown): Json {
  const read: unknown = JSON.parse(JSON.stringify(value));
  assert.ok(isRecord(read));
  return read;
}

/** The arguments a real compute service sent. */
export function sentArgs(name: string, method: string, objmethod?: string): Json {
  const { args } = recordedRequest(name, method, objmethod).message;
  assert.ok(isRecord(args));
  return args;
}
