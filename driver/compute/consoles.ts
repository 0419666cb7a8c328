/** Consoles of instances, and what else is asked about a running guest: RPC methods of compute 6.x. */
import { isNovaError, novaError } from '../rpc/nova-error.ts';
import type { Json } from '../rpc/json.ts';
import type { RpcHandler } from '../rpc/server.ts';
import { NovaObject } from '../nova/versioned-object.ts';
import { setAdminPassword } from './set-admin-password.ts';
import { flatDiagnostics, instanceDiagnostics } from './diagnostics.ts';
import type { ComputeHost, ConsoleAddress } from './host.ts';
import { instanceMethod, type MethodRules, type Work } from './method.ts';

/** As Nova: no action event, no task state, but a fault for the owner. */
const ASKING: MethodRules = { recordsFault: true };

export function consoleMethods(host: ComputeHost): ReadonlyMap<string, RpcHandler> {
  const asking = (work: (work: Work) => Promise<unknown>): RpcHandler => instanceMethod(host, ASKING, work);
  return new Map([
    ['get_console_output', asking((work) => consoleOutput(host, work))],
    ['get_serial_console', asking((work) => serialConsole(host, work))],
    ...['get_vnc_console', 'get_spice_console', 'get_rdp_console', 'get_mks_console'].map(
      (method) => [method, asking((work) => Promise.reject(unavailable(work)))] as const,
    ),
    ['validate_console_port', asking((work) => isConsolePort(host, work))],
    ['get_diagnostics', asking((work) => flatDiagnostics(host, work))],
    ['get_instance_diagnostics', asking((work) => instanceDiagnostics(host, work))],
    [
      'set_admin_password',
      instanceMethod(
        host,
        { event: 'compute_set_admin_password', revertsTaskState: true, recordsFault: true },
        (work) => setAdminPassword(host, work),
      ),
    ],
  ]);
}

async function consoleOutput(host: ComputeHost, work: Work): Promise<string> {
  const { call, instance, args } = work;
  const log = await whileBuilding(work, () => host.guests.consoleLog(call, instance.text('uuid')));
  return asciiText(tail(log, args['tail_length']));
}

/** The last lines; everything for no number. A text that is no number counts as 0, as in Nova. */
function tail(log: Buffer, length: unknown): Buffer {
  if (length === null || length === undefined) return log;
  const text = typeof length === 'number' ? String(length) : length;
  const lines = typeof text === 'string' && /^\s*-?\d+\s*$/.test(text) ? Number(text) : 0;
  if (lines === 0) return Buffer.alloc(0);
  if (lines < 0) return log;
  let from = log.length;
  for (let left = lines; left > 0 && from >= 0; left -= 1) {
    // Before the line break that was found last; there is none before the first byte.
    from = from === 0 ? -1 : log.lastIndexOf(0x0a, from - 1);
  }
  return log.subarray(from + 1);
}

/** Nova's decoding: what is not ASCII becomes a replacement character, byte by byte. */
function asciiText(log: Buffer): string {
  return log.toString('latin1').replace(/[\u0080-\u00ff]/g, '\ufffd');
}

async function serialConsole(host: ComputeHost, work: Work): Promise<Json> {
  const { context, instance } = work;
  const { serial_console: options, consoleauth } = host.options;
  if (!options.enabled) throw unavailable(work);
  const address = await whileBuilding(work, () => addressOf(host, work));
  const token = NovaObject.create('ConsoleAuthToken', {
    console_type: consoleType(work),
    host: address.host,
    port: address.port,
    internal_access_path: null,
    instance_uuid: instance.text('uuid'),
    access_url_base: options.base_url,
  });
  const call = { method: 'authorize', args: [consoleauth.token_ttl] };
  const secret = String(await host.conductor.objectCall(context, token, call));
  const base = options.base_url;
  return {
    host: address.host,
    port: address.port,
    internal_access_path: null,
    token: secret,
    access_url: `${base}${base.includes('?') ? '&' : '?'}token=${secret}`,
  };
}

/** A console proxy asks before it connects: is this port still the guest's? */
async function isConsolePort(host: ComputeHost, work: Work): Promise<boolean> {
  if (consoleType(work) !== 'serial' || !host.options.serial_console.enabled) return false;
  const { port } = await whileBuilding(work, () => addressOf(host, work));
  return String(port) === String(work.args['port']);
}

function addressOf(host: ComputeHost, { call, instance }: Work): Promise<ConsoleAddress> {
  return host.guests.serialConsole(call, instance.text('uuid'));
}

function consoleType(work: Work): string {
  return String(work.args['console_type'] ?? '');
}

function unavailable(work: Work): Error {
  return novaError('ConsoleTypeUnavailable', { console_type: consoleType(work) });
}

/** A guest that is not there, or not up, yet is not ready; later it is an error. */
async function whileBuilding<T>(work: Work, ask: () => Promise<T>): Promise<T> {
  const { instance } = work;
  try {
    return await ask();
  } catch (err) {
    // The API knows an answer (409) for one of them only.
    const isOff = isNovaError(err, 'InstanceNotRunning');
    const isYoung = isNovaError(err, 'InstanceNotFound') && instance.textOrNull('vm_state') === 'building';
    if (!isOff && !isYoung) throw err;
    throw novaError('InstanceNotReady', { instance_id: instance.text('uuid') }, { cause: err });
  }
}
