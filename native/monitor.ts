/**
 * Questions to a container's monitor, in liblxc's own protocol on its abstract
 * socket: one request per connection, 16 bytes and data each way.
 *
 * liblxc's client side waits for ever on a monitor that hangs; this one has a
 * deadline, holds no thread and needs no liblxc.
 */
import { fchownSync, fstatSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { Fault } from '../process/fault.ts';
import type { Binding, ExchangeResult } from './binding.ts';
import { errnoName, systemFault } from './faults.ts';
import { COMMAND, commandAddress, decodeState, decodeText, encodeCommand, isNobody } from './monitor-wire.ts';
import { StateWatch } from './state-watch.ts';
import type { ContainerState, Monitor } from './types.ts';

const NO_DATA = Buffer.alloc(0);
const TEXT_LIMIT = 64 * 1024;
const CONSOLE_LIMIT = 64 * 1024 * 1024;

type Answer = Extract<ExchangeResult, { readonly ret: number }>;

interface AskOptions {
  readonly value?: number;
  /** Keep the connection; the caller closes it. */
  readonly keep?: boolean;
  readonly limit?: number;
}

/** Nobody listens, or the monitor ended the connection: its way to say no. */
type Refusal = 'nobody' | 'refused';

export class CommandSocket implements Monitor {
  private readonly binding: Binding;
  private readonly name: string;
  private readonly address: Buffer;
  private readonly timeoutMs: number;

  constructor(binding: Binding, lxcPath: string, name: string, timeoutMs: number) {
    this.binding = binding;
    this.name = name;
    this.address = commandAddress(lxcPath, name);
    this.timeoutMs = timeoutMs;
  }

  async state(): Promise<ContainerState> {
    const answer = await this.ask(COMMAND.state, NO_DATA);
    if (answer === null) return 'STOPPED';
    this.refuseErrors(answer, 'state');
    return decodeState(answer.value);
  }

  async initPid(): Promise<number> {
    const answer = await this.ask(COMMAND.initPid, NO_DATA);
    if (answer === null) return 0;
    this.refuseErrors(answer, 'process id');
    return Math.max(answer.value, 0);
  }

  async cgroupPath(controller: string): Promise<string> {
    // On a hybrid host liblxc denies knowing the unified tree, which has no
    // controllers there; it names the payload alike in all trees.
    const names = controller === '' ? ['', 'name=systemd', 'freezer', 'memory'] : [controller];
    for (const name of names) {
      const data = name === '' ? NO_DATA : Buffer.from(`${name}\0`);
      const answer = await this.exchange(COMMAND.cgroup, data);
      if (answer === 'nobody') throw this.notRunning();
      if (answer !== 'refused' && answer.ret >= 0) return decodeText(answer.data);
    }
    throw new Fault('not_found', `container ${this.name} has no cgroup of controller "${controller}"`);
  }

  async configItem(key: string): Promise<string> {
    const answer = await this.running(COMMAND.configItem, Buffer.from(`${key}\0`));
    this.refuseErrors(answer, `configuration ${key}`);
    return decodeText(answer.data);
  }

  async consoleLog(options: { readonly clear: boolean }): Promise<Buffer> {
    // struct lxc_cmd_console_log: bool clear, bool read, u64 read_max (0: all), bool write_logfile.
    const data = Buffer.alloc(24);
    data.writeUInt8(options.clear ? 1 : 0, 0);
    data.writeUInt8(1, 1);
    const answer = await this.running(COMMAND.consoleLog, data, { limit: CONSOLE_LIMIT });
    if (answer.ret === -constants.errno.ENODATA) return NO_DATA;
    this.refuseErrors(answer, 'console log');
    return answer.data;
  }

  async openConsole(tty: number): Promise<{ readonly fd: number; release(): void }> {
    const answer = await this.exchange(COMMAND.ttyFd, NO_DATA, { value: tty, keep: true });
    if (answer === 'nobody') throw this.notRunning();
    const [fd, ...more] = answer === 'refused' ? [] : answer.fds;
    if (answer === 'refused' || answer.ret < 0 || fd === undefined) {
      if (answer !== 'refused') this.closeAll([...answer.fds, answer.connection]);
      throw new Fault('busy', `console of ${this.name} is in use by somebody else, or it has none`);
    }
    this.closeAll(more);
    let held = true;
    return {
      fd,
      // The monitor takes the console back when this connection ends.
      release: () => {
        if (held) this.binding.closeFd(answer.connection);
        held = false;
      },
    };
  }

  async openPty(): Promise<{ readonly master: number; readonly slave: number }> {
    const answer = await this.running(COMMAND.devptsFd, NO_DATA);
    const [devpts] = answer.fds;
    try {
      if (devpts === undefined) {
        throw new Fault('native_failed', `monitor of ${this.name} has no devpts to give`);
      }
      const pair = this.binding.pty(devpts);
      if (typeof pair === 'number') throw systemFault(`terminal in ${this.name}`, pair);
      const [master, slave] = pair;
      await this.giveToRoot(slave).catch((err: unknown) => {
        this.closeAll(pair);
        throw err;
      });
      return { master, slave };
    } finally {
      this.closeAll(answer.fds);
    }
  }

  async watch(onState: (state: ContainerState) => void): Promise<{ close(): void }> {
    const watch = new StateWatch(this.binding, this.address, onState);
    await watch.begin(this.timeoutMs);
    return {
      close: () => {
        watch.close();
      },
    };
  }

  /** The terminal's file belongs to host root, who has no id inside: programs could not open it by name. */
  private async giveToRoot(slave: number): Promise<void> {
    const pid = await this.initPid();
    if (pid === 0) throw this.notRunning();
    const map = await readFile(`/proc/${String(pid)}/uid_map`, 'utf8').catch((err: unknown) => {
      throw new Fault('unavailable', `container ${this.name} has just ended`, { cause: err });
    });
    for (const line of map.split('\n')) {
      const [inside, outside] = line.trim().split(/\s+/);
      if (inside === '0' && outside !== undefined) {
        fchownSync(slave, Number(outside), fstatSync(slave).gid);
      }
    }
  }

  private closeAll(fds: readonly number[]): void {
    for (const fd of fds) if (fd >= 0) this.binding.closeFd(fd);
  }

  private refuseErrors(answer: Answer, what: string): void {
    if (answer.ret >= 0) return;
    throw new Fault('native_failed', `${what} of ${this.name}: ${errnoName(-answer.ret)}`, {
      facts: { errno: -answer.ret },
    });
  }

  private notRunning(): Fault {
    return new Fault('unavailable', `container ${this.name} is not running`);
  }

  private async running(command: number, data: Buffer, options: AskOptions = {}): Promise<Answer> {
    const answer = await this.ask(command, data, options);
    if (answer === null) throw this.notRunning();
    return answer;
  }

  /** Null when nobody listens. */
  private async ask(command: number, data: Buffer, options: AskOptions = {}): Promise<Answer | null> {
    const answer = await this.exchange(command, data, options);
    if (answer === 'refused') {
      throw new Fault('native_failed', `monitor of ${this.name} refused command ${String(command)}`);
    }
    return answer === 'nobody' ? null : answer;
  }

  private async exchange(command: number, data: Buffer, options: AskOptions = {}): Promise<Answer | Refusal> {
    const answer = await this.binding.exchange(
      this.address,
      encodeCommand(command, data, options.value),
      options.limit ?? TEXT_LIMIT,
      options.keep ?? false,
      this.timeoutMs,
    );
    if ('ret' in answer) return answer;
    if (isNobody(answer.error)) return 'nobody';
    if (answer.error === constants.errno.ECONNRESET) return 'refused';
    if (answer.error === constants.errno.ETIMEDOUT) {
      throw new Fault('timeout', `monitor of ${this.name} does not answer; is it stopped or out of memory?`);
    }
    throw systemFault(`monitor of ${this.name}`, answer.error);
  }
}
