/**
 * Quorum queues without a leader. The broker says nothing about them: it keeps
 * what is asked on a channel until there is a leader again, which may be never
 * (RabbitMQ 3.10 elects none for a queue that was made just before a crash).
 */
import type { ChannelModel } from 'amqplib';
import { Fault } from '../../process/fault.ts';
import { quietly } from './quietly.ts';
import type { Queue } from './topology.ts';

/** Elections take a second or two. */
const PATIENCE_MS = 15_000;
/** The broker itself first waits five seconds for a leader. */
const DELETE_MS = 15_000;

/**
 * Waits for what was asked of a queue. Fault timeout when the broker does not
 * answer; what was asked may be done later on.
 */
export async function answered<T>(queue: Queue, asked: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const what = `consume from queue ${queue.name}: the broker does not answer within ${String(PATIENCE_MS / 1000)} s`;
      reject(
        new Fault(
          'timeout',
          `${what}; the queue has no leader: start its other nodes, or delete the queue if that stays`,
        ),
      );
    }, PATIENCE_MS);
  });
  try {
    return await Promise.race([asked, late]);
  } finally {
    clearTimeout(timer);
    // It ends with its channel at the latest, and nobody listens any more.
    asked.catch(() => undefined);
  }
}

/** Deletes a queue by force; what it held is lost. Tried for some seconds. */
export async function deleteByForce(model: ChannelModel, queue: Queue): Promise<void> {
  const deleted = model.createChannel().then(async (channel) => {
    channel.on('error', () => undefined);
    await channel.deleteQueue(queue.name);
    await channel.close();
  });
  await quietly(deleted, DELETE_MS);
}
