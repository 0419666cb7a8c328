/** The parts of `slipway down`: instances, daemon, networks and, when asked for, the data. */
import { existsSync, readFileSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { DaemonConfig } from '../../config/load.ts';
import { describeChain, Fault } from '../../process/fault.ts';
import { removalOf, TABLE } from '../network/bridge-rules.ts';
import { runTool } from '../tools.ts';
import * as background from './background.ts';
import type { RestClient } from './rest-client.ts';

/** Below the time that systemd gives slipway-containers.service. */
const END_MS = 590_000;
const DELETE_TRIES = 3;

interface Instance {
  readonly name: string;
  readonly project: string;
  readonly status: string;
}

interface Named {
  readonly name: string;
}

async function listOf<T>(client: RestClient, path: string, signal: AbortSignal): Promise<T[]> {
  // Lists with recursion are arrays of this program's own objects.
  return (await client.get(path, signal)) as T[];
}

function urlOf(instance: Instance, tail = ''): string {
  return `/1.0/instances/${encodeURIComponent(instance.name)}${tail}?project=${encodeURIComponent(instance.project)}`;
}

async function allInstances(client: RestClient, signal: AbortSignal): Promise<Instance[]> {
  return listOf<Instance>(client, '/1.0/instances?recursion=1&all-projects=true', signal);
}

export async function countRunning(client: RestClient, signal: AbortSignal): Promise<number> {
  return (await allInstances(client, signal)).filter((instance) => instance.status !== 'Stopped').length;
}

/**
 * Deletes every instance, running or not. A daemon that was just started
 * brings back what ran before, so an instance may come up in between.
 */
export async function deleteInstances(client: RestClient, signal: AbortSignal): Promise<void> {
  for (let left = DELETE_TRIES; ; left--) {
    const all = await allInstances(client, signal);
    if (all.length === 0) return;
    const ends = await Promise.allSettled(all.map((instance) => deleteInstance(client, instance, signal)));
    const failed = ends.find((end) => end.status === 'rejected');
    if (failed !== undefined && left === 1) throw failed.reason;
  }
}

async function deleteInstance(client: RestClient, instance: Instance, signal: AbortSignal): Promise<void> {
  if (instance.status !== 'Stopped') {
    const ask = { action: 'stop', timeout: -1, force: true };
    await client.change('PUT', urlOf(instance, '/state'), ask, signal);
  }
  await client.change('DELETE', urlOf(instance), undefined, signal);
}

/** Names of the bridges that the daemon has made. */
export async function managedBridges(client: RestClient, signal: AbortSignal): Promise<string[]> {
  const networks = await listOf<Named & { managed: boolean; type: string }>(
    client,
    '/1.0/networks?recursion=1',
    signal,
  );
  return networks
    .filter((network) => network.managed && network.type === 'bridge')
    .map((network) => network.name);
}

/** Deletes images, networks and pools through the API, so that what lies outside the state folder goes too. */
export async function deleteEverything(client: RestClient, signal: AbortSignal): Promise<void> {
  for (const image of await listOf<{ fingerprint: string }>(client, '/1.0/images?recursion=1', signal)) {
    await client.change('DELETE', `/1.0/images/${image.fingerprint}`, undefined, signal);
  }
  for (const { name } of await listOf<Named>(client, '/1.0/profiles?recursion=1', signal)) {
    const empty = { description: '', config: {}, devices: {} };
    await client.change('PUT', `/1.0/profiles/${encodeURIComponent(name)}`, empty, signal);
  }
  for (const name of await managedBridges(client, signal)) {
    await client.change('DELETE', `/1.0/networks/${name}`, undefined, signal);
  }
  for (const { name } of await listOf<Named>(client, '/1.0/storage-pools?recursion=1', signal)) {
    await client.change('DELETE', `/1.0/storage-pools/${encodeURIComponent(name)}`, undefined, signal);
  }
}

/**
 * Asks the daemon to stop its containers, each in its own time, to remember
 * that they ran, and to end; waits until it is gone.
 */
export async function endDaemon(config: DaemonConfig, pid: number): Promise<void> {
  // Sent to the process itself: systemd's own stop signal would leave the containers running.
  process.kill(pid, 'SIGPWR');
  await background.until(`the daemon (process ${String(pid)}) stops its containers and ends`, END_MS, () =>
    background.isAlive(pid) ? null : true,
  );
  await rm(background.pidFile(config), { force: true });
}

/** Keeps systemd from starting the daemon again for whoever asks at its socket. */
export async function stopUnits(config: DaemonConfig): Promise<void> {
  if (!background.hasUnit(config)) return;
  await runTool('systemctl', ['stop', 'slipway.socket', 'slipway.service'], { timeoutMs: 600_000 });
}

/** Removes bridges with their rules and DHCP servers. Harmless when they are gone. */
export async function removeBridges(config: DaemonConfig, bridges: readonly string[]): Promise<void> {
  for (const bridge of bridges) {
    await stopDnsmasq(join(config.paths.state, 'networks', bridge));
    if (existsSync(`/sys/class/net/${bridge}/bridge`)) await runTool('ip', ['link', 'delete', bridge]);
    await runTool('nft', ['-f', '-'], { stdin: removalOf(bridge) });
  }
  await removeEmptyTable();
}

async function stopDnsmasq(folder: string): Promise<void> {
  const pid = Number((await readFile(join(folder, 'dnsmasq.pid'), 'utf8').catch(() => '')).trim());
  // The number may belong to someone else by now: only a dnsmasq of this folder is ended.
  if (!(pid > 0) || !commandLine(pid).includes(folder)) return;
  process.kill(pid, 'SIGTERM');
  await background.until('dnsmasq ends', 10_000, () => (background.isAlive(pid) ? null : true));
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${String(pid)}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

/** Bridges of another daemon on this machine may still have chains in it. */
async function removeEmptyTable(): Promise<void> {
  const { stdout, code } = await runTool('nft', ['list', 'table', 'inet', TABLE], { okCodes: [0, 1] });
  if (code === 0 && !stdout.includes('chain ')) await runTool('nft', ['delete', 'table', 'inet', TABLE]);
}

/** Removes the folders of state, logs and process ids. The daemon must have ended. */
export async function removeFolders(config: DaemonConfig): Promise<void> {
  const { state, log, run } = config.paths;
  for (const folder of [state, log, run]) await unmountBelow(folder);
  for (const folder of [run, log, state]) {
    try {
      await rm(folder, { recursive: true, force: true });
    } catch (cause) {
      throw new Fault('tool_failed', `remove ${folder}`, { cause });
    }
  }
}

/** Pools in loop files are mounted below the state folder; removing through a mount would reach into them. */
async function unmountBelow(folder: string): Promise<void> {
  const points = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((point) => point === folder || point.startsWith(`${folder}/`));
  for (const point of points.reverse()) {
    try {
      await runTool('umount', [point]);
    } catch (err) {
      throw new Fault('busy', `unmount ${point} before its data are removed: ${describeChain(err)}`);
    }
  }
}
