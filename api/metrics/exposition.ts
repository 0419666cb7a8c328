/** The text format of metrics: samples in, lines with HELP and TYPE out. Pure. */

export interface MetricFamily {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
}

export interface Sample {
  readonly metric: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Families with samples, in the order of their names; samples in the order given. */
export function renderMetrics(families: readonly MetricFamily[], samples: readonly Sample[]): string {
  const byMetric = new Map<string, string[]>();
  for (const sample of samples) {
    const lines = byMetric.get(sample.metric) ?? [];
    lines.push(`${sample.metric}${renderLabels(sample.labels)} ${renderValue(sample.value)}`);
    byMetric.set(sample.metric, lines);
  }
  const sorted = [...families].sort((a, b) => (a.name < b.name ? -1 : 1));
  return sorted
    .flatMap((family) => {
      const lines = byMetric.get(family.name);
      if (lines === undefined) return [];
      return [`# HELP ${family.name} ${family.help}`, `# TYPE ${family.name} ${family.type}`, ...lines];
    })
    .map((line) => `${line}\n`)
    .join('');
}

function renderLabels(labels: Readonly<Record<string, string>>): string {
  const keys = Object.keys(labels).sort();
  if (keys.length === 0) return '';
  return `{${keys.map((key) => `${key}="${escape(labels[key] ?? '')}"`).join(',')}}`;
}

function escape(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

function renderValue(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf';
  return String(value);
}
