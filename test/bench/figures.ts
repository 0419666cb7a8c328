/** Samples, what they are measured against, and whether a target is met. */

export interface Summary {
  readonly median: number;
  readonly p90: number;
  readonly min: number;
  readonly count: number;
}

/** Every part that is given must hold for the median. */
export interface Target {
  readonly atMost?: number;
  readonly atLeast?: number;
  /** Times what bare liblxc or the bare tool needs. */
  readonly timesFloor?: number;
  /** At least so many times what the peer does. */
  readonly timesPeer?: number;
}

export interface Row {
  readonly what: string;
  readonly unit: string;
  readonly ours: Summary;
  readonly floor: Summary | null;
  readonly peer: Summary | null;
  readonly target: Target;
  readonly note: string;
}

/** Null without samples. */
export function summary(samples: readonly number[]): Summary | null {
  if (samples.length === 0) return null;
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (part: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
  return { median: at(0.5), p90: at(0.9), min: at(0), count: sorted.length };
}

/** Empty when the row has no target, else "met" or by how much each part is missed. */
export function verdict(row: Row): string {
  const { ours, floor, peer, target } = row;
  const limits: { readonly limit: number; readonly isUpper: boolean; readonly why: string }[] = [];
  if (target.atMost !== undefined) limits.push({ limit: target.atMost, isUpper: true, why: '' });
  if (target.atLeast !== undefined) limits.push({ limit: target.atLeast, isUpper: false, why: '' });
  if (target.timesFloor !== undefined && floor !== null) {
    limits.push({ limit: target.timesFloor * floor.median, isUpper: true, why: ' (floor)' });
  }
  if (target.timesPeer !== undefined && peer !== null) {
    limits.push({ limit: target.timesPeer * peer.median, isUpper: false, why: ' (peer)' });
  }
  if (limits.length === 0) return '';
  const missed = limits.filter(({ limit, isUpper }) => (isUpper ? ours.median > limit : ours.median < limit));
  if (missed.length === 0) return 'met';
  const parts = missed.map(({ limit, why }) => {
    const percent = Math.round((Math.abs(ours.median - limit) / limit) * 100);
    return `${String(percent)} % off ${show(limit)}${why}`;
  });
  return `missed: ${parts.join(', ')}`;
}

export function targetText({ atMost, atLeast, timesFloor, timesPeer }: Target): string {
  return [
    ...(atMost === undefined ? [] : [`<= ${show(atMost)}`]),
    ...(atLeast === undefined ? [] : [`>= ${show(atLeast)}`]),
    ...(timesFloor === undefined ? [] : [`<= ${show(timesFloor)} x floor`]),
    ...(timesPeer === undefined ? [] : [timesPeer === 1 ? '>= peer' : `>= ${show(timesPeer)} x peer`]),
  ].join(', ');
}

/** Three significant digits. */
export function show(value: number): string {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3;
  return String(Number(value.toFixed(digits)));
}

/** A Markdown table. */
export function table(rows: readonly Row[], peerName: string | null): string {
  const head = [
    'what',
    'unit',
    'median',
    'p90',
    'floor',
    ...(peerName === null ? [] : [peerName, `${peerName} / ours`]),
    'target',
    'result',
    'note',
  ];
  const lines = rows.map((row) => [
    row.what,
    row.unit,
    show(row.ours.median),
    row.ours.count < 2 ? '' : show(row.ours.p90),
    row.floor === null ? '' : show(row.floor.median),
    ...(peerName === null
      ? []
      : row.peer === null
        ? ['', '']
        : [show(row.peer.median), show(row.peer.median / row.ours.median)]),
    targetText(row.target),
    verdict(row),
    row.note,
  ]);
  const widths = head.map((text, i) => Math.max(text.length, ...lines.map((cells) => cells[i]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(' | ')} |`;
  const rule = `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`;
  return [line(head), rule, ...lines.map(line)].join('\n');
}
