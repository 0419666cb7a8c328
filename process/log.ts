/**
 * The log of both processes: one line is one fact.
 *
 * Messages are constant strings; what varies goes into facts. winston is
 * imported here alone (rule P005); its traps (`message` as a fact is appended
 * to the text, errors lose their cause) are kept behind this file.
 */
import winston from 'winston';
import { describeChain } from './fault.ts';

export type Level = 'debug' | 'info' | 'warn' | 'error';
export type Facts = Readonly<Record<string, unknown>>;

export interface Log {
  debug(msg: string, facts?: Facts): void;
  info(msg: string, facts?: Facts): void;
  warn(msg: string, facts?: Facts): void;
  error(msg: string, facts?: Facts): void;
  /** A log that adds these facts to each line. */
  with(facts: Facts): Log;
}

export interface LogOptions {
  /** Lowest level written. */
  readonly level: Level;
  /** File that is appended to; null writes to standard error. */
  readonly file: string | null;
  /** Prefix each line with the journal's `<N>` priority (systemd takes it away). */
  readonly journal: boolean;
  /** Called with each line that passes the level, for LXD's `logging` events. */
  readonly onLine?: (level: Level, msg: string, facts: Facts) => void;
}

const ORDER: Record<Level, number> = { debug: 10, info: 20, warn: 30, error: 40 };
const PRIORITY: Record<Level, number> = { debug: 7, info: 6, warn: 4, error: 3 };

export function openLog(options: LogOptions): Log {
  const transport =
    options.file === null
      ? new winston.transports.Console({ stderrLevels: ['debug', 'info', 'warn', 'error'] })
      : new winston.transports.File({ filename: options.file });
  const logger = winston.createLogger({
    level: options.level,
    levels: { error: 0, warn: 1, info: 2, debug: 3 },
    format: winston.format.printf((info) => String(info.message)),
    transports: [transport],
  });
  return new JsonLog(logger, options, {});
}

/** A log that keeps nothing; for tests and for programs that print on their own. */
export const SILENT: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  with: () => SILENT,
};

class JsonLog implements Log {
  private readonly logger: winston.Logger;
  private readonly options: LogOptions;
  private readonly facts: Facts;

  constructor(logger: winston.Logger, options: LogOptions, facts: Facts) {
    this.logger = logger;
    this.options = options;
    this.facts = facts;
  }

  debug(msg: string, facts?: Facts): void {
    this.write('debug', msg, facts);
  }
  info(msg: string, facts?: Facts): void {
    this.write('info', msg, facts);
  }
  warn(msg: string, facts?: Facts): void {
    this.write('warn', msg, facts);
  }
  error(msg: string, facts?: Facts): void {
    this.write('error', msg, facts);
  }
  with(facts: Facts): Log {
    return new JsonLog(this.logger, this.options, { ...this.facts, ...facts });
  }

  private write(level: Level, msg: string, facts: Facts | undefined): void {
    if (ORDER[level] < ORDER[this.options.level]) return;
    const all: Record<string, unknown> = {};
    for (const [key, value] of Object.entries({ ...this.facts, ...facts })) {
      all[key] = value instanceof Error ? describeChain(value) : value;
    }
    const line = JSON.stringify({ time: new Date().toISOString(), level, msg, ...all });
    this.logger.log(level, this.options.journal ? `<${String(PRIORITY[level])}>${line}` : line);
    this.options.onLine?.(level, msg, all);
  }
}
