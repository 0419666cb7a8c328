/** Brings the rule texts of bridges and nics into the kernel, with nft. */
import type { Log } from '../../process/log.ts';
import { describeChain, isFault } from '../../process/fault.ts';
import type { StringMap } from '../db/rows.ts';
import { TABLE, bridgeRules, removalOf } from './bridge-rules.ts';
import type { NicFilter } from './nic-rules.ts';
import { aloneRemoval, aloneRules, nicRemoval, nicRules } from './nic-rules.ts';
import type { RunTool } from './parts.ts';

export class Firewall {
  private readonly run: RunTool;
  private readonly log: Log;

  constructor(run: RunTool, log: Log) {
    this.run = run;
    this.log = log;
  }

  /**
   * Puts the bridge's rules in place. What this kernel's nftables cannot do is
   * logged and left out (the containers still reach each other and the host);
   * the texts of what failed are returned.
   */
  async applyBridge(bridge: string, config: StringMap): Promise<string[]> {
    const sections = bridgeRules(bridge, config);
    try {
      await this.nft(sections.map((section) => section.script).join(''));
      return [];
    } catch (err) {
      if (!isFault(err)) throw err;
      this.log.debug('firewall rules failed as a whole', { network: bridge, error: err });
    }
    const failed: string[] = [];
    for (const section of sections) {
      try {
        await this.nft(section.script);
      } catch (err) {
        this.log.warn('firewall rules left out', { network: bridge, section: section.name, error: err });
        failed.push(`${section.name}: ${describeChain(err)}`);
      }
    }
    return failed;
  }

  async removeBridge(bridge: string): Promise<void> {
    await this.orWarn(bridge, async () => {
      await this.nft(removalOf(bridge));
      await this.dropEmpty('inet', 'chain ');
    });
  }

  /** Fault when the kernel cannot do it: a filter that was asked for is never left out. */
  async applyNic(filter: NicFilter): Promise<void> {
    await this.nft(nicRules(filter));
  }

  /** `isLast`: no other nic has rules, so the table may go too. */
  async removeNic(hostName: string, isLast: boolean): Promise<void> {
    await this.orWarn(hostName, async () => {
      await this.nft(nicRemoval(hostName));
      if (isLast) await this.dropEmpty('bridge', 'jump ');
    });
  }

  /** For a link that is there and in no bridge. Fault when the kernel cannot do it. */
  async applyAlone(hostName: string, egressBits: number): Promise<void> {
    await this.nft(aloneRules(hostName, egressBits));
  }

  async removeAlone(hostName: string): Promise<void> {
    try {
      await this.nft(aloneRemoval(hostName));
      await this.dropEmpty('netdev', 'chain ');
    } catch (err) {
      if (!isFault(err)) throw err;
      // It may have gone with its link.
      this.log.debug('limit of a link not removed', { interface: hostName, error: err });
    }
  }

  private async dropEmpty(family: 'inet' | 'bridge' | 'netdev', sign: string): Promise<void> {
    const { stdout } = await this.run('nft', ['list', 'table', family, TABLE]);
    if (!stdout.includes(sign)) await this.run('nft', ['delete', 'table', family, TABLE]);
  }

  private async orWarn(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (err) {
      if (!isFault(err)) throw err;
      this.log.warn('firewall rules not removed', { interface: what, error: err });
    }
  }

  private async nft(script: string): Promise<void> {
    await this.run('nft', ['-f', '-'], { stdin: script });
  }
}
