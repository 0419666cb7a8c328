/**
 * What `slipway up` and `slipway down` print: a plain line per step, or one
 * line that is rewritten while the step runs when a person is watching.
 */
import type { Writable } from 'node:stream';

export interface Terminal extends Writable {
  readonly isTTY?: boolean;
  readonly columns?: number;
}

export interface StepTime {
  readonly what: string;
  readonly ms: number;
}

const REDRAW_MS = 200;
/** Without a terminal a long step says now and then that it is alive. */
const QUIET_MS = 15_000;
/** For a terminal that does not tell. */
const WIDTH = 80;
const CLEAR_LINE = '\r\u001b[2K';

/** What a running step may say. */
export interface StepReport {
  /** What is being done right now; shown while it is true. */
  detail(text: string): void;
  /** How the step ended, in place of "done". */
  result(text: string): void;
}

export class Progress {
  readonly times: StepTime[] = [];
  private readonly out: Terminal;
  private readonly live: boolean;

  constructor(out: Terminal) {
    this.out = out;
    this.live = out.isTTY === true;
    // Whoever read along (head, less) has left: the work goes on without a word.
    out.on('error', () => undefined);
  }

  /** Runs one step and tells of its start, its course, its end and its time. */
  async step<T>(what: string, work: (report: StepReport) => Promise<T>): Promise<T> {
    const started = performance.now();
    let detail = '';
    let result = 'done';
    const draw = this.watch(what, started, () => detail);
    try {
      const value = await work({
        detail: (text) => {
          detail = text;
          draw.changed();
        },
        result: (text) => {
          result = text;
        },
      });
      draw.end(`${result}, ${seconds(performance.now() - started)}`);
      this.times.push({ what, ms: performance.now() - started });
      return value;
    } catch (err) {
      draw.end(`failed after ${seconds(performance.now() - started)}`);
      throw err;
    }
  }

  line(text = ''): void {
    this.out.write(`${text}\n`);
  }

  private watch(what: string, started: number, detail: () => string): Drawing {
    if (this.live) return this.watchLive(what, started, detail);
    this.line(`-> ${what} ...`);
    const timer = setInterval(() => {
      this.line(`   ${seconds(performance.now() - started)}: ${detail() || 'still at it'}`);
    }, QUIET_MS);
    return {
      changed: () => undefined,
      end: (text) => {
        clearInterval(timer);
        this.line(`   ${text}`);
      },
    };
  }

  private watchLive(what: string, started: number, detail: () => string): Drawing {
    const draw = (): void => {
      const text = `-> ${what} ... ${seconds(performance.now() - started)} ${detail()}`;
      this.out.write(CLEAR_LINE + text.slice(0, Math.max(20, (this.out.columns || WIDTH) - 1)));
    };
    const timer = setInterval(draw, REDRAW_MS);
    draw();
    return {
      changed: draw,
      end: (text) => {
        clearInterval(timer);
        this.out.write(`${CLEAR_LINE}-> ${what}: ${text}\n`);
      },
    };
  }
}

interface Drawing {
  changed(): void;
  end(text: string): void;
}

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
