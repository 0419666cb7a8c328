/**
 * `npm run bench`: how fast this program is, beside bare liblxc and, if asked,
 * beside LXD on the same client. Needs root and a build (`npm run build`).
 */
import { chmod, mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { cpus, loadavg, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildDebianImage } from '../../api/setup/debian-image.ts';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { PROGRAM_ROOT } from '../../config/root.ts';
import { benchCloud } from './cloud.ts';
import { measureCrowd, measureFresh, measureThousand } from './crowd.ts';
import { table, verdict } from './figures.ts';
import type { Host } from './host.ts';
import { lxdHost, removeTree, slipwayHost } from './host.ts';
import { Ledger } from './ledger.ts';
import { measureDebian, measureLaunches, measureLifecycle } from './lifecycle.ts';
import type { Setting } from './setting.ts';
import { measureImport, measureTransfers } from './transfers.ts';

const HELP = `Usage: npm run bench -- [options]
       npm run bench -- cloud      servers on the cloud of "npm run cloud", which must be up

  --rounds N      repeat each round N times (default 15)
  --peer lxd      measure LXD too (the package lxd must be installed)
  --peer-pool D   storage driver of the peer (default btrfs)
  --no-debian     without the systemd Debian image (made with mmdebstrap, kept in the temporary folder)
  --debian FILE   this image instead
  --thousand      a thousand running containers too (24 GiB of memory)
  --only TEXT     only groups whose name contains TEXT: ${groupNames().join(', ')}
  --program DIR   measure the build in this folder
  --json FILE     write the figures to FILE
`;

interface Group {
  readonly name: string;
  readonly measure: (setting: Setting) => Promise<void>;
}

function groups(): Group[] {
  return [
    { name: 'fresh', measure: measureFresh },
    { name: 'lifecycle', measure: measureLifecycle },
    { name: 'import', measure: measureImport },
    { name: 'debian', measure: measureDebian },

    { name: 'launches', measure: measureLaunches },
    { name: 'transfers', measure: measureTransfers },
    { name: 'crowd', measure: measureCrowd },
  ];
}

function groupNames(): string[] {
  return [...groups().map((group) => group.name), 'thousand'];
}

const OPTIONS = {
  rounds: { type: 'string', default: '15' },
  peer: { type: 'string' },
  'peer-pool': { type: 'string', default: 'btrfs' },
  'no-debian': { type: 'boolean', default: false },
  debian: { type: 'string' },
  thousand: { type: 'boolean', default: false },
  only: { type: 'string', default: '' },
  program: { type: 'string', default: PROGRAM_ROOT },
  json: { type: 'string' },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

type Options = ReturnType<typeof readOptions>;

function readOptions() {
  return parseArgs({ options: OPTIONS }).values;
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Made once per machine; the temporary folder keeps it. */
async function debianImage(options: Options): Promise<string | null> {
  if (options.debian !== undefined) return options.debian;
  if (options['no-debian']) return null;
  const dir = join(tmpdir(), 'slipway-images');
  const kept = join(dir, 'bench-debian.tar.zst');
  if (existsSync(kept)) return kept;
  say('making a Debian image');
  await mkdir(dir, { recursive: true });
  const made = await buildDebianImage(dir);
  await writeFile(kept, await readFile(made));
  return kept;
}

async function openHosts(dir: string, options: Options): Promise<{ slipway: Host; hosts: Host[] }> {
  const slipway = await slipwayHost(dir, options.program);
  const hosts = [slipway];
  if (options.peer === 'lxd') hosts.push(await lxdHost(dir));
  else if (options.peer !== undefined) throw new Error('the one peer there is is lxd');
  return { slipway, hosts };
}

async function machine(): Promise<string> {
  const model = cpus()[0]?.model ?? 'unknown CPU';
  const memory = `${String(Math.round(totalmem() / 2 ** 30))} GiB`;
  const os = /^PRETTY_NAME="?([^"\n]*)/m.exec(await readFile('/etc/os-release', 'utf8'))?.[1] ?? '';
  return `${String(cpus().length)} x ${model}, ${memory}, ${os}, Linux ${release()}, Node ${process.version}`;
}

async function measure(dir: string, options: Options, ledger: Ledger): Promise<void> {
  const { slipway, hosts } = await openHosts(dir, options);
  const image = await debianImage(options);
  const tiny = await buildTinyImage(dir);
  try {
    for (const host of hosts) {
      await host.start();
      await host.furnish(host === slipway ? 'overlay' : options['peer-pool']);
    }
    const setting: Setting = {
      dir,
      program: options.program,
      slipway,
      hosts,
      ledger,
      rounds: Number(options.rounds),
      debianImage: image,
      say,
    };
    const all = [...groups(), ...(options.thousand ? [{ name: 'thousand', measure: measureThousand }] : [])];
    const wanted = all.filter((group) => group.name.includes(options.only));
    // Before any image: what a fresh daemon takes.
    for (const group of wanted.filter(({ name }) => name === 'fresh')) await group.measure(setting);
    for (const host of hosts) await host.importImage(tiny, 'tiny');
    for (const group of wanted.filter(({ name }) => name !== 'fresh')) await group.measure(setting);
  } finally {
    for (const host of hosts) {
      await host.destroy().catch((err: unknown) => {
        say(`${host.name} was not taken down: ${String(err)}`);
      });
    }
  }
}

async function main(): Promise<void> {
  const options = readOptions();
  if (options.help) {
    process.stdout.write(HELP);
    return;
  }
  const dir = await mkdtemp(join(tmpdir(), 'slipway-bench-'));
  // The root of an unprivileged guest must be able to pass through.
  await chmod(dir, 0o711);
  const ledger = new Ledger();
  const loadBefore = loadavg()[0] ?? 0;
  const date = new Date().toISOString();
  let failure: unknown = null;
  try {
    await measure(dir, options, ledger);
  } catch (err) {
    // What was measured until then is still worth a look.
    say(String(err));
    failure = err;
  }
  await removeTree(dir);
  const rows = ledger.rows();
  const where = await machine();
  process.stdout.write(`${where}\n${date}, load before: ${loadBefore.toFixed(1)}\n\n`);
  process.stdout.write(`${table(rows, options.peer ?? null)}\n`);
  if (options.json !== undefined) {
    const results = rows.map((row) => ({ ...row, result: verdict(row) }));
    await writeFile(
      options.json,
      `${JSON.stringify({ machine: where, date, loadBefore, rows: results }, null, 2)}\n`,
    );
  }
  if (failure !== null) throw failure instanceof Error ? failure : new Error(String(failure));
}

if (process.argv[2] === 'cloud') await benchCloud();
else await main();
