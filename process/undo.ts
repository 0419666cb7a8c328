/**
 * The undo list of a piece of work with steps.
 *
 * Undo steps take no abort signal and must be harmless when there is nothing
 * to undo: a step that failed may have happened all the same.
 */
export class Undo {
  private steps: { what: string; act: () => Promise<unknown> }[] = [];

  add(what: string, act: () => Promise<unknown>): void {
    this.steps.push({ what, act });
  }

  /** The work is done: nothing is undone any more. */
  keep(): void {
    this.steps = [];
  }

  /** Runs the steps, last first. A failed step is told to `onError`; the others still run. */
  async rollBack(onError: (what: string, err: unknown) => void): Promise<void> {
    const steps = this.steps.reverse();
    this.steps = [];
    for (const step of steps) {
      try {
        await step.act();
      } catch (err) {
        onError(step.what, err);
      }
    }
  }
}
