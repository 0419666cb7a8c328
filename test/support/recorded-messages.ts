/** Messages that a real control plane and a real compute service exchanged, by year of the release. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isRecord, type Json } from '../../driver/rpc/json.ts';

const FOLDER = join(import.meta.dirname, 'messages');

export interface Recorded {
  readonly exchange: string;
  readonly key: string;
  readonly properties: Json;
  /** The inner message, decoded. */
  readonly message: Json;
}

export function recordings(): readonly string[] {
  return readdirSync(FOLDER).filter((name) => name.endsWith('.jsonl'));
}

export function recorded(name: string): readonly Recorded[] {
  return readFileSync(join(FOLDER, name), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => {
      const read: unknown = JSON.parse(line);
      if (!isRecord(read) || !isRecord(read['message']) || !isRecord(read['properties']))
        throw new Error(name);
      return {
        exchange: String(read['exchange']),
        key: String(read['key']),
        properties: read['properties'],
        message: read['message'],
      };
    });
}

/** The first request for a method, of an object when one is named. */
export function recordedRequest(name: string, method: string, objmethod?: string): Recorded {
  const found = recorded(name).find(({ message }) => {
    const args = message['args'];
    if (message['method'] !== method) return false;
    return objmethod === undefined || (isRecord(args) && args['objmethod'] === objmethod);
  });
  if (found === undefined) throw new Error(`${name} has no ${method} ${objmethod ?? ''}`);
  return found;
}
