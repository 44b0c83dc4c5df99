import type { VolumeId } from '../base/ids.ts'
import { StoreError } from '../base/store-error.ts'
import { EcIndex } from '../erasure/ec-index.ts'
import { RebuildPool } from '../erasure/rebuild-pool.ts'
import { StripeReader } from '../erasure/stripe-reader.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type {
  DecodeProgress,
  DecodeVolumeCommand,
  EncodeProgress,
  EncodeVolumeCommand,
} from '../net/shard-api.ts'
import type { VolumeApi } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import { fillFromStripe } from '../storage/decode-volume.ts'
import { encodeVolumeHere } from '../storage/encode-volume.ts'
import { geometryOf, openCodec } from '../storage/shard-run.ts'
import type { ShardSet } from '../storage/shard-set.ts'
import type { ShardSetFiles } from '../storage/shard-set-files.ts'
import type { Store } from '../storage/store.ts'
import { deleteJournaled } from './journaled-deletes.ts'
import { Rest } from './rest.ts'
import { localSource, remoteSource } from './shard-sources.ts'
import type { ShardWork } from './shard-work.ts'

export interface StripeWorkParts {
  readonly store: Store
  readonly clock: Clock
  readonly work: ShardWork
  /** @throws {StoreError} REQUEST_INVALID: there are no other servers, or it is this one. */
  readonly peerAt: (location: NodeLocation) => VolumeApi
  /** Whether the master counts the copy of a volume that is here. */
  readonly isMember: (volumeId: VolumeId, signal: AbortSignal) => Promise<boolean>
}

/** Makes all shards of a volume that is here, and a volume of its shards. */
export class StripeWork {
  readonly #parts: StripeWorkParts
  readonly #pool = new RebuildPool()

  constructor(parts: StripeWorkParts) {
    this.#parts = parts
  }

  /** As `ShardApi.encodeVolume`. */
  async encode(
    command: EncodeVolumeCommand,
    report: (progress: EncodeProgress) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { store } = this.#parts
    const { volumeId } = command
    const rest = new Rest(this.#parts, command.politeness, signal)
    let totalBytes = store.get(volumeId).volume.extent.datBytes
    const onProgress = (doneBytes: number, ofBytes: number): void => {
      totalBytes = ofBytes
      report({ doneBytes, totalBytes, ...NOT_ENCODED })
    }
    onProgress(0, totalBytes)
    const { sets, extent } = await encodeVolumeHere(store, volumeId, {
      run: command,
      rest: () => rest.sinceLast(),
      onProgress,
      signal,
    })
    const directoryId = this.#directoryOf(sets[0])
    const size = { doneBytes: totalBytes, totalBytes }
    report({ ...size, isDone: true, sourceExtent: extent, directoryId })
  }

  /** As `ShardApi.decodeVolume`. */
  async decode(
    command: DecodeVolumeCommand,
    report: (progress: DecodeProgress) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { store, clock, work } = this.#parts
    const { volumeId, collection, livingOnly, sources } = command
    const rest = new Rest(this.#parts, command.politeness, signal)
    const files = await work.filesFor(command, work.peersOf(sources), signal)
    const { run } = files
    const source = {
      index: new EcIndex(files.ecx, files.deleted),
      reader: this.#readerOf(files, command),
      run,
      livingOnly,
    }
    await this.#removeStray(volumeId, signal)
    let size = { doneBytes: 0, totalBytes: run.datBytes }
    const onProgress = (doneBytes: number, totalBytes: number): void => {
      size = { doneBytes, totalBytes }
      report({ ...size, isDone: false, directoryId: '' })
    }
    onProgress(0, run.datBytes)
    const options = { clock, rest: () => rest.sinceLast(), onProgress, signal }
    const name = { collection, volumeId, sizeBytes: run.datBytes }
    await store.adoptVolume(name, (draft) => fillFromStripe(draft, source, options))
    await deleteJournaled(store, volumeId, signal)
    const home = store.locations.find(({ volumes }) => volumes.has(volumeId))
    report({
      ...size,
      doneBytes: size.totalBytes,
      isDone: true,
      directoryId: home?.directoryId ?? '',
    })
  }

  #readerOf(files: ShardSetFiles, { volumeId, runId, sources }: DecodeVolumeCommand): StripeReader {
    const { store, clock, work } = this.#parts
    const { run, checksums } = files
    const name = { volumeId, runId }
    const setWith = (shard: number): ShardSet | undefined =>
      store.shardSet(volumeId, runId).find((set) => set.has(shard))
    return new StripeReader({
      geometry: geometryOf(run),
      codec: () => openCodec(run),
      checksums,
      sources: {
        local: (shard) => {
          const set = setWith(shard)
          return set && localSource(set, shard)
        },
        remote: (shard) => {
          const place = work.elsewhere(sources).find((candidate) => candidate.shard === shard)
          if (place === undefined) return undefined
          return remoteSource(() => this.#parts.peerAt(place.location).shards, name, shard)
        },
      },
      onBad: (shard, block) => setWith(shard)?.noteBad(shard, block),
      clock,
      pool: this.#pool,
    })
  }

  /**
   * What an earlier attempt left.
   *
   * @throws {StoreError} VOLUME_EXISTS: it is a copy that counts. What the master throws.
   */
  async #removeStray(volumeId: VolumeId, signal: AbortSignal): Promise<void> {
    const { store, isMember } = this.#parts
    if (store.find(volumeId) === undefined) return
    if (await isMember(volumeId, signal)) {
      throw new StoreError('VOLUME_EXISTS', `volume ${volumeId} is here, and counts`)
    }
    await store.removeVolume(volumeId)
  }

  #directoryOf(wanted: ShardSet | undefined): string {
    for (const { set, location } of this.#parts.store.allShardSets()) {
      if (set === wanted) return location.directoryId
    }
    return ''
  }
}

const NOT_ENCODED = { isDone: false, sourceExtent: undefined, directoryId: '' } as const
