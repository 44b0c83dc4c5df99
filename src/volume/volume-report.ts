import { compareNeedleIds, type NeedleId, type VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { DiskReport, ReportedVolumeState, VolumeReport } from '../net/master-api.ts'
import type { ShardReport } from '../net/stripe-facts.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { yieldTurn } from '../runtime/yield-turn.ts'
import type { DiskLocation, StoredVolume } from '../storage/disk-location.ts'
import type { ShardSet } from '../storage/shard-set.ts'
import type { Store } from '../storage/store.ts'
import type { Volume } from '../storage/volume.ts'
import { digestEntries } from './digest.ts'
import { RequestRates } from './request-rates.ts'

interface VolumeReportsParts {
  readonly store: Store
  readonly clock: Clock
  readonly logger: Logger
  /** Told when a digest has become known. */
  readonly onDigest: () => void
  /** Reads of a volume that its own count does not know of: those of other threads. */
  readonly otherRequestCount?: ((volumeId: VolumeId) => number) | undefined
}

/** What the digest of a volume belongs to: whatever is appended or vacuumed changes it. */
interface DigestState {
  readonly volume: Volume
  key: string
  /** Since when the key has been the same. */
  sinceMs: number
  digest: string
}

const ROUND_MS = 1_000
const SPACE_MS = 5_000

/**
 * What this server reports about its volumes. Digests are computed in the background, one volume at
 * a time and only when it has been left alone for a while.
 */
export class VolumeReports implements AsyncDisposable {
  readonly #parts: VolumeReportsParts
  readonly #digests = new Map<VolumeId, DigestState>()
  readonly #rates = new RequestRates()
  readonly #shardRates = new RequestRates<ShardSet>()
  readonly #stop = new AbortController()
  #spaceAskedMs = 0
  readonly #working: Promise<void>

  constructor(parts: VolumeReportsParts) {
    this.#parts = parts
    this.#working = this.#work()
  }

  all(): VolumeReport[] {
    const reports: VolumeReport[] = []
    for (const location of this.#parts.store.locations) {
      for (const stored of location.volumes.values()) reports.push(this.#report(stored, location))
    }
    return reports
  }

  /** @throws {StoreError} VOLUME_NOT_FOUND. */
  one(volumeId: VolumeId): VolumeReport {
    for (const location of this.#parts.store.locations) {
      const stored = location.volumes.get(volumeId)
      if (stored !== undefined) return this.#report(stored, location)
    }
    throw new StoreError('VOLUME_NOT_FOUND', `there is no volume ${volumeId}`)
  }

  /** One for each run in each directory. */
  shards(): ShardReport[] {
    const all = [...this.#parts.store.allShardSets()].filter(({ set }) => set.shards.length > 0)
    return all.map(({ set, location }) => {
      const { run, geometry } = set
      const { journalBytes: _, requestCount: __, ...stats } = set.stats
      return {
        volumeId: run.volumeId,
        collection: run.collection,
        replication: run.replication,
        runId: run.runId,
        dataShards: run.dataShards,
        parityShards: run.parityShards,
        directoryId: location.directoryId,
        shards: set.shards,
        badShards: set.badShards,
        shardBytes: geometry.shardBytes,
        datBytes: run.datBytes,
        ...stats,
        requestsPerS: this.#shardRates.perS(set),
      }
    })
  }

  disks(): DiskReport[] {
    return this.#parts.store.locations.map((location) => ({
      directoryId: location.directoryId,
      path: location.directory,
      totalBytes: location.space.totalBytes,
      freeBytes: Math.max(0, location.space.freeBytes),
      reserveBytes: location.space.reserveBytes,
      quarantinedCount: location.quarantine.length,
      clusterId: location.clusterId,
    }))
  }

  highestNeedleId(): NeedleId {
    let highest: NeedleId = { hi: 0, lo: 0 }
    for (const { volume } of this.#parts.store.volumes()) {
      const { highestNeedleId } = volume.stats
      if (compareNeedleIds(highestNeedleId, highest) > 0) highest = highestNeedleId
    }
    for (const { set } of this.#parts.store.allShardSets()) {
      const { highestId } = set.index
      if (highestId !== undefined && compareNeedleIds(highestId, highest) > 0) highest = highestId
    }
    return highest
  }

  /** Of all volumes together. */
  writes(): { readonly queueDepth: number; readonly batchCount: number } {
    let queueDepth = 0
    let batchCount = 0
    for (const { volume } of this.#parts.store.volumes()) {
      queueDepth += volume.stats.queueDepth
      batchCount += volume.stats.batchCount
    }
    return { queueDepth, batchCount }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#working
  }

  #report({ volumeId, collection, volume }: StoredVolume, location: DiskLocation): VolumeReport {
    const { stats } = volume
    return {
      volumeId,
      collection,
      replication: volume.replicaPlacement,
      ttl: volume.superBlock.ttl,
      state: reportedState(stats.state),
      reason: stats.reason ?? '',
      liveNeedles: stats.liveNeedles,
      liveBytes: stats.liveBytes,
      garbageBytes: stats.garbageBytes,
      datBytes: stats.datBytes,
      compactionRevision: stats.compactionRevision,
      directoryId: location.directoryId,
      modifiedAtS: stats.modifiedAtS,
      digest: this.#knownDigest(volumeId, volume),
      requestsPerS: this.#rates.perS(volumeId),
    }
  }

  #knownDigest(volumeId: VolumeId, volume: Volume): string {
    const state = this.#digests.get(volumeId)
    return state?.volume === volume && state.key === keyOf(volume) ? state.digest : ''
  }

  async #work(): Promise<void> {
    const { clock, logger } = this.#parts
    const { signal } = this.#stop
    while (!signal.aborted) {
      try {
        await this.#round()
        await clock.sleep(ROUND_MS, signal)
      } catch (error) {
        if (!isStoreError(error, 'CANCELLED')) logger.error('volume.digest_failed', { error })
      }
    }
  }

  async #round(): Promise<void> {
    const { store, clock, onDigest } = this.#parts
    await this.#refreshSpace()
    const served = [...store.volumes()]
    this.#forgetOthers(served)
    const nowMs = clock.monotonicMs()
    for (const { volumeId, volume } of served) {
      this.#rates.note(volumeId, volume, this.#requestCount(volumeId, volume), nowMs)
    }
    const sets = Array.from(store.allShardSets(), ({ set }) => set)
    for (const set of sets) this.#shardRates.note(set, set, set.stats.requestCount, nowMs)
    this.#shardRates.forgetAllBut(new Set(sets))
    let computedCount = 0
    for (const { volumeId, volume } of served) {
      const state = this.#watch(volumeId, volume)
      const isQuiet = clock.monotonicMs() - state.sinceMs >= LIMITS.digestQuietMs.value
      if (!isQuiet || state.digest !== '') continue
      const digest = await digestEntries(volume.entries, () => this.#giveWay())
      if (keyOf(volume) !== state.key) continue
      state.digest = digest
      computedCount++
    }
    if (computedCount > 0) onDigest()
  }

  /** Others fill and empty the disk too; the guard itself asks only when something is put. */
  async #refreshSpace(): Promise<void> {
    const { store, clock, logger } = this.#parts
    if (clock.monotonicMs() - this.#spaceAskedMs < SPACE_MS) return
    this.#spaceAskedMs = clock.monotonicMs()
    for (const { space, directory } of store.locations) {
      try {
        await space.refresh()
      } catch (error) {
        if (!isStoreError(error)) throw error
        logger.warn('disk.space_unknown', { directory, error: error.message })
      }
    }
  }

  #requestCount(volumeId: VolumeId, volume: Volume): number {
    return volume.stats.requestCount + (this.#parts.otherRequestCount?.(volumeId) ?? 0)
  }

  #watch(volumeId: VolumeId, volume: Volume): DigestState {
    const key = keyOf(volume)
    const state = this.#digests.get(volumeId)
    if (state?.volume === volume) {
      if (state.key === key) return state
      state.key = key
      state.sinceMs = this.#parts.clock.monotonicMs()
      state.digest = ''
      return state
    }
    // Nobody wrote to it before it was opened.
    const sinceMs = state === undefined ? Number.NEGATIVE_INFINITY : this.#parts.clock.monotonicMs()
    const fresh: DigestState = { volume, key, sinceMs, digest: '' }
    this.#digests.set(volumeId, fresh)
    return fresh
  }

  #forgetOthers(served: readonly StoredVolume[]): void {
    const ids = new Set(served.map(({ volumeId }) => volumeId))
    for (const volumeId of this.#digests.keys()) {
      if (!ids.has(volumeId)) this.#digests.delete(volumeId)
    }
    this.#rates.forgetAllBut(ids)
  }

  async #giveWay(): Promise<void> {
    await yieldTurn()
    if (this.#stop.signal.aborted) throw new StoreError('CANCELLED', 'the server is closing')
  }
}

function keyOf(volume: Volume): string {
  const { datBytes, compactionRevision, state } = volume.stats
  return `${compactionRevision} ${datBytes} ${state === 'closed'}`
}

/** A closed volume is about to be gone: until then it is what nobody should write to. */
function reportedState(state: Volume['state']): ReportedVolumeState {
  return state === 'closed' ? 'read-only' : state
}
