/** What is done to containers for Nova: the words of it. guests.ts does it. */
import type { NetworkInfo, Vif } from '../cloud/vif.ts';
import type { FileTree } from './config-drive.ts';
import type { Caller } from './client.ts';
import type { NovaInstance } from './nova-instance.ts';

/** Nova's power_state numbers; the gaps are Nova's. */
export const POWER = {
  noState: 0,
  running: 1,
  paused: 3,
  shutdown: 4,
  crashed: 6,
  suspended: 7,
} as const;

export type PowerState = (typeof POWER)[keyof typeof POWER];

export interface Guest {
  readonly uuid: string;
  /** On this host: `instance-00000001`. */
  readonly name: string;
  readonly power: PowerState;
}

export interface SpawnRequest {
  readonly instance: NovaInstance;
  /** Image of the daemon it is made from. */
  readonly fingerprint: string;
  readonly vifs: NetworkInfo;
  /** Null when it gets no config drive. */
  readonly drive: FileTree | null;

  /** False leaves it made and off. */
  readonly start: boolean;
  /** Set in the guest soon after its start; null for none. */
  readonly adminPassword: string | null;
}

export interface RescueRequest {
  readonly instance: NovaInstance;
  readonly fingerprint: string;
  readonly vifs: NetworkInfo;
  readonly drive: FileTree | null;
  readonly password: string | null;
}

export type Diagnostics = Readonly<{
  uptimeS: number;
  cpus: readonly { readonly id: number; readonly timeNs: number }[];
  nics: readonly {
    readonly mac: string;
    readonly device: string;
    readonly rx: {
      readonly octets: number;
      readonly packets: number;
      readonly drop: number;
      readonly errors: number;
    };
    readonly tx: {
      readonly octets: number;
      readonly packets: number;
      readonly drop: number;
      readonly errors: number;
    };
  }[];
  disks: readonly {
    readonly device: string;
    readonly readBytes: number;
    readonly readRequests: number;
    readonly writeBytes: number;
    readonly writeRequests: number;
  }[];
  memory: { readonly maximumMiB: number; readonly usedMiB: number };
}>;

/**
 * What is done to containers; Nova's virt driver. Only instances with Nova's
 * marker are ever seen or touched. By uuid; a guest that is not there is
 * NovaError InstanceNotFound, but destroying it is success.
 */
export interface Guests {
  list(caller: Caller): Promise<readonly Guest[]>;
  /** POWER.noState when it is not there. */
  power(caller: Caller, uuid: string): Promise<PowerState>;
  /** Makes and starts it. After a failure nothing of it is left. */
  spawn(caller: Caller, request: SpawnRequest): Promise<void>;
  /** Harmless when it is gone, or half made. Also what rescue kept of it. */
  destroy(caller: Caller, uuid: string): Promise<void>;
  /** Starts it with these interfaces, which may differ from those it had. Harmless when it runs. */
  powerOn(caller: Caller, uuid: string, vifs: NetworkInfo): Promise<void>;
  /** Clean within `timeoutS`, then by force; 0: by force at once. Harmless when it is off. */
  powerOff(caller: Caller, uuid: string, timeoutS: number): Promise<void>;
  /** Soft: as powerOff with the timeout and start again. Hard: by force, and its definition is made anew. */
  reboot(caller: Caller, instance: NovaInstance, options: RebootOptions): Promise<void>;
  pause(caller: Caller, uuid: string): Promise<void>;
  unpause(caller: Caller, uuid: string): Promise<void>;
  /** Frozen too; told apart from a pause by a key of its own, so that each shows as what Nova asked for. */
  suspend(caller: Caller, uuid: string): Promise<void>;
  resume(caller: Caller, uuid: string): Promise<void>;
  /** Boots another root; the old one is at /mnt/rescued inside. */
  rescue(caller: Caller, request: RescueRequest): Promise<void>;
  unrescue(caller: Caller, uuid: string): Promise<void>;
  /** After a rescue that was cut off: the guest has its place again, and is off. Harmless when it was not put aside. */
  cancelRescue(caller: Caller, uuid: string): Promise<void>;
  /** Running or not. */
  attachInterface(caller: Caller, instance: NovaInstance, vif: Vif): Promise<void>;
  /** Harmless when it is gone. */
  detachInterface(caller: Caller, uuid: string, vif: Pick<Vif, 'id' | 'devname'>): Promise<void>;
  rename(caller: Caller, uuid: string, displayName: string): Promise<void>;
  consoleLog(caller: Caller, uuid: string): Promise<Buffer>;
  /** Where the console can be reached over plain TCP; the same place for as long as the guest runs. */
  serialConsole(caller: Caller, uuid: string): Promise<ConsoleAddress>;
  /** NovaError InstancePasswordSetFailed when the guest refuses it. */
  setPassword(caller: Caller, uuid: string, password: string): Promise<void>;
  diagnostics(caller: Caller, uuid: string): Promise<Diagnostics>;
  /** Totals of this host, for its ComputeNode and Placement. */
  capacity(caller: Caller): Promise<Capacity>;
  /** Ends what is open to consoles; guests run on. */
  close(): Promise<void>;
}

export interface ConsoleAddress {
  readonly host: string;
  readonly port: number;
}

export interface RebootOptions {
  readonly hard: boolean;
  readonly timeoutS: number;
  readonly vifs: NetworkInfo;
}

export interface Capacity {
  readonly cpus: number;
  readonly memoryMb: number;
  readonly diskGb: number;
  readonly diskUsedGb: number;
  /** Text of /proc/cpuinfo's kind: shown by the API. */
  readonly cpu: {
    readonly arch: string;
    readonly model: string;
    readonly vendor: string;
    readonly sockets: number;
    readonly cores: number;
    readonly threads: number;
  };
  /** liblxc's: "5.0.2". */
  readonly lxcVersion: string;
}
