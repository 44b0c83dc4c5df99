import type { Command } from 'commander'
import { readCount, readDurationMs, readNumber } from './setting-values.ts'

/** How a master keeps the copies of its cluster whole: options of `master` and `server`. */
export interface RepairFlags {
  readonly repairDelay: string
  readonly check: string
  readonly garbageThreshold: string
  readonly scrubEvery: string
  readonly healInterval: string
  readonly politeness: string
  readonly workers: string
  readonly jobLease: string
  readonly standby?: boolean
}

export interface RepairSettings {
  readonly delayMs: number
  readonly checkMs: number
  readonly garbageThreshold: number
  readonly scrubEveryMs: number
  readonly healEveryMs: number
  readonly politeness: number
  readonly workers: number
  readonly leaseMs: number
}

const DAY_MS = 86_400_000
const DELAY_MS = { min: 0, max: 30 * DAY_MS }
const CHECK_MS = { min: 10, max: 3_600_000 }
const GARBAGE = { min: 0.01, max: 1 }
const SCRUB_MS = { min: 1000, max: 3650 * DAY_MS }
const HEAL_MS = { min: 0, max: DAY_MS }
const POLITENESS = { min: 0, max: 1000 }
const LEASE_MS = { min: 100, max: 600_000 }
export const WORKERS = { min: 0, max: 64 }

export function addRepairOptions(command: Command): Command {
  return command
    .option('--repair-delay <time>', 'a server may be away so long before it is replaced', '15m')
    .option('--check <time>', 'all volumes are looked at so often', '5s')
    .option('--garbage-threshold <share>', 'a volume with more garbage is vacuumed', '0.3')
    .option('--scrub-every <time>', 'every copy is read and checked so often', '14d')
    .option('--heal-interval <time>', 'objects are looked after so often; off: when asked', '30s')
    .option('--politeness <factor>', 'chores rest so many times as long as they work', '4')
    .option('--workers <count>', 'jobs done at once in this process; 0 leaves them to others', '2')
    .option('--job-lease <time>', 'a worker may be silent so long before it loses its job', '10s')
    .option('--standby', 'wait while another process uses the data directory, then take over')
}

/** @throws {StoreError} CONFIG_INVALID: names the flag, its value and its range. */
export function readRepairSettings(flags: RepairFlags): RepairSettings {
  return {
    delayMs: readDurationMs('--repair-delay', flags.repairDelay, DELAY_MS),
    checkMs: readDurationMs('--check', flags.check, CHECK_MS),
    garbageThreshold: readNumber('--garbage-threshold', flags.garbageThreshold, GARBAGE),
    scrubEveryMs: readDurationMs('--scrub-every', flags.scrubEvery, SCRUB_MS),
    healEveryMs: readInterval(flags.healInterval),
    politeness: readNumber('--politeness', flags.politeness, POLITENESS),
    workers: readCount('--workers', flags.workers, WORKERS),
    leaseMs: readDurationMs('--job-lease', flags.jobLease, LEASE_MS),
  }
}

function readInterval(text: string): number {
  return text === 'off' || text === '0' ? 0 : readDurationMs('--heal-interval', text, HEAL_MS)
}
