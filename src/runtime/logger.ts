import { pino } from 'pino'

/** `event` is a constant such as `volume.torn_tail`; whatever varies goes into the fields. */
export interface Logger {
  debug(event: string, fields?: Record<string, unknown>): void
  info(event: string, fields?: Record<string, unknown>): void
  warn(event: string, fields?: Record<string, unknown>): void
  error(event: string, fields?: Record<string, unknown>): void
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** Takes one line of JSON, newline included. */
export interface LogTarget {
  write(line: string): void
}

const STDERR_FD = 2

/**
 * One line of JSON per event, on standard error (standard output belongs to a command's result).
 * Written before the call returns: the last line before a crash is the one that matters.
 * A field named `error` shows type, message, stack and cause.
 */
export function pinoLogger(level: LogLevel, target?: LogTarget): Logger {
  const logger = pino(
    {
      level,
      base: null,
      messageKey: 'event',
      timestamp: pino.stdTimeFunctions.isoTime,
      serializers: { error: pino.stdSerializers.errWithCause },
      formatters: { level: (label) => ({ level: label }) },
    },
    target ?? pino.destination({ dest: STDERR_FD, sync: true }),
  )
  return {
    debug: (event, fields = {}) => logger.debug(fields, event),
    info: (event, fields = {}) => logger.info(fields, event),
    warn: (event, fields = {}) => logger.warn(fields, event),
    error: (event, fields = {}) => logger.error(fields, event),
  }
}

export const silentLogger: Logger = {
  debug() {},
  info() {},
  warn() {},
  error() {},
}
