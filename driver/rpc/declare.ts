/**
 * Declares exchanges and queues. Each try has a channel of its own, because a
 * refused declaration costs the channel it was made on.
 *
 * Peers of one cloud should have equal options. When they have not, the broker
 * answers 406: then durability is taken as it is (oslo.messaging does so since
 * 2023.1, one way; here both ways), and what differs otherwise is used as it is.
 */
import type { Channel, ChannelModel } from 'amqplib';
import { describeChain, Fault } from '../../process/fault.ts';
import type { Log } from '../../process/log.ts';
import type { Exchange, Queue } from './topology.ts';

const NOT_FOUND = 404;
const PRECONDITION_FAILED = 406;

export async function declareExchange(model: ChannelModel, exchange: Exchange, log: Log): Promise<void> {
  const declare = (durable: boolean) =>
    onChannel(model, (channel) =>
      channel.assertExchange(exchange.name, exchange.type, { durable, autoDelete: exchange.autoDelete }),
    );
  await tolerant(exchange.durable, declare, log, { exchange: exchange.name }, () =>
    onChannel(model, (channel) => channel.checkExchange(exchange.name)),
  );
}

/** Declares the queue, its exchange and its binding. */
export async function declareQueue(model: ChannelModel, queue: Queue, log: Log): Promise<void> {
  if (queue.bind !== null) await declareExchange(model, queue.bind.exchange, log);
  const declare = (durable: boolean) =>
    onChannel(model, (channel) =>
      channel.assertQueue(queue.name, {
        durable,
        autoDelete: queue.autoDelete,
        exclusive: false,
        arguments: queue.args,
      }),
    );
  await tolerant(
    queue.durable,
    (durable) => againWhenMissing(model, queue, () => declare(durable)),
    log,
    { queue: queue.name },
    () => onChannel(model, (channel) => channel.checkQueue(queue.name)),
  );
  const { bind } = queue;
  if (bind === null) return;
  await onChannel(model, (channel) => channel.bindQueue(queue.name, bind.exchange.name, bind.key));
}

/** A queue whose node is lost answers "not found" to its declaration: it is deleted and made anew. */
async function againWhenMissing(
  model: ChannelModel,
  queue: Queue,
  declare: () => Promise<unknown>,
): Promise<void> {
  try {
    await declare();
  } catch (err) {
    if (codeOf(err) !== NOT_FOUND) throw err;
    await onChannel(model, (channel) => channel.deleteQueue(queue.name));
    await declare();
  }
}

async function tolerant(
  durable: boolean,
  declare: (durable: boolean) => Promise<unknown>,
  log: Log,
  facts: Readonly<Record<string, string>>,
  check: () => Promise<unknown>,
): Promise<void> {
  try {
    await declare(durable);
    return;
  } catch (err) {
    if (codeOf(err) !== PRECONDITION_FAILED) throw err;
    log.warn('the broker has this with other options than ours', { ...facts, error: describeChain(err) });
    if (!isAboutDurability(err)) {
      await check();
      return;
    }
  }
  try {
    await declare(!durable);
  } catch (err) {
    if (codeOf(err) !== PRECONDITION_FAILED) throw err;
    await check();
  }
}

/** What the broker said on the channel is the reason; amqplib hands on a bare "channel closed" at times. */
async function onChannel<T>(model: ChannelModel, work: (channel: Channel) => Promise<T>): Promise<T> {
  const channel = await model.createChannel();
  let broke: unknown = null;
  channel.on('error', (err) => {
    broke = err;
  });
  try {
    return await work(channel);
  } catch (err) {
    throw codeOf(err) === null && broke !== null
      ? new Fault('unavailable', 'declare on the message broker', { cause: broke })
      : err;
  } finally {
    await channel.close().catch(() => undefined);
  }
}

/** AMQP's number of what went wrong, or null. */
function codeOf(err: unknown): number | null {
  if (err instanceof Fault) return codeOf(err.cause);
  if (!(err instanceof Error) || !('code' in err)) return null;
  return typeof err.code === 'number' ? err.code : null;
}

function isAboutDurability(err: unknown): boolean {
  return describeChain(err).includes("inequivalent arg 'durable'");
}
