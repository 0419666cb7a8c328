/** Calls under way while connections are cut and the broker dies: none lost, none answered twice. */
import assert from 'node:assert/strict';
import { after, before, test, type TestContext } from 'node:test';
import { describeChain } from '../../process/fault.ts';
import { adminContext } from '../../driver/nova/context.ts';
import type { Messaging } from '../../driver/rpc/messaging.ts';
import type { RpcServer } from '../../driver/rpc/server.ts';
import { PrivateRabbit, rabbitLacks } from '../support/private-rabbitmq.ts';
import { computeEndpoint, messaging, until } from '../support/messaging.ts';

const lacks = rabbitLacks();
const skip = lacks ?? false;
const context = adminContext();
const AT_ONCE = 8;

let rabbit: PrivateRabbit;

if (lacks === null) {
  before(async () => {
    rabbit = await PrivateRabbit.start();
  });
  after(async () => {
    await rabbit.remove();
  });
}

interface Traffic {
  readonly service: Messaging;
  readonly server: RpcServer;
  readonly peer: Messaging;
  /** Number of a call -> how often it was worked on. */
  readonly worked: Map<number, number>;
  answered: number;
  isOver: boolean;
  readonly wrong: string[];
}

/** What it opens is closed at the end of the test, however that ends. */
async function traffic(test: TestContext, url: string, host: string, extra: string): Promise<Traffic> {
  const worked = new Map<number, number>();
  const service = messaging(url, host, extra);
  const server = service.server('compute', [
    computeEndpoint({
      count: (request) => {
        const number = Number(request.args['number']);
        worked.set(number, (worked.get(number) ?? 0) + 1);
        return Promise.resolve(number);
      },
    }),
  ]);
  const peer = messaging(url, `${host}-peer`, `rpc_response_timeout = 120\n${extra}`);
  const made: Traffic = { service, server, peer, worked, answered: 0, isOver: false, wrong: [] };
  test.after(async () => {
    made.isOver = true;
    await peer.close();
    await server.stop(1000);
    await service.close();
  });
  await server.start();
  return made;
}

async function callOnce(t: Traffic, host: string, number: number): Promise<void> {
  const request = { method: 'count', version: '6.0', args: { number }, context };
  try {
    const answer = await t.peer.client.call({ topic: 'compute', server: host }, request);
    if (answer !== number) t.wrong.push(`${String(number)} was answered ${String(answer)}`);
    t.answered += 1;
  } catch (err) {
    t.wrong.push(`${String(number)}: ${describeChain(err)}`);
  }
}

/** Calls one after the other in several rows until told to end; gives how to end them. */
function callOn(t: Traffic, host: string): () => Promise<number> {
  let sent = 0;
  const row = async () => {
    while (!t.isOver) {
      sent += 1;
      await callOnce(t, host, sent);
    }
  };
  const rows = Array.from({ length: AT_ONCE }, row);
  return async () => {
    t.isOver = true;
    await Promise.all(rows);
    return sent;
  };
}

async function more(t: Traffic, count: number): Promise<void> {
  const goal = t.answered + count;
  await until(`${String(count)} more calls were answered`, () => t.answered >= goal || t.wrong.length > 0);
}

async function finish(t: Traffic, end: () => Promise<number>): Promise<void> {
  const sent = await end();
  assert.deepEqual(t.wrong, []);
  assert.equal(t.answered, sent);
  assert.equal(t.worked.size, sent);
  assert.deepEqual(
    [...t.worked].filter(([, times]) => times !== 1),
    [],
  );
}

test('connections that are closed by force cost no call', { skip }, async (test) => {
  const t = await traffic(test, rabbit.url, 'cut', '');
  const end = callOn(t, 'cut');
  for (let n = 0; n < 3; n += 1) {
    await more(t, 200);
    await rabbit.controlBeside('close_all_connections', 'a test');
  }
  await more(t, 200);
  await finish(t, end);
});

/** Every queue survives its broker; names come from `processname`. */
function quorum(processname: string): string {
  return (
    '[oslo_messaging_rabbit]\nrabbit_quorum_queue = true\nrabbit_transient_quorum_queue = true\n' +
    `use_queue_manager = true\nhostname = here\nprocessname = ${processname}\n`
  );
}

/** A virtual host of its own; a broker that is not there stands first or second: the other one is used. */
function quorumUrl(vhost: string): string {
  rabbit.control('add_vhost', vhost);
  rabbit.control('set_permissions', '-p', vhost, 'guest', '.*', '.*', '.*');
  return rabbit.url.replace('rabbit://', 'rabbit://guest:guest@127.0.0.1:1,').replace(/\/$/, `/${vhost}`);
}

test(
  'a broker that dies and comes back costs no call when queues are quorum queues',
  { skip },
  async (test) => {
    const t = await traffic(test, quorumUrl('quorum'), 'dead', quorum('test'));
    const end = callOn(t, 'dead');
    await more(t, 50);
    const columns = ['name', 'type', 'durable'];
    const queues = rabbit.control('list_queues', '-p', 'quorum', '--no-table-headers', ...columns);
    assert.ok(queues.split('\n').includes('compute_fanout_here:test:2\tquorum\ttrue'));
    rabbit.writeDown();
    await rabbit.down();
    await rabbit.up();
    await more(t, 50);
    await finish(t, end);
  },
);

test('a queue for replies that a crash of the broker spoils is made anew', { skip }, async (test) => {
  const t = await traffic(test, quorumUrl('spoilt'), 'spoilt', quorum('spoilt'));
  rabbit.writeDown();
  await callOnce(t, 'spoilt', 1);
  await rabbit.down();
  await rabbit.up();
  await callOnce(t, 'spoilt', 2);
  assert.deepEqual(t.wrong, []);
  assert.equal(t.answered, 2);
});

test('casts made while there is no broker arrive when it is back', { skip }, async (test) => {
  const extra = 'control_exchange = kept\n[oslo_messaging_rabbit]\namqp_durable_queues = true\n';
  const t = await traffic(test, rabbit.url, 'later', extra);
  await rabbit.down();
  const casts = Array.from({ length: 20 }, (_, number) =>
    t.peer.client.cast(
      { topic: 'compute', server: 'later' },
      { method: 'count', version: '6.0', args: { number }, context },
    ),
  );
  await rabbit.up();
  await Promise.all(casts);
  await until('all casts came', () => t.worked.size === 20);
  assert.ok([...t.worked.values()].every((times) => times === 1));
});
