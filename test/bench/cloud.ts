/**
 * `npm run bench -- cloud`: how fast servers come and go on the cloud of
 * `npm run cloud`, beside Debian's nova-compute with the driver that does
 * nothing, on the same control plane in the same run.
 */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'amqplib';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { computePid } from '../../tempest/cloud/compute-host.ts';
import { awaitActive, awaitTcp } from '../../tempest/cloud/first-server.ts';
import { eventually, type Json } from '../../tempest/cloud/openstack.ts';
import { PRIVATE_NETWORK, PUBLIC_NETWORK } from '../../tempest/cloud/seed.ts';
import { controlAddress } from '../../tempest/cloud/setting.ts';
import { CLOUD_HOME, RunningCloud } from '../support/running-cloud.ts';
import { summary } from './figures.ts';

const FAKE_HOST = 'fake-host';
const FAKE_UNIT = 'fake-compute';
/** Without img_hv_type: the fake driver boots anything but asks for nothing. */
const IMAGE = 'bench-busybox';
const ROUNDS = 10;
const AT_ONCE = 10;
const SSH = 22;
const POLL_MS = 25;
/** Whatever a boot still sends after the server is ACTIVE. */
const LAST_MESSAGES_MS = 3000;

interface Figures {
  readonly name: string;
  readonly rows: Map<string, string>;
}

interface Lap {
  readonly id: string;
  readonly ms: number;
}

export async function benchCloud(): Promise<void> {
  const cloud = await RunningCloud.open();
  const { host } = cloud.cloud.facts;
  try {
    const image = await benchImage(cloud);
    await startFake(cloud);
    const all: Figures[] = [];
    for (const [name, where] of [
      ['slipway', host],
      ['nova-compute, fake driver', FAKE_HOST],
    ] as const) {
      process.stderr.write(`${name}\n`);
      all.push({ name, rows: await measureHost(cloud, where, image) });
    }
    const ours = all[0]?.rows;
    for (const [what, value] of await measureReach(cloud)) ours?.set(what, value);
    print(all);
  } finally {
    await stopFake(cloud);
    await cloud.cleanUp();
  }
}

async function benchImage(cloud: RunningCloud): Promise<string> {
  const [there] = await cloud.admin.list('image', `/images?name=${IMAGE}`, 'images');
  if (there !== undefined) return String(there['id']);
  const body = { name: IMAGE, visibility: 'public', container_format: 'bare', disk_format: 'raw' };
  const id = String((await cloud.admin.request('image', 'POST', '/images', body))['id']);
  await cloud.admin.upload(id, await buildTinyImage(CLOUD_HOME));
  return id;
}

async function startFake(cloud: RunningCloud): Promise<void> {
  await cloud.inControl(['systemctl', 'start', FAKE_UNIT]);
  await eventually('the fake driver is up and mapped', 120_000, async () => {
    const nodes = await cloud.admin.list('compute', '/os-hypervisors', 'hypervisors');
    return nodes.some((one) => one['hypervisor_hostname'] === FAKE_HOST && one['state'] === 'up')
      ? true
      : null;
  });
}

/** Its service and its node must go: Nova would go on to schedule to it. */
async function stopFake(cloud: RunningCloud): Promise<void> {
  await cloud.inControl(['systemctl', 'stop', FAKE_UNIT]);
  const services = await cloud.admin.list('compute', `/os-services?host=${FAKE_HOST}`, 'services');
  for (const one of services)
    await cloud.admin.request('compute', 'DELETE', `/os-services/${String(one['id'])}`);
}

async function measureHost(cloud: RunningCloud, host: string, image: string): Promise<Map<string, string>> {
  const rows = new Map<string, string>();
  // The first one fills caches on both sides and is not counted.
  await remove(cloud, (await create(cloud, host, image, 'bench-warm')).id);
  const creates: number[] = [];
  const deletes: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const made = await create(cloud, host, image, `bench-${String(round)}`);
    creates.push(made.ms);
    deletes.push(await remove(cloud, made.id));
  }
  rows.set('create to ACTIVE', shown(creates));
  rows.set('delete to gone', shown(deletes));
  rows.set(`${String(AT_ONCE)} at once, all ACTIVE`, `${seconds(await createMany(cloud, host, image))} s`);
  for (const [what, value] of await countMessages(cloud, host, image)) rows.set(what, value);
  rows.set('resident memory', `${String(Math.round((await residentKib(cloud, host)) / 1024))} MiB`);
  return rows;
}

async function request(cloud: RunningCloud, host: string, image: string, name: string): Promise<string> {
  const flavors = await cloud.admin.list('compute', '/flavors', 'flavors');
  const server = await cloud.admin.one('compute', 'POST', '/servers', 'server', {
    server: {
      name,
      host,
      imageRef: image,
      flavorRef: flavors.find((one) => one['name'] === 'tiny')?.['id'],
      // Neutron binds no port to the fake driver's host.
      networks: 'none',
    },
  });
  return String(server['id']);
}

async function create(cloud: RunningCloud, host: string, image: string, name: string): Promise<Lap> {
  const started = performance.now();
  const id = await request(cloud, host, image, name);
  await awaitActive(cloud.admin, id);
  return { id, ms: performance.now() - started };
}

