/**
 * `POST /1.0/instances/{name}/exec`: decides what is run, and hands it to a
 * session with websockets or to a task without.
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { Fault } from '../../process/fault.ts';
import type { ExecProcess } from '../../native/types.ts';
import type { InstanceRow, StringMap } from '../db/rows.ts';
import type { Requestor } from '../events/events.ts';
import { instanceResources } from '../operations/operations.ts';
import type { Operation } from '../operations/types.ts';
import { containerName } from '../paths.ts';
import type { InstanceExecPost } from '../wire/exec.ts';
import { execDirectory, execEnvironment } from './exec-environment.ts';
import { ExecSession } from './exec-session.ts';
import type { StdioFds } from './exec-session.ts';
import { runTask } from './exec-task.ts';
import { instanceUrl } from './instance-url.ts';
import { instanceLogDir } from './logs.ts';
import type { InstanceParts } from './parts.ts';
import { parseBool } from './values.ts';

export interface ExecParts extends Pick<
  InstanceParts,
  'native' | 'paths' | 'log' | 'events' | 'operations' | 'store' | 'runtime'
> {
  /** Which folders this running container's search path gets beyond the usual ones. Never rejects. */
  readonly searchExtras: (id: string) => Promise<readonly string[]>;
}

export interface ExecTarget {
  readonly project: string;
  readonly name: string;
  readonly requestor: Requestor;
}

interface Command {
  readonly row: InstanceRow;
  readonly argv: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly user: number;
  readonly group: number;
  readonly isSealed: boolean;
}

/** Starts the operation. Faults: not_found, bad_request (not running, frozen, an impossible environment). */
export async function execInInstance(
  parts: ExecParts,
  target: ExecTarget,
  post: InstanceExecPost,
): Promise<Operation> {
  const command = await prepare(parts, target, post);
  return post['wait-for-websocket'] === true
    ? startSession(parts, target, post, command)
    : startTask(parts, target, post, command);
}

/** Fault bad_request unless commands and consoles can reach it. */
export function checkRunning(parts: Pick<InstanceParts, 'runtime'>, row: InstanceRow): void {
  if (parts.runtime.initPid(row.id) === 0) throw new Fault('bad_request', 'Instance is not running');
  const status = parts.runtime.status(row.id);
  if (status === 'Frozen') throw new Fault('bad_request', 'Instance is frozen');
}

async function prepare(parts: ExecParts, target: ExecTarget, post: InstanceExecPost): Promise<Command> {
  const row = parts.store.byName(target.project, target.name);
  checkRunning(parts, row);
  const { config } = parts.store.expand(row);
  const user = post.user ?? 0;
  const environment = execEnvironment({
    config,
    asked: post.environment ?? {},
    user,
    searchExtras: await parts.searchExtras(row.id),
  });
  return {
    row,
    argv: post.command,
    environment,
    cwd: execDirectory(post.cwd ?? '', environment),
    user,
    group: post.group ?? 0,
    isSealed: needsSealedHelper(config),
  };
}

/** CVE-2019-5736: only where root inside may be root outside could the helper's file be overwritten. */
function needsSealedHelper(config: StringMap): boolean {
  return parseBool(config['security.privileged']) || (config['raw.idmap'] ?? '') !== '';
}

function launch(parts: ExecParts, command: Command, stdio: StdioFds, killWithDaemon: boolean): ExecProcess {
  return parts.native.exec({
    lxcPath: parts.paths.lxc,
    name: containerName(command.row.project, command.row.name),
    configFile: join(instanceLogDir(parts.paths, command.row), 'lxc.conf'),
    argv: command.argv,
    env: command.environment,
    uid: command.user,
    gid: command.group,
    cwd: command.cwd,
    stdio,
    sealed: command.isSealed,
    killWithDaemon,
  });
}

/** What both kinds of operation say of themselves. */
function execution(target: ExecTarget, row: InstanceRow) {
  return {
    description: 'Executing command',
    project: row.project,
    requestor: target.requestor,
    resources: instanceResources(row.project, row.name),
  };
}

function startSession(
  parts: ExecParts,
  target: ExecTarget,
  post: InstanceExecPost,
  command: Command,
): Operation {
  const { row } = command;
  const isInteractive = post.interactive === true;
  const session = new ExecSession({
    native: parts.native,
    isInteractive,
    width: post.width ?? 0,
    height: post.height ?? 0,
    launch: (stdio) => launch(parts, command, stdio, true),
    openPty: () => parts.native.monitor(parts.paths.lxc, containerName(row.project, row.name)).openPty(),
    onStarted: () => {
      announce(parts, target, command);
    },
  });
  return parts.operations.create({
    ...execution(target, row),
    class: 'websocket',
    metadata: {
      command: command.argv,
      environment: command.environment,
      interactive: isInteractive,
      fds: newSecrets(session.socketNames),
    },
    onConnect: (name, socket) => {
      session.sockets.add(name, socket);
    },
    run: (context) => session.run(context),
  });
}

/** A secret of 64 hexadecimal digits for each socket of an operation. */
export function newSecrets(names: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, randomBytes(32).toString('hex')]));
}

function startTask(
  parts: ExecParts,
  target: ExecTarget,
  post: InstanceExecPost,
  command: Command,
): Operation {
  const { row } = command;
  const record = { dir: instanceLogDir(parts.paths, row), operationId: () => operation.id };
  const operation: Operation = parts.operations.create({
    ...execution(target, row),
    class: 'task',
    metadata: { command: command.argv, environment: command.environment, interactive: false },
    run: (context) =>
      runTask({
        record: post['record-output'] === true ? record : null,
        logUrl: (file) => instanceUrl(row, `/logs/${file}`),
        // A command without a client goes on when the daemon ends.
        launch: (stdio) => launch(parts, command, stdio, false),
        onStarted: () => {
          announce(parts, target, command);
        },
        context,
      }),
  });
  return operation;
}

function announce(parts: ExecParts, target: ExecTarget, command: Command): void {
  parts.events.lifecycle('instance-exec', instanceUrl(command.row), {
    project: command.row.project,
    context: { command: command.argv },
    requestor: target.requestor,
  });
}
