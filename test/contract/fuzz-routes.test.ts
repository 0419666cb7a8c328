import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeServerCertificate } from '../../api/http/server-certificate.ts';
import { fuzzRoutes, type FuzzReport } from '../support/fuzz.ts';
import { startServer } from '../support/http-server.ts';

const SEED = 20_260_102;
const BUDGET_MS = 4000;

function check(report: FuzzReport, errors: readonly string[]): void {
  assert.deepEqual(report.failures, []);
  assert.deepEqual(errors, []);
  assert.ok(report.requests > 100, `only ${String(report.requests)} requests`);
}

test('random requests of a trusted caller are answered, never with a 500', async () => {
  const server = await startServer();
  try {
    const { socketPath, routes, webSocketRoutes } = server;
    const report = await fuzzRoutes({
      target: { socketPath },
      routes,
      webSocketRoutes,
      seed: SEED,
      budgetMs: BUDGET_MS,
      isTrusted: true,
      names: ['default', server.certificate.fingerprint],
    });
    check(report, server.errors);
    assert.ok((report.statuses[200] ?? 0) > 0 && (report.statuses[400] ?? 0) > 0);
  } finally {
    await server.close();
  }
});

test('random requests of a caller nobody trusts are shown nothing', async () => {
  const server = await startServer({ https: true });
  try {
    const stranger = await makeServerCertificate('stranger');
    const report = await fuzzRoutes({
      target: { port: server.port, cert: stranger.certificate, key: stranger.key },
      routes: server.routes,
      seed: SEED,
      budgetMs: BUDGET_MS,
      isTrusted: false,
    });
    check(report, server.errors);
    assert.ok((report.statuses[403] ?? 0) > 0);
    assert.equal(server.trust.list().length, 0);
  } finally {
    await server.close();
  }
});
