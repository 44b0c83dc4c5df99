import type { Command } from 'commander'
import { type ErasureScheme, parseErasureScheme } from '../base/erasure-scheme.ts'
import { readDurationMs, readNumber } from './setting-values.ts'

/** When a master has volumes erasure-coded: options of `master` and `server`. */
export interface ErasureFlags {
  readonly erasure: string
  readonly erasureQuiet: string
  readonly erasureFull: string
}

export interface ErasureSettings {
  /** Like `10+4`, or `off`; judged where the rest of the configuration is. */
  readonly scheme: string
  readonly quietMs: number
  readonly fullPercent: number
}

const OFF = 'off'
const QUIET_MS = { min: 0, max: 3650 * 86_400_000 }
const FULL_PERCENT = { min: 1, max: 100 }

export function addErasureOptions(command: Command): Command {
  return command
    .option('--erasure <scheme>', 'data and parity shards of full volumes, like 10+4; or off', OFF)
    .option('--erasure-quiet <time>', 'only volumes that nobody has written to for so long', '1h')
    .option('--erasure-full <percent>', 'only volumes that are filled so far', '95')
}

/** @throws {StoreError} CONFIG_INVALID: names the flag, its value and its range. */
export function readErasureSettings(flags: ErasureFlags): ErasureSettings {
  return {
    scheme: flags.erasure,
    quietMs: readDurationMs('--erasure-quiet', flags.erasureQuiet, QUIET_MS),
    fullPercent: readNumber('--erasure-full', flags.erasureFull, FULL_PERCENT),
  }
}

/** @throws {StoreError} ERASURE_INVALID: neither a scheme like `10+4` nor `off`. */
export function readErasure(text: string): ErasureScheme | 'off' {
  return text === OFF ? OFF : parseErasureScheme(text)
}
