/**
 * The whole daemon under random requests. A program: it is started in network,
 * mount and process namespaces of its own (see fuzz-daemon.test.ts), since it
 * makes bridges and leaves their services running, and prints one JSON report.
 *
 *   fuzz-daemon.ts STATE_DIR SEED BUDGET_MS
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startDaemon } from '../../api/daemon.ts';
import { Events } from '../../api/events/events.ts';
import { makeServerCertificate } from '../../api/http/server-certificate.ts';
import { routesForReading } from '../../api/openapi.ts';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { loadServeConfig } from '../../config/load.ts';
import { SILENT, type Log } from '../../process/log.ts';
import { fuzzRoutes, type FuzzReport } from './fuzz.ts';
import { send, type Target } from './http-client.ts';

export interface DaemonFuzzReport {
  readonly trusted: FuzzReport;
  readonly stranger: FuzzReport;
  /** Log lines that tell of bugs. */
  readonly bugs: readonly string[];
}

const PORT = 18_443;

async function main(state: string, seed: number, budgetMs: number): Promise<DaemonFuzzReport> {
  const bugs: string[] = [];
  const log: Log = {
    ...SILENT,
    error: (msg, facts) => {
      if (msg.includes('unexpectedly')) bugs.push(`${msg}: ${String(facts?.['stack'] ?? facts?.['error'])}`);
    },
    with: () => log,
  };
  const daemon = await startDaemon(loadServeConfig(['--state-dir', state]), log, new Events());
  const target = { socketPath: join(state, 'unix.socket') };
  await prepare(target, state);
  const { routes, webSockets } = routesForReading();
  const trusted = await fuzzRoutes({
    target,
    routes,
    webSocketRoutes: webSockets,
    seed,
    budgetMs,
    isTrusted: true,
    names: ['c1', 'c2', 'fuzzbr0', 'lo', 'default', 'tiny', 'root', 'eth0'],
    // The listener for the second run must stay where it is.
    skip: (route) => route.path === '/1.0' && route.method !== 'GET',
  });
  const certificate = await makeServerCertificate('stranger');
  const stranger = await fuzzRoutes({
    target: { port: PORT, cert: certificate.certificate, key: certificate.key },
    routes,
    seed: seed + 1,
    budgetMs: budgetMs / 2,
    isTrusted: false,
    names: ['c1', 'default', 'tiny'],
  });
  await daemon.stop(true);
  return { trusted, stranger, bugs };
}

/** A pool, a bridge, an image, a running and a stopped instance: what most requests ask for. */
async function prepare(target: Target, state: string): Promise<void> {
  const json = (method: string, path: string, body: object) =>
    must(target, method, path, JSON.stringify(body));
  await json('PATCH', '/1.0', { config: { 'core.https_address': `127.0.0.1:${String(PORT)}` } });
  await json('POST', '/1.0/storage-pools', { name: 'default', driver: 'dir' });
  await json('POST', '/1.0/networks', {
    name: 'fuzzbr0',
    config: { 'ipv4.address': '10.199.7.1/24', 'ipv6.address': 'none', 'ipv4.nat': 'false' },
  });
  await json('PATCH', '/1.0/profiles/default', {
    devices: {
      root: { type: 'disk', path: '/', pool: 'default' },
      eth0: { type: 'nic', network: 'fuzzbr0', name: 'eth0' },
    },
  });
  const image = await readFile(await buildTinyImage(join(state, 'tiny')));
  const fingerprint = await must(target, 'POST', '/1.0/images', image);
  await json('POST', '/1.0/images/aliases', { name: 'tiny', target: fingerprint });
  for (const name of ['c1', 'c2']) {
    await json('POST', '/1.0/instances', { name, source: { type: 'image', alias: 'tiny' } });
  }
  await json('PUT', '/1.0/instances/c1/state', { action: 'start', timeout: 30 });
}

/** Sends a request that must succeed and waits for its operation; answers the fingerprint, if there is one. */
async function must(target: Target, method: string, path: string, body: string | Buffer): Promise<string> {
  const headers = { 'Content-Length': String(Buffer.byteLength(body)) };
  const reply = await send(target, { method, path, body, headers });
  if (reply.status >= 300) throw new Error(`${method} ${path}: ${reply.text}`);
  if (reply.status !== 202) return '';
  const done = await send(target, { path: `${String(reply.headers.location)}/wait?timeout=60` });
  if (!done.text.includes('"status":"Success"')) throw new Error(`${method} ${path}: ${done.text}`);
  return /"fingerprint":"([0-9a-f]{64})"/.exec(done.text)?.[1] ?? '';
}

const [state = '', seed = '1', budgetMs = '10000'] = process.argv.slice(2);
const report = await main(state, Number(seed), Number(budgetMs));
process.stdout.write(JSON.stringify(report));
process.exit(0);
