import { type ErasureScheme, parseErasureScheme } from '../base/erasure-scheme.ts'
import { LIMITS } from '../base/limits.ts'
import { quote, StoreError } from '../base/store-error.ts'
import { SHARD_SPREADS, type ShardSpread } from '../format/manifest-erasure.ts'

/** How a file may be made safe, as text: `replicated`, `ec:4+2`, `auto` or `auto:6+3`. */
export interface PolicyOptions {
  /**
   * `replicated`: as copies of the whole. `ec:4+2`: as 4 data and 2 parity shards on 6 servers, any
   * 4 of which give it back. `auto`: as `ec:4+2` from `erasureMinBytes` on, as copies below;
   * `auto:6+3` likewise. `replicated` unless given.
   */
  readonly policy?: string | undefined
  /**
   * What shards are kept apart by: `servers`, `racks` or `data-centers`. With the last two no rack
   * or data centre gets more shards than may be lost. `servers` unless given.
   */
  readonly spread?: string | undefined
  /** Of the policy `auto`: up to 8 MiB; 1 MiB unless given. */
  readonly erasureMinBytes?: number | undefined
}

export interface ErasurePolicy {
  readonly scheme: ErasureScheme
  readonly spread: ShardSpread
  /** Smaller files are replicated. */
  readonly minBytes: number
}

const AUTO_SCHEME: ErasureScheme = { dataShards: 4, parityShards: 2 }

/**
 * Undefined: files are replicated.
 *
 * @throws {StoreError} CONFIG_INVALID, ERASURE_INVALID.
 */
export function readPolicy(options: PolicyOptions): ErasurePolicy | undefined {
  const { erasureMinBytes, policy = 'replicated' } = options
  const spread = readSpread(options.spread ?? 'servers')
  const minBytes = readMinBytes(erasureMinBytes ?? LIMITS.autoPolicyBytes.value)
  if (policy === 'replicated') return undefined
  if (policy === 'auto') return { scheme: AUTO_SCHEME, spread, minBytes }
  const [, kind, scheme = ''] = /^(ec|auto):(.*)$/.exec(policy) ?? []
  if (kind === undefined) {
    const why = `${quote(policy)} is no policy: replicated, ec:4+2, auto or auto:4+2`
    throw new StoreError('CONFIG_INVALID', why)
  }
  return { scheme: parseErasureScheme(scheme), spread, minBytes: kind === 'ec' ? 0 : minBytes }
}

function readSpread(text: string): ShardSpread {
  const found = SHARD_SPREADS.find((spread) => spread === text)
  if (found !== undefined) return found
  const why = `${quote(text)} is no spread: ${SHARD_SPREADS.join(', ')}`
  throw new StoreError('CONFIG_INVALID', why)
}

function readMinBytes(minBytes: number): number {
  const max = LIMITS.autoPolicyBytesMax.value
  if (Number.isInteger(minBytes) && minBytes >= 0 && minBytes <= max) return minBytes
  throw new StoreError('CONFIG_INVALID', `erasureMinBytes ${minBytes} is not from 0 to ${max}`)
}
