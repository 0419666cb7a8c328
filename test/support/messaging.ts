/** Messaging of a made-up host, configured by the text of a nova.conf; and the log it writes. */
import { setTimeout as sleep } from 'node:timers/promises';
import { readIni } from '../../config/oslo-ini.ts';
import { COMPUTE_OPTIONS, type ComputeOptions } from '../../config/options/compute.ts';
import { readOptions } from '../../config/read-options.ts';
import { Messaging } from '../../driver/rpc/messaging.ts';
import type { Endpoint, RpcHandler } from '../../driver/rpc/server.ts';
import { SILENT, type Log } from '../../process/log.ts';

const DEADLINE_MS = 60_000;

export function computeOptions(text: string): ComputeOptions {
  return readOptions(COMPUTE_OPTIONS, readIni(text, 'nova.conf')).values;
}

export function messaging(url: string, host: string, extra = '', log: Log = SILENT): Messaging {
  const made = new Messaging(computeOptions(`[DEFAULT]\ntransport_url = ${url}\n${extra}`), host, log);
  made.start();
  return made;
}

/** An endpoint of compute 6.x with these methods. */
export function computeEndpoint(methods: Readonly<Record<string, RpcHandler>>): Endpoint {
  return { namespace: null, major: 6, methods: new Map(Object.entries(methods)) };
}

/** A log that keeps its messages. */
export function listeningLog(): { readonly log: Log; readonly lines: string[] } {
  const lines: string[] = [];
  const note = (msg: string, facts?: unknown) => void lines.push(`${msg} ${JSON.stringify(facts ?? {})}`);
  const log: Log = { debug: note, info: note, warn: note, error: note, with: () => log };
  return { log, lines };
}

/** Waits for a condition, with a deadline. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + DEADLINE_MS;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`);
    await sleep(20);
  }
}
