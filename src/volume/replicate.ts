import { shardCountOf } from '../base/erasure-scheme.ts'
import type { VolumeId } from '../base/ids.ts'
import { type ErrorCode, isStoreError, StoreError } from '../base/store-error.ts'
import type { NodeLocation, WritePolicy } from '../net/master-api.ts'
import type { StripeLocations } from '../net/stripe-facts.ts'
import type { ConnectVolume, VolumeApi } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import { type Hop, runHop } from './hop.ts'
import type { LocationCache, Whereabouts } from './location-cache.ts'
import { SlowPeers } from './slow-peers.ts'

export interface ReplicaPeersParts {
  readonly locations: LocationCache
  readonly connect: ConnectVolume
  readonly ownUrl: () => string
  readonly clock: Clock
}

/** Who else is to get a write. */
export interface Copies {
  readonly peers: readonly NodeLocation[]
  readonly writePolicy: WritePolicy
  /** Copies that there should be, and that cannot be reached. */
  readonly missingCount: number
}

/** What became of a write at another server. */
export type Sent<Answer> =
  | { readonly url: string; readonly answer: Answer; readonly error?: undefined }
  | { readonly url: string; readonly answer?: undefined; readonly error: StoreError }

/** The other servers that hold a volume, for writes that have to reach all of them. */
export class ReplicaPeers {
  readonly #parts: ReplicaPeersParts
  readonly #slow: SlowPeers

  constructor(parts: ReplicaPeersParts) {
    this.#parts = parts
    this.#slow = new SlowPeers(parts)
  }

  /**
   * The copies of a volume that should have `copyCount`, or the servers with shards of it. The
   * master is asked anew when too few are known.
   *
   * @throws {StoreError} REPLICATION_FAILED: nobody can say where they are. CANCELLED.
   */
  async of(volumeId: VolumeId, copyCount: number, signal: AbortSignal): Promise<Copies> {
    const known = await this.#find(volumeId, signal, 'cached')
    const copies = this.#copies(known, copyCount)
    if (copies.missingCount === 0) return copies
    return this.#copies(await this.#find(volumeId, signal, 'anew'), copyCount)
  }

  /** The members may have changed: the next look at them is a new one. */
  expire(volumeId: VolumeId): void {
    this.#parts.locations.expire(volumeId)
  }

  /** It did not answer in time just now, and nobody knows yet that it does again. */
  isAvoided({ url }: NodeLocation): boolean {
    return this.#slow.isAvoided(url)
  }

  /** Never rejects, unless something is wrong with this program. */
  async send<Answer>(
    { url, ...location }: NodeLocation,
    request: { readonly ms: number; readonly outer: AbortSignal },
    run: (peer: VolumeApi, hop: Hop) => Promise<Answer>,
  ): Promise<Sent<Answer>> {
    const { clock, connect } = this.#parts
    this.#slow.begin(url)
    let hasTimedOut = false
    try {
      const what = `the copy on ${url}`
      const answer = await runHop(clock, { ...request, what }, (hop) =>
        run(connect({ url, ...location }), hop),
      )
      return { url, answer }
    } catch (error) {
      if (!isStoreError(error)) throw error
      hasTimedOut = error.code === 'TIMEOUT'
      return { url, error }
    } finally {
      this.#slow.end(url, hasTimedOut)
    }
  }

  async #find(
    volumeId: VolumeId,
    signal: AbortSignal,
    how: 'cached' | 'anew',
  ): Promise<Whereabouts> {
    const { locations } = this.#parts
    try {
      if (how === 'cached') return await locations.find(volumeId, signal)
      return await locations.refresh(volumeId, signal)
    } catch (error) {
      if (!isStoreError(error) || error.code === 'CANCELLED') throw error
      const why = `the copies of volume ${volumeId} are not known: ${error.message}`
      throw new StoreError('REPLICATION_FAILED', why, { cause: error })
    }
  }

  /** A copy here that the master does not name does not count. */
  #copies({ locations, writePolicy, stripe }: Whereabouts, copyCount: number): Copies {
    const ownUrl = this.#parts.ownUrl()
    const peers = locations.filter(({ url }) => url !== ownUrl)
    const missingCount =
      stripe === undefined ? Math.max(0, copyCount - locations.length) : missingShards(stripe)
    return { peers, writePolicy, missingCount }
  }
}

/** Nobody says which servers have them: at most as many. */
function missingShards(stripe: StripeLocations): number {
  const inReach = new Set(stripe.shards.map(({ shard }) => shard))
  return Math.max(0, shardCountOf(stripe) - inReach.size)
}

/** Whether a write that failed so was certainly not done. */
export function isUndone({ code }: StoreError): boolean {
  return UNDONE.has(code)
}

const UNDONE: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'COOKIE_MISMATCH',
  'NEEDLE_TOO_LARGE',
  'NEEDLE_INVALID',
  'BODY_TOO_LARGE',
  'VOLUME_NOT_FOUND',
  'VOLUME_FULL',
  'VOLUME_SEALED',
  'VOLUME_DAMAGED',
  'VOLUME_BUSY',
  'DISK_FULL',
  'OVERLOADED',
  'UNAUTHENTICATED',
])

/** Whether the server was out of reach, or as good as that. */
export function isUnreached({ code }: StoreError): boolean {
  return code === 'TIMEOUT' || code === 'UNAVAILABLE'
}
