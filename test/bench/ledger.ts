/** Collects the samples of all sides and makes rows of them. */
import { summary } from './figures.ts';
import type { Row, Target } from './figures.ts';

export type Side = 'slipway' | 'lxd' | 'floor';

export interface Question {
  readonly what: string;
  readonly unit: string;
  readonly target?: Target;
  readonly note?: string;
}

export class Ledger {
  private readonly questions = new Map<string, Question>();
  private readonly samples = new Map<string, Record<Side, number[]>>();

  /** A row of the table; rows are printed in the order they are asked in. */
  ask(id: string, question: Question): void {
    this.questions.set(id, question);
    this.samples.set(id, { slipway: [], lxd: [], floor: [] });
  }

  add(id: string, side: string, value: number): void {
    const samples = this.samples.get(id);
    if (samples === undefined || !(side === 'slipway' || side === 'lxd' || side === 'floor')) {
      throw new Error(`no row "${id}" for ${side}`);
    }
    samples[side].push(value);
  }

  /** Only what was measured. */
  rows(): Row[] {
    return [...this.questions].flatMap(([id, question]) => {
      const samples = this.samples.get(id);
      const ours = summary(samples?.slipway ?? []);
      if (samples === undefined || ours === null) return [];
      return [
        {
          what: question.what,
          unit: question.unit,
          ours,
          floor: summary(samples.floor),
          peer: summary(samples.lxd),
          target: question.target ?? {},
          note: question.note ?? '',
        },
      ];
    });
  }
}
