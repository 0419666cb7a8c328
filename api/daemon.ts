/**
 * The composition root of the REST daemon: builds everything, in order
 * (daemon-sides.ts, then daemon-http.ts), and stops it in reverse. Plain code:
 * what depends on what is read here.
 */
import { chmod, mkdir, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import type { DaemonConfig } from '../config/load.ts';
import { openNative } from '../native/index.ts';
import { describeChain } from '../process/fault.ts';
import type { Log } from '../process/log.ts';
import { repeat } from '../process/periodic.ts';
import { backgroundWork } from './background.ts';
import { openHttp } from './daemon-http.ts';
import type { HttpSide } from './daemon-http.ts';
import { openData, openSides } from './daemon-sides.ts';
import type { Data, Ground, Sides } from './daemon-sides.ts';
import { openDatabase } from './db/database.ts';
import type { Events } from './events/events.ts';
import { loadServerCertificate } from './http/server-certificate.ts';
import type { InstanceSide } from './instance-side.ts';
import { openOperations } from './operations/operations.ts';
import { pathsBelow } from './paths.ts';
import type { Paths } from './paths.ts';
import { quickenCgroups } from './quick-cgroups.ts';
import { lockState } from './state-lock.ts';

const STOP_DEADLINE_MS = 10_000;

export interface Daemon {
  /** Ends the daemon; containers go on. With `stopInstances` they are shut down first (host shutdown). */
  stop(stopInstances: boolean): Promise<void>;
}

/** Resolves when the daemon answers and every instance is known. */
export async function startDaemon(config: DaemonConfig, log: Log, events: Events): Promise<Daemon> {
  const paths = pathsBelow(config.paths.state, config.paths.log);
  await makeFolders(paths);
  const lock = await lockState(paths.state);
  const ending = new AbortController();
  try {
    const ground: Ground = {
      native: openNative(),
      database: await openDatabase(config.database.connection, { log }),
      operations: openOperations({ events, log }),
      paths,
      log,
      events,
      signal: ending.signal,
    };
    const all = await build(ground);
    const work = await goLive(config, all);
    return {
      stop: async (stopInstances) => {
        await stopAll(all, work, ending, stopInstances);
        lock.release();
      },
    };
  } catch (err) {
    ending.abort(err);
    lock.release();
    throw err;
  }
}

type Built = Ground & Data & Sides & HttpSide;

async function build(ground: Ground): Promise<Built> {
  const data = await openData(ground);
  const certificate = await loadServerCertificate({
    certificatePath: ground.paths.serverCertificate,
    keyPath: ground.paths.serverKey,
    hostName: hostname(),
  });
  const sides = await openSides({ ...ground, ...data });
  const front = await openHttp({ ...ground, ...data, ...sides, certificate });
  return { ...ground, ...data, ...sides, ...front };
}

/** Brings the instances to a clean state, then listens, then does what is done in the background. */
async function goLive(config: DaemonConfig, all: Built): Promise<readonly Promise<void>[]> {
  const { toStart, late } = await all.instances.recover(await all.database.tables.instances.all());
  await all.listeners.openUnix({
    path: all.paths.socket,
    group: config.api.socketGroup === '' ? null : config.api.socketGroup,
    activatedFd: config.environment.listenFds['unix'] ?? null,
  });
  await all.listeners.followConfig();
  all.http.setPhase('ready');
  const tasks = backgroundWork(all).map((task) => repeat(task, all.log, all.signal));
  const quicken = config.host.quickCgroups ? quickenCgroups(all.host.unified, all.log) : Promise.resolve();
  const starting = all.instances.autostart(toStart);
  const startingLate = late.then((ids) => all.instances.autostart(ids));
  return [quicken, starting, startingLate, ...tasks].map((promise) =>
    promise.catch((err: unknown) => {
      all.log.error('background work ended with an error', { error: describeChain(err) });
    }),
  );
}

async function stopAll(
  all: Built,
  work: readonly Promise<void>[],
  ending: AbortController,
  stopInstances: boolean,
): Promise<void> {
  all.http.setPhase('stopping');
  if (stopInstances) await awaitOperations(all);
  if (stopInstances) await shutDownInstances(all.instances, all.log);
  ending.abort(new Error('the daemon is stopping'));
  all.operations.abortAll();
  const unfinished = await all.operations.settle(STOP_DEADLINE_MS);
  if (unfinished.length > 0) all.log.warn('operations were cut off', { operations: unfinished });
  await all.listeners.close(1_000);
  await all.guest.close();
  await all.instances.files.closeAll();
  // The monitors go on; only their sockets are let go, or this process would never end.
  for (const id of all.powers.runningIds()) all.powers.running(id)?.close();
  await Promise.all(work);
  await all.database.close();
}

/** Commands and consoles end with their instances; nobody knows how long they would go on. */
const OF_INSTANCES = new Set(['Executing command', 'Showing console']);

/** When the host goes down, what is under way gets the time of core.shutdown_timeout. */
async function awaitOperations(all: Built): Promise<void> {
  const minutes = Number(all.serverConfig.get('core.shutdown_timeout'));
  const late = await all.operations.settle(minutes * 60_000, (what) => !OF_INSTANCES.has(what));
  if (late.length > 0) all.log.warn('operations are not waited for any longer', { operations: late });
}

async function makeFolders(paths: Paths): Promise<void> {
  await mkdir(paths.state, { recursive: true, mode: 0o711 });
  for (const path of [paths.log, paths.images, paths.pools, paths.networks, paths.devices, paths.lxc]) {
    await mkdir(path, { recursive: true, mode: 0o711 });
  }
  await mkdir(paths.configDrives, { recursive: true, mode: 0o700 });
  await mkdir(`${paths.lxc}/.root`, { recursive: true, mode: 0o711 });
  // Whoever made them first may have had a tight umask, and roots of containers walk through these.
  for (const path of [paths.state, paths.pools, paths.networks, paths.devices, paths.lxc]) {
    const { mode } = await stat(path);
    if ((mode & SEARCH) !== SEARCH) await chmod(path, (mode & 0o7777) | SEARCH);
  }
}

const SEARCH = 0o011;

/** At host shutdown: higher boot.stop.priority first, then all of one priority together. */
async function shutDownInstances(side: InstanceSide, log: Log): Promise<void> {
  const { store } = side.parts;
  const running = store.list().filter((row) => side.runtime.initPid(row.id) > 0);
  const priorityOf = (id: string): number =>
    Number(store.expand(store.byId(id)).config['boot.stop.priority'] ?? '0');
  const priorities = [...new Set(running.map((row) => priorityOf(row.id)))].sort((a, b) => b - a);
  for (const priority of priorities) {
    const group = running.filter((row) => priorityOf(row.id) === priority);
    await Promise.all(
      group.map(async (row) => {
        try {
          await side.stopForShutdown(row.id);
        } catch (err) {
          log.error('an instance did not stop at shutdown', {
            instance: row.name,
            error: describeChain(err),
          });
        }
      }),
    );
  }
}
