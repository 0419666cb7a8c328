/**
 * Bridges that nics with `parent.create` stand on: made when the first of them
 * needs one that nobody has made yet, and removed behind the last when they
 * were made here and hold nothing else.
 */
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { Fault, isFault } from '../../process/fault.ts';
import { Lanes } from '../../process/lanes.ts';
import { linkKind } from './bridge-link.ts';
import { isMissing } from './dnsmasq.ts';
import type { RunTool } from './parts.ts';

export class PortBridges {
  private readonly runTool: RunTool;
  private readonly mark: string;
  private readonly lanes = new Lanes();
  /** Bridge -> nics that are coming or there: their links may not be ports yet. */
  private readonly holders = new Map<string, Set<string>>();

  /** @param state folder of this daemon's state, by which it knows its bridges */
  constructor(runTool: RunTool, state: string) {
    this.runTool = runTool;
    this.mark = `slipway:${state}`.slice(0, 255);
  }

  /** Fault conflict when something else has the name. */
  hold(bridge: string, port: string): Promise<void> {
    return this.lanes.run(bridge, async () => {
      const kind = await linkKind(bridge);
      if (kind === 'other') {
        throw new Fault('conflict', `make bridge "${bridge}": another interface has that name`);
      }
      if (kind === 'none') await this.make(bridge);
      const holders = this.holders.get(bridge) ?? new Set();
      this.holders.set(bridge, holders.add(port));
    });
  }

  /** `port` may still be in the bridge; it is about to go. */
  release(bridge: string, port: string): Promise<void> {
    return this.lanes.run(bridge, async () => {
      const holders = this.holders.get(bridge);
      holders?.delete(port);
      if (holders !== undefined && holders.size > 0) return;
      this.holders.delete(bridge);
      if (await this.isOursAndEmpty(bridge, port)) await this.remove(bridge);
    });
  }

  /** Removes bridges of ours that a crash has left behind with nothing in them. */
  async sweep(): Promise<void> {
    for (const link of await readdir('/sys/class/net')) {
      if ((await linkKind(link)) === 'bridge' && (await this.isOursAndEmpty(link, '')))
        await this.release(link, '');
    }
  }

  /** As Neutron's agent makes them: it takes them over as they are. */
  private async make(bridge: string): Promise<void> {
    try {
      const options = ['forward_delay', '0', 'stp_state', '0', 'mcast_snooping', '0'];
      await this.runTool('ip', ['link', 'add', 'name', bridge, 'type', 'bridge', ...options]);
    } catch (err) {
      if (!isFault(err, 'tool_failed') || (await linkKind(bridge)) !== 'bridge') throw err;
      return; // the agent was faster
    }
    await writeFile(`/sys/class/net/${bridge}/ifalias`, this.mark);
    await writeUnlessMissing(`/proc/sys/net/ipv6/conf/${bridge}/disable_ipv6`, '1');
    await this.runTool('ip', ['link', 'set', 'dev', bridge, 'up']);
  }

  private async remove(bridge: string): Promise<void> {
    try {
      await this.runTool('ip', ['link', 'delete', bridge]);
    } catch (err) {
      // Somebody else was faster: it is gone, as it should be.
      if (!isFault(err, 'tool_failed') || (await linkKind(bridge)) !== 'none') throw err;
    }
  }

  private async isOursAndEmpty(bridge: string, port: string): Promise<boolean> {
    try {
      const mark = await readFile(`/sys/class/net/${bridge}/ifalias`, 'utf8');
      if (mark.trim() !== this.mark) return false;
      const ports = await readdir(`/sys/class/net/${bridge}/brif`);
      return ports.every((one) => one === port);
    } catch (err) {
      if (isMissing(err)) return false;
      throw err;
    }
  }
}

/** There is no such file on a host without IPv6. */
async function writeUnlessMissing(file: string, text: string): Promise<void> {
  try {
    await writeFile(file, text);
  } catch (err) {
    if (!isMissing(err)) throw err;
  }
}
