/** Network namespaces that stand for containers on a bridge: a veth pair, a DHCP client, a resolver. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What `udhcpc` calls: sets the address and notes what else it was told. */
const DHCP_SCRIPT = `#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add "$ip/$mask" dev "$interface"
[ -n "$router" ] && ip route add default via "$router"
printf 'ip=%s\\nrouter=%s\\ndns=%s\\ndomain=%s\\nlease=%s\\n' "$ip" "$router" "$dns" "$domain" "$lease" > "$NOTES"
`;

export class Guest {
  readonly namespace: string;
  readonly hostName: string;
  readonly hwaddr: string;
  private readonly folder = mkdtempSync(join(tmpdir(), 'slipway-guest-'));

  constructor(name: string, hostName: string, hwaddr: string, bridge: string) {
    this.namespace = name;
    this.hostName = hostName;
    this.hwaddr = hwaddr;
    ip('netns', 'add', name);
    ip('link', 'add', hostName, 'type', 'veth', 'peer', 'name', 'eth0', 'address', hwaddr, 'netns', name);
    ip('link', 'set', hostName, 'master', bridge, 'up');
    this.run('ip', 'link', 'set', 'lo', 'up');
    this.run('ip', 'link', 'set', 'eth0', 'up');
  }

  run(program: string, ...args: string[]): string {
    return execFileSync('ip', ['netns', 'exec', this.namespace, program, ...args], {
      encoding: 'utf8',
      timeout: 20_000,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** True when the program ends well. */
  works(program: string, ...args: string[]): boolean {
    try {
      this.run(program, ...args);
      return true;
    } catch {
      return false;
    }
  }

  /** Asks for a lease; throws when there is none within the client's tries. */
  lease(...options: string[]): Record<string, string> {
    const script = join(this.folder, 'bound');
    const notes = join(this.folder, 'notes');
    writeFileSync(script, DHCP_SCRIPT.replace('$NOTES', notes), { mode: 0o755 });
    this.run(
      'busybox',
      'udhcpc',
      '-f',
      '-q',
      '-n',
      '-t',
      '10',
      '-T',
      '1',
      '-i',
      'eth0',
      '-s',
      script,
      ...options,
    );
    const lines = readFileSync(notes, 'utf8').trim().split('\n');
    return Object.fromEntries(lines.map((line) => line.split('=') as [string, string])); // two parts each, as written above
  }

  /** Addresses of a name as the server at `server` tells them. */
  resolve(name: string, server: string): string[] {
    const output = this.run('busybox', 'nslookup', name, server);
    const answer = output.slice(output.indexOf('Name:'));
    return [...answer.matchAll(/^Address[^:]*:\s*(\S+)/gm)].map((match) => match[1] ?? '');
  }

  remove(): void {
    ip('netns', 'delete', this.namespace);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
