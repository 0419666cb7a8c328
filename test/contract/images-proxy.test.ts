/** Images that are downloaded through a web proxy of the test's own; no name is looked up here. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { createServer as createTlsServer, request as requestTls } from 'node:https';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { after, before, beforeEach, test } from 'node:test';
import { makeServerCertificate } from '../../api/http/server-certificate.ts';
import { fetchImage } from '../../api/images/fetch-url.ts';
import { proxyFor, TunnelAgent, type ProxyKeys } from '../../api/images/web-proxy.ts';
import { isFault } from '../../process/fault.ts';

const NONE: ProxyKeys = { http: '', https: '', ignoreHosts: '' };
const LOGIN = `Basic ${Buffer.from('me:p w').toString('base64')}`;
let proxy: Server;
let tls: ReturnType<typeof createTlsServer>;
let pem = '';
let asked: string[] = [];
let logins: (string | undefined)[] = [];

const portOf = (server: { address(): AddressInfo | string | null }): number => {
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  return address.port;
};

before(async () => {
  const certificate = await makeServerCertificate('images.example');
  pem = certificate.certificate;
  tls = createTlsServer({ cert: pem, key: certificate.key }, (req, res) => res.end(`tls ${req.url ?? ''}`));
  proxy = createServer((req, res) => {
    asked.push(`${req.method ?? ''} ${req.url ?? ''}`);
    logins.push(req.headers['proxy-authorization']);
    if (req.url?.endsWith('/moved') === true) res.writeHead(302, { location: '/there' }).end();
    else if (req.url?.endsWith('/round') === true) res.writeHead(302, { location: '/round' }).end();
    else res.end('an image');
  });
  proxy.on('connect', (req, socket: Socket) => {
    asked.push(`CONNECT ${req.url ?? ''}`);
    logins.push(req.headers['proxy-authorization']);
    if (req.url?.startsWith('closed.') === true) {
      // Read to its end, or it would stay open for as long as this process.
      socket.resume().end('HTTP/1.1 403 Forbidden\r\n\r\n');
      return;
    }
    const there = connect(portOf(tls), '127.0.0.1');
    there.once('connect', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      socket.pipe(there).pipe(socket);
    });
    // One end closed is both closed, or the test would wait for the other for ever.
    socket.on('error', () => there.destroy()).on('close', () => there.destroy());
    there.on('error', () => socket.destroy()).on('close', () => socket.destroySoon());
  });
  for (const server of [proxy, tls]) {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  }
});

beforeEach(() => {
  asked = [];
  logins = [];
});

after(async () => {
  for (const server of [proxy, tls]) {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  }
});

const address = (login = ''): string => `http://${login}127.0.0.1:${String(portOf(proxy))}`;

async function download(url: string, proxies: ProxyKeys): Promise<string> {
  const signal = AbortSignal.timeout(20_000);
  const image = await fetchImage(url, {
    serverVersion: '5.0.2',
    proxies,
    signal,
    onProgress: () => undefined,
  });
  const chunks: Buffer[] = [];
  for await (const chunk of image.content) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

test('a proxy is asked for http, with its login, and so is what it redirects to', async () => {
  const proxies = { ...NONE, http: address('me:p%20w@') };
  assert.equal(await download('http://images.example/moved', proxies), 'an image');
  assert.deepEqual(asked, [
    'HEAD http://images.example/moved',
    'HEAD http://images.example/there',
    'GET http://images.example/moved',
    'GET http://images.example/there',
  ]);
  assert.deepEqual(new Set(logins), new Set([LOGIN]));
});

test('what is redirected for ever is given up', async () => {
  const proxies = { ...NONE, http: address() };
  await assert.rejects(download('http://images.example/round', proxies), (err) =>
    isFault(err, 'bad_request'),
  );
  assert.equal(asked.length, 6);
});

test('https goes through a tunnel, and the certificate is looked at', async () => {
  const proxies = { ...NONE, https: address('me:p%20w@') };
  await assert.rejects(download('https://images.example/i', proxies), /SELF_SIGNED_CERT/);
  assert.deepEqual(asked, ['CONNECT images.example:443']);
  assert.deepEqual(logins, [LOGIN]);
  const agent = new TunnelAgent(new URL(address()));
  const options = {
    host: 'images.example',
    path: '/i',
    agent,
    ca: pem,
    checkServerIdentity: () => undefined,
  };
  const [answer] = (await once(requestTls(options).end(), 'response')) as [NodeJS.ReadableStream];
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(Buffer.from(chunk));
  assert.equal(Buffer.concat(chunks).toString(), 'tls /i');
  agent.destroy();
});

test('a proxy that opens no tunnel, and one that is not there, are named', async () => {
  await assert.rejects(
    download('https://closed.example/i', { ...NONE, https: address() }),
    (err) => isFault(err, 'bad_request') && /through the proxy .*: HTTP status 403/.test(String(err.cause)),
  );
  await assert.rejects(
    download('https://images.example/i', { ...NONE, https: 'http://127.0.0.1:1' }),
    (err) => isFault(err, 'bad_request') && /through the proxy 127\.0\.0\.1:1/.test(String(err.cause)),
  );
});

test('which URL goes through a proxy', () => {
  const keys = {
    http: 'proxy.example:3128',
    https: 'http://secure.example',
    ignoreHosts: 'a.org, .b.org,*.c.org',
  };
  const through = (url: string, more: Partial<ProxyKeys> = {}): string | null =>
    proxyFor(new URL(url), { ...keys, ...more })?.href ?? null;
  assert.equal(through('http://x.org/i'), 'http://proxy.example:3128/');
  assert.equal(through('https://x.org/i'), 'http://secure.example/');
  for (const host of ['a.org', 'x.a.org', 'b.org', 'x.b.org', 'y.c.org', 'localhost', '127.0.0.2', '[::1]']) {
    assert.equal(through(`http://${host}/i`), null, host);
  }
  assert.equal(through('http://aa.org/i'), 'http://proxy.example:3128/');
  assert.equal(through('http://x.org/i', { ignoreHosts: '*' }), null);
  assert.equal(through('http://x.org/i', { http: '' }), null);
  assert.throws(
    () => through('http://x.org/i', { http: 'socks5://p' }),
    /core\.proxy_http must be an http URL/,
  );
});
