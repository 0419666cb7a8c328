/**
 * Who waits for which event of Neutron's. One event wakes one waiter, the one
 * that has waited longest, as in Nova.
 */
import { Fault } from '../../process/fault.ts';
import type { EventWaiters, ExpectedEvents, ExternalEvent } from './host.ts';

interface Expectation {
  readonly key: string;
  isDone: boolean;
}

interface Waiter {
  readonly instance: string;
  readonly left: Expectation[];
  failure: Fault | null;
  /** Set while somebody waits. */
  wake: (() => void) | null;
}

export function createEventWaiters(): EventWaiters {
  const waiters = new Set<Waiter>();
  const fail = (waiter: Waiter, failure: Fault): void => {
    waiter.failure ??= failure;
    waiters.delete(waiter);
    waiter.wake?.();
  };
  return {
    expect: (instance, events) => {
      const left = events.map((event) => ({ key: keyOf(event), isDone: false }));
      const waiter: Waiter = { instance, left, failure: null, wake: null };
      if (left.length > 0) waiters.add(waiter);
      return expectation(waiter, waiters);
    },
    deliver: (instance, event) => {
      const key = keyOf(event);
      for (const waiter of waiters) {
        const found = waiter.left.find((one) => one.key === key && !one.isDone);
        if (waiter.instance !== instance || found === undefined) continue;
        found.isDone = true;
        if (event.status !== 'completed') {
          fail(waiter, new Fault('conflict', `wait for ${key}: it came as ${event.status}`));
        } else if (waiter.left.every((one) => one.isDone)) {
          waiters.delete(waiter);
          waiter.wake?.();
        }
        return true;
      }
      return false;
    },
    cancel: (instance) => {
      for (const waiter of [...waiters]) if (waiter.instance === instance) fail(waiter, cancelled(waiter));
    },
    cancelAll: () => {
      for (const waiter of [...waiters]) fail(waiter, cancelled(waiter));
    },
  };
}

function expectation(waiter: Waiter, waiters: Set<Waiter>): ExpectedEvents {
  return {
    wait: async (timeoutMs) => {
      const isOver = (): boolean => waiter.failure !== null || waiter.left.every((one) => one.isDone);
      if (!isOver()) await woken(waiter, timeoutMs);
      waiters.delete(waiter);
      if (waiter.failure !== null) throw waiter.failure;
      const missing = waiter.left.filter((one) => !one.isDone).map((one) => one.key);
      if (missing.length === 0) return;
      throw new Fault(
        'timeout',
        `wait for ${missing.join(', ')}: not there after ${String(timeoutMs / 1000)} s; does Neutron notify Nova ` +
          '(notify_nova_on_port_status_changes), and is the agent of this host alive?',
      );
    },
    forget: () => {
      waiters.delete(waiter);
      waiter.failure ??= cancelled(waiter);
      waiter.wake?.();
    },
  };
}

function woken(waiter: Waiter, timeoutMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, timeoutMs);
    waiter.wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

function cancelled(waiter: Waiter): Fault {
  return new Fault('conflict', `wait for events of instance ${waiter.instance}: the wait was given up`);
}

function keyOf(event: ExternalEvent): string {
  return event.tag === '' ? event.name : `${event.name}-${event.tag}`;
}