async function remove(cloud: RunningCloud, id: string): Promise<number> {
  const started = performance.now();
  await cloud.admin.request('compute', 'DELETE', `/servers/${id}`);
  for (;;) {
    const left = await cloud.admin.list('compute', '/servers?all_tenants=true', 'servers');
    if (!left.some((one) => one['id'] === id)) return performance.now() - started;
    await sleep(POLL_MS);
  }
}

async function createMany(cloud: RunningCloud, host: string, image: string): Promise<number> {
  const started = performance.now();
  const names = Array.from({ length: AT_ONCE }, (_, number) => `bench-many-${String(number)}`);
  const ids = await Promise.all(names.map((name) => request(cloud, host, image, name)));
  await Promise.all(ids.map((id) => awaitActive(cloud.admin, id)));
  const took = performance.now() - started;
  await Promise.all(ids.map((id) => remove(cloud, id)));
  return took;
}

/** RabbitMQ copies every message that is published while tracing is on. */
async function countMessages(cloud: RunningCloud, host: string, image: string): Promise<Map<string, string>> {
  const { facts } = cloud.cloud;
  const connection = await connect(`amqp://openstack:${facts.password}@${controlAddress(facts)}:5672/`);
  const seen: { readonly key: string; readonly body: string }[] = [];
  try {
    const channel = await connection.createChannel();
    const { queue } = await channel.assertQueue('', { exclusive: true });
    await channel.bindQueue(queue, 'amq.rabbitmq.trace', 'publish.#');
    await channel.consume(
      queue,
      (message) => {
        if (message === null) return;
        const keys: unknown = message.properties.headers?.['routing_keys'];
        seen.push({
          key: String(Array.isArray(keys) ? keys[0] : ''),
          body: message.content.toString('utf8'),
        });
      },
      { noAck: true },
    );
    await cloud.inControl(['rabbitmqctl', '--quiet', 'trace_on']);
    const { id } = await create(cloud, host, image, 'bench-traced');
    await sleep(LAST_MESSAGES_MS);
    await cloud.inControl(['rabbitmqctl', '--quiet', 'trace_off']);
    const [action] = await cloud.admin.list(
      'compute',
      `/servers/${id}/os-instance-actions`,
      'instanceActions',
    );
    const ofBoot = seen.filter(({ body }) => body.includes(String(action?.['request_id'])));
    await remove(cloud, id);
    return new Map([
      ['requests on the bus for one boot', String(ofBoot.length)],
      ['of them to the conductor', String(ofBoot.filter(({ key }) => key === 'conductor').length)],
    ]);
  } finally {
    await connection.close();
  }
}

async function residentKib(cloud: RunningCloud, host: string): Promise<number> {
  let status: string;
  if (host === FAKE_HOST) {
    const pid = (await cloud.inControl(['systemctl', 'show', '--value', '-p', 'MainPID', FAKE_UNIT])).trim();
    status = await cloud.inControl(['cat', `/proc/${pid}/status`]);
  } else {
    status = await readFile(`/proc/${String(await computePid(CLOUD_HOME))}/status`, 'utf8');
  }
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? '0');
}

/** Of a real system on a real network: from the request to the first answer of its sshd at its floating address. */
async function measureReach(cloud: RunningCloud): Promise<Map<string, string>> {
  const actives: number[] = [];
  const answers: number[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    const { port, address } = await reachablePort(cloud);
    const started = performance.now();
    const id = await cloud.request(`bench-reach-${String(round)}`, {
      image: 'debian-13',
      flavor: 'small',
      body: { networks: [{ port }] },
    });
    const reached = awaitTcp(address, SSH).then(() => performance.now() - started);
    await awaitActive(cloud.demo, id);
    const active = performance.now() - started;
    const answer = await reached;
    await cloud.remove(id);
    await cloud.demo.request('network', 'DELETE', `/ports/${port}`);
    if (round === 0) continue;
    actives.push(active);
    answers.push(answer);
  }
  return new Map([
    ['Debian with a port: create to ACTIVE', shown(actives)],
    ['Debian with a port: create to first answer of sshd', shown(answers)],
  ]);
}

async function reachablePort(cloud: RunningCloud): Promise<{ port: string; address: string }> {
  const find = async (name: string): Promise<Json | undefined> =>
    (await cloud.demo.list('network', `/networks?name=${name}`, 'networks'))[0];
  const body = { port: { network_id: (await find(PRIVATE_NETWORK))?.['id'] } };
  const port = String((await cloud.demo.one('network', 'POST', '/ports', 'port', body))['id']);
  const floating = await cloud.demo.one('network', 'POST', '/floatingips', 'floatingip', {
    floatingip: { floating_network_id: (await find(PUBLIC_NETWORK))?.['id'], port_id: port },
  });
  return { port, address: String(floating['floating_ip_address']) };
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(2);
}

function shown(samples: readonly number[]): string {
  const found = summary(samples);
  return found === null
    ? '-'
    : `${seconds(found.median)} s (p90 ${seconds(found.p90)}, ${String(found.count)} rounds)`;
}

function print(all: readonly Figures[]): void {
  const whats = [...new Set(all.flatMap(({ rows }) => [...rows.keys()]))];
  const lines = [
    `| | ${all.map(({ name }) => name).join(' | ')} |`,
    `| --- | ${all.map(() => '---').join(' | ')} |`,
    ...whats.map((what) => `| ${what} | ${all.map(({ rows }) => rows.get(what) ?? '-').join(' | ')} |`),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}
