/**
 * `slipway check`: what this host has, what it lacks, and how to get it.
 *
 * Exit code 0 when containers will run (perhaps with less), 1 when they will not.
 */
import { parseArgs } from 'node:util';
import { loadDaemonConfig, parseFlags, type DaemonConfig } from '../../config/load.ts';
import { isInstalled, systemPackages, type PackageUse } from '../../config/packages.ts';
import * as facts from './host-facts.ts';
import type { Finding } from './host-facts.ts';

export const CHECK_HELP = `Usage: slipway check [options]

Prints what this host has of what containers need, and how to get the rest.
Each line says OK, degraded (containers run, with less) or MISSING.
Exit code 1 when something is missing.

  --json              the findings as a JSON array
  --all               also the packages that only building and testing need
  --config-file FILE  of the daemon
  --state-dir DIR     of the daemon: its file system is looked at
`;

export async function runCheck(argv: readonly string[]): Promise<number> {
  const flags = parseFlags(
    () =>
      parseArgs({
        args: [...argv],
        options: {
          json: { type: 'boolean' },
          all: { type: 'boolean' },
          'config-file': { type: 'string' },
          'state-dir': { type: 'string' },
        },
      }).values,
  );
  const config = loadDaemonConfig({ configFile: flags['config-file'], stateDir: flags['state-dir'] });
  const uses: PackageUse[] = ['run', 'image', 'extra'];
  if (flags.all === true) uses.push('build', 'test');
  const findings = await checkHost(config, uses);
  process.stdout.write(
    flags.json === true ? `${JSON.stringify(findings, null, 2)}\n` : renderFindings(findings),
  );
  return findings.some((finding) => finding.verdict === 'missing') ? 1 : 0;
}

/** Every finding about this host. Changes nothing but that it may load the overlay module. */
export async function checkHost(config: DaemonConfig, uses: readonly PackageUse[]): Promise<Finding[]> {
  const native = await loadNative();
  return [
    facts.checkNode(),
    ...checkPackages(uses),
    native.finding,
    await facts.checkLxcfs(),
    facts.checkKernel(),
    facts.checkNamespaces(),
    facts.checkCgroups(),
    facts.checkSeccomp(),
    await facts.checkAppArmor(),
    await facts.checkOverlay(),
    await facts.checkIdmappedMounts(native.idmappedMountsWork, config.paths.state),
    facts.checkQuota(config.paths.state),
    facts.checkLoop(),
    facts.checkSpace(config.paths.state),
    ...(await facts.checkLinks()),
    await facts.checkNftables(),
    facts.checkIpv6(),
    facts.checkIdRanges(),
    ...facts.checkLimits(),
  ];
}

export function checkPackages(uses: readonly PackageUse[]): Finding[] {
  return systemPackages()
    .filter((wanted) => uses.includes(wanted.use))
    .map((wanted): Finding => {
      const there = isInstalled(wanted);
      const name = wanted.names.join(' or ');
      return {
        area: 'program',
        name,
        verdict: there ? 'ok' : wanted.use === 'run' ? 'missing' : 'degraded',
        found: there ? wanted.why : `not installed: ${wanted.why}`,
        advice: there ? '' : `apt-get install ${wanted.names.join(', or where that is unknown ')}`,
      };
    });
}

interface LoadedNative {
  readonly idmappedMountsWork: ((directory: string) => Promise<boolean>) | null;
  readonly finding: Finding;
}

/** The native part may not be built yet, or not load here; `check` must say so instead of failing. */
async function loadNative(): Promise<LoadedNative> {
  try {
    const { openNative } = await import('../../native/index.ts');
    const native = openNative();
    return {
      idmappedMountsWork: (directory) => native.idmappedMountsWork(directory),
      finding: {
        area: 'program',
        name: 'native part',
        verdict: 'ok',
        found: `liblxc ${native.liblxcVersion}`,
        advice: '',
      },
    };
  } catch (err) {
    return {
      idmappedMountsWork: null,
      finding: {
        area: 'program',
        name: 'native part',
        verdict: 'missing',
        found: err instanceof Error ? (err.message.split('\n', 1)[0] ?? '') : String(err),
        advice: 'npm run build:native',
      },
    };
  }
}

const WORDS = { ok: 'OK', degraded: 'degraded', missing: 'MISSING' } as const;

export function renderFindings(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map((finding) => finding.name.length));
  const lines = findings.map((finding) => {
    const head = `${WORDS[finding.verdict].padEnd(9)} ${finding.name.padEnd(width)}  ${finding.found}`;
    return finding.advice === ''
      ? head
      : `${head}\n${' '.repeat(10)}${' '.repeat(width)}  -> ${finding.advice}`;
  });
  const count = (verdict: Finding['verdict']): number => findings.filter((f) => f.verdict === verdict).length;
  const bad = count('missing');
  const verdict =
    bad > 0
      ? `${String(bad)} missing: containers will not run here yet`
      : `containers will run here${count('degraded') > 0 ? `, with less in ${String(count('degraded'))} points` : ''}`;
  return `${lines.join('\n')}\n\n${verdict}\n`;
}
