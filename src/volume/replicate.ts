import type { VolumeId } from '../base/ids.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { ConnectVolume, VolumeApi } from '../net/volume-api.ts'
import type { LocationCache } from './location-cache.ts'

/** The other servers that hold a volume, for writes that have to reach all of them. */
export class ReplicaPeers {
  readonly #locations: LocationCache
  readonly #connect: ConnectVolume
  readonly #ownUrl: () => string

  constructor(parts: {
    readonly locations: LocationCache
    readonly connect: ConnectVolume
    readonly ownUrl: () => string
  }) {
    this.#locations = parts.locations
    this.#connect = parts.connect
    this.#ownUrl = parts.ownUrl
  }

  /**
   * @throws {StoreError} REPLICATION_FAILED: fewer than `copyCount - 1` are known, so the write
   * must not begin.
   */
  async of(
    volumeId: VolumeId,
    copyCount: number,
    signal: AbortSignal,
  ): Promise<readonly VolumeApi[]> {
    let others = this.#others(await this.#locate(volumeId, signal, 'cached'))
    if (others.length + 1 < copyCount) {
      others = this.#others(await this.#locate(volumeId, signal, 'anew'))
    }
    if (others.length + 1 < copyCount) {
      const known = `${others.length + 1} of ${copyCount} copies of volume ${volumeId} are known`
      throw new StoreError('REPLICATION_FAILED', `only ${known}; nothing was written`)
    }
    return others.map((location) => this.#connect(location))
  }

  async #locate(
    volumeId: VolumeId,
    signal: AbortSignal,
    how: 'cached' | 'anew',
  ): Promise<readonly NodeLocation[]> {
    try {
      if (how === 'cached') return await this.#locations.locate(volumeId, signal)
      return await this.#locations.refresh(volumeId, signal)
    } catch (error) {
      if (!isStoreError(error) || error.code === 'CANCELLED') throw error
      const why = `the copies of volume ${volumeId} are not known: ${error.message}`
      throw new StoreError('REPLICATION_FAILED', why, { cause: error })
    }
  }

  #others(locations: readonly NodeLocation[]): readonly NodeLocation[] {
    return locations.filter(({ url }) => url !== this.#ownUrl())
  }
}

/**
 * Runs a write here and on every peer at the same time, and waits for all of them.
 *
 * @throws {StoreError} what the write here failed with; REPLICATION_FAILED: it was done here, and
 * not by every peer. The copies that were written stay: the caller takes another id.
 */
export async function writeEverywhere<Answer>(
  local: Promise<Answer>,
  peers: readonly Promise<unknown>[],
): Promise<Answer> {
  const [own, ...others] = await Promise.allSettled([local, ...peers])
  if (own.status === 'rejected') throw own.reason
  const failures = others.filter((other) => other.status === 'rejected')
  const [first] = failures
  if (first === undefined) return own.value
  const cause: unknown = first.reason
  if (!isStoreError(cause)) throw cause
  const why = `${failures.length} of ${others.length} other copies failed: ${cause.message}`
  throw new StoreError('REPLICATION_FAILED', why, { cause })
}
