/** From an option table to the sample file and to the option part of a manual page. Pure. */
import type { Option, OptionTable } from './options/option.ts';

const WIDTH = 78;

/** A file in which every option is written, with its default, and switched off by "#". */
export function renderSample(head: string, table: OptionTable): string {
  const groups = Object.entries(table).map(([group, options]) => {
    const parts = Object.entries(options).map(([name, option]) => sampleOption(name, option));
    return `[${group}]\n\n${parts.join('\n')}`;
  });
  return `${comment(head)}\n\n${groups.join('\n')}`;
}

function sampleOption(name: string, option: Option<unknown>): string {
  const { fallback } = option;
  const value = Array.isArray(fallback) ? fallback.join(',') : String(fallback);
  const when = option.shown === undefined ? '' : `Default: ${option.shown}. `;
  return `${comment(`${option.help} ${when}(${option.kind})`)}\n${`#${name} = ${value}`.trimEnd()}\n`;
}

function comment(text: string): string {
  return wrap(text, WIDTH)
    .map((line) => `# ${line}`)
    .join('\n');
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/)) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

/** The options as a Markdown section for each group. */
export function renderManual(table: OptionTable): string {
  return Object.entries(table)
    .map(([group, options]) => {
      const parts = Object.entries(options).map(([name, option]) => {
        const shown = option.shown ?? (option.fallback === '' ? 'none' : String(option.fallback));
        return `**${name}** (${option.kind}; default: \`${shown}\`)\n\n${option.help}\n`;
      });
      return `### [${group}]\n\n${parts.join('\n')}`;
    })
    .join('\n');
}
