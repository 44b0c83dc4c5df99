import { assert } from '../base/assert.ts'
import { formatErasureScheme } from '../base/erasure-scheme.ts'
import { type FileId, formatFileId, parseFileId } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import { copyCount } from '../base/replica-placement.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { MIB } from '../base/units.ts'
import {
  isStoredShard,
  type ObjectStripe,
  StripeColumn,
  stripesOf,
} from '../erasure/object-stripe.ts'
import { decodeChunkManifest } from '../format/chunk-manifest.ts'
import type { ManifestErasure, ManifestStripe, StripeShard } from '../format/manifest-erasure.ts'
import type { MasterApi, NodeLocation } from '../net/master-api.ts'
import type { NeedleMetadata, VolumeApi } from '../net/volume-api.ts'
import { allEnded } from '../runtime/all-ended.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Random } from '../runtime/random.ts'
import type { FileShards, RepairResult } from './client-api.ts'
import type { FileDeleter } from './file-deleter.ts'
import type { ClientTokens } from './file-tokens.ts'
import type { Layout } from './lease-pool.ts'
import type { FetchedNeedle, NeedleFetcher } from './needle-fetcher.ts'
import type { Replicas } from './replicas.ts'
import { isUnsettled, retryMaster } from './retry-turns.ts'
import { misplacedOf } from './shard-placement.ts'
import type { ShardWriter, StoredShard } from './shard-writer.ts'
import { stripedManifest } from './striped-put.ts'
import { withinTime } from './within-time.ts'

export interface RepairerParts {
  readonly master: MasterApi
  readonly fetcher: NeedleFetcher
  readonly replicas: Replicas
  readonly shards: ShardWriter
  readonly deleter: FileDeleter
  readonly tokens: ClientTokens
  readonly clock: Clock
  readonly random: Random
  /** Ends the clean-up, which goes on when the caller's signal aborts. */
  readonly closing: AbortSignal
}

/** What a repair has come to so far. */
interface Progress {
  readonly erasure: ManifestErasure
  readonly metadata: NeedleMetadata
  /** Stored by this repair. */
  readonly fresh: FileId[]
  /** No part of the file any more, once the new manifest is written. */
  readonly replaced: FileId[]
  /** A shard that was read, and stays where it is. */
  kept: FileId | undefined
  /** Of the volume of the manifest; undefined: nothing had to be stored yet. */
  layout: Pick<Layout, 'collection' | 'ttl'> | undefined
  shardCount: number
  rebuiltCount: number
  corruptCount: number
  movedCount: number
}

/** A shard of a stripe as it was found. */
interface Found {
  readonly index: number
  readonly location: NodeLocation | undefined
  readonly isGood: boolean
  /** It is there, and not what was stored. */
  readonly isCorrupt: boolean
}

/**
 * Repairs erasure-coded files, shard by shard. New shards are durable before the manifest names
 * them, and old ones are deleted only when no manifest names them any more: a repair that ends
 * anywhere leaves a file that can be read.
 */
export class FileRepairer {
  readonly #parts: RepairerParts

  constructor(parts: RepairerParts) {
    this.#parts = parts
  }

  /** Errors as `HayloftClient.shardsOf`. */
  async shardsOf(text: string, signal: AbortSignal): Promise<FileShards | undefined> {
    const fileId = parseFileId(text)
    const { fetcher } = this.#parts
    const head = await fetcher.stat(fileId, signal)
    if (head.metadata.isChunkManifest !== true) return undefined
    const { data } = await fetcher.fetch(fileId, undefined, signal)
    const { erasure } = decodeChunkManifest(data)
    if (erasure === undefined) return undefined
    const shards = erasure.stripes.flatMap((stripe) => stripe.shards)
    const fileIds = shards.flatMap((shard) => (shard.fileId ? [formatFileId(shard.fileId)] : []))
    return { erasure: formatErasureScheme(erasure.scheme), spread: erasure.spread, fileIds }
  }

  /** Errors as `HayloftClient.repairFile`. */
  async repair(text: string, signal: AbortSignal): Promise<RepairResult> {
    const fileId = parseFileId(text)
    const { fetcher } = this.#parts
    const head = await fetcher.stat(fileId, signal)
    if (head.metadata.isChunkManifest !== true) return nothingDone(text)
    const { isAgreed, needle } = await this.#newestManifest(fileId, signal)
    const { erasure, mime, name } = decodeChunkManifest(needle.data)
    if (erasure === undefined) return nothingDone(text)
    const { lastModifiedS, pairs } = needle.metadata
    // On its way over HTTP a needle may get a mime type that it was not put with.
    const metadata = { lastModifiedS, pairs, name: name || undefined, mime: mime || undefined }
    const progress = newProgress(erasure, metadata)
    let isManifestTried = false
    let isEverywhere = true
    try {
      const stripes: ManifestStripe[] = []
      for (const stripe of stripesOf(erasure)) {
        stripes.push(await this.#repairStripe(fileId, stripe, progress, signal))
      }
      if (progress.fresh.length > 0 || !isAgreed) {
        progress.layout ??= await this.#layoutOf(fileId, signal)
        await this.#checkSame(fileId, needle, signal)
        isManifestTried = true
        const manifest = { ...erasure, stripes }
        const data = manifestAfter(needle.data, stripedManifest(manifest, metadata).bytes)
        await this.#replaceManifest(fileId, data, progress, signal)
        isEverywhere = await this.#isEverywhere(fileId, data, signal)
      }
    } catch (error) {
      // Some copy of the manifest may name them already.
      const mayBeNamed = isManifestTried && isUnsettled(error)
      if (!mayBeNamed) await this.#deleteSoon(progress.fresh)
      throw error
    }
    await this.#checkNotDeleted(fileId, progress, signal)
    // A copy of the manifest that is behind still names them: with them it can be read.
    const leftCount = isEverywhere
      ? await this.#deleteSoon(progress.replaced)
      : progress.replaced.length
    const { corruptCount, movedCount, rebuiltCount, shardCount } = progress
    const stripeCount = erasure.stripes.length
    const counts = { stripeCount, shardCount, rebuiltCount, movedCount, leftCount }
    return { fileId: text, ...counts, ...(corruptCount > 0 && { corruptCount }) }
  }

  async #repairStripe(
    fileId: FileId,
    stripe: ObjectStripe,
    progress: Progress,
    signal: AbortSignal,
  ): Promise<ManifestStripe> {
    const column = new StripeColumn(stripe)
    const found = await this.#readAll(stripe, column, signal)
    progress.shardCount += found.length
    const good = found.filter(({ isGood }) => isGood)
    const bad = found.filter(({ isGood }) => !isGood)
    if (!column.isEnough) {
      const { dataShards } = stripe.scheme
      const why = `${column.goodCount} shards of stripe ${stripe.index} of ${formatFileId(fileId)}`
      throw new StoreError('SHARDS_LOST', `${why} can be read, ${dataShards} are needed`)
    }
    const { parityShards } = stripe.scheme
    const rule = { spread: progress.erasure.spread, perPlaceMax: parityShards }
    const misplaced = misplacedOf(good, rule)
    const kept = good.filter((shard) => !misplaced.includes(shard))
    progress.kept ??= stripe.shards[kept[0]?.index ?? -1]?.fileId
    if (bad.length + misplaced.length === 0) return stripe
    progress.layout ??= await this.#layoutOf(fileId, signal)
    await column.rebuild(bad.map(({ index }) => index))
    const store = (wanted: readonly Found[], locations: readonly NodeLocation[]) =>
      this.#store({ stripe, column, wanted, locations, progress }, signal)
    const places = locationsOf(kept)
    const rebuilt = await store(bad, places)
    progress.rebuiltCount += bad.length
    progress.corruptCount += bad.filter(({ isCorrupt }) => isCorrupt).length
    const moved = await this.#tryMove(progress, () =>
      store(misplaced, [...places, ...locationsOf(rebuilt.values())]),
    )
    progress.movedCount += moved.size
    return replaceShards(stripe, new Map([...rebuilt, ...moved]), progress)
  }

  /** A shard in a bad place is better than a repair that fails for want of a good one. */
  async #tryMove(
    { fresh }: Progress,
    move: () => Promise<ReadonlyMap<number, StoredShard>>,
  ): Promise<ReadonlyMap<number, StoredShard>> {
    const keptCount = fresh.length
    try {
      return await move()
    } catch (error) {
      if (!isStoreError(error, 'PLACEMENT_IMPOSSIBLE')) throw error
      await this.#deleteSoon(fresh.splice(keptCount))
      return new Map()
    }
  }

  /** Every shard that is stored, the good ones into the column. */
  async #readAll(
    stripe: ObjectStripe,
    column: StripeColumn,
    signal: AbortSignal,
  ): Promise<readonly Found[]> {
    const reading = stripe.shards.map(async (shard, index): Promise<Found[]> => {
      if (shard.fileId === undefined) return []
      const pieces = await this.#readShard(shard.fileId, shard, signal)
      const isGood = pieces !== undefined && pieces !== 'corrupt'
      if (isGood) column.add(index, pieces)
      const location = await this.#locate(shard.fileId, signal)
      return [{ index, location, isGood, isCorrupt: pieces === 'corrupt' }]
    })
    return (await allEnded(reading)).flat()
  }

  /** Undefined: it is gone, or out of reach. `corrupt`: it is not what was stored. */
  async #readShard(
    fileId: FileId,
    shard: StripeShard,
    signal: AbortSignal,
  ): Promise<readonly Uint8Array[] | 'corrupt' | undefined> {
    const { clock, fetcher } = this.#parts
    const ms = LIMITS.shardPutMs.value + Math.ceil(shard.storedBytes / MIB) * 1000
    const what = `reading shard ${formatFileId(fileId)}`
    const fetch = (stop: AbortSignal) => fetcher.fetchOnce(fileId, undefined, stop)
    try {
      const pieces = await withinTime(clock, { ms, what }, fetch, signal)
      return isStoredShard(shard, pieces) ? pieces : 'corrupt'
    } catch (error) {
      if (!isStoreError(error) || error.code === 'CANCELLED') throw error
      return error.code === 'NEEDLE_CORRUPT' ? 'corrupt' : undefined
    }
  }

  async #locate({ volumeId }: FileId, signal: AbortSignal): Promise<NodeLocation | undefined> {
    try {
      const [first] = await this.#parts.replicas.locations(volumeId, signal)
      return first
    } catch (error) {
      if (!isStoreError(error) || error.code === 'CANCELLED') throw error
      return undefined
    }
  }

  async #store(work: StripeStore, signal: AbortSignal): Promise<ReadonlyMap<number, StoredShard>> {
    const { column, locations, progress, stripe, wanted } = work
    if (wanted.length === 0) return new Map()
    const { layout } = progress
    assert(layout !== undefined, 'a repair knows the volume before it stores anything')
    const { lastModifiedS } = progress.metadata
    const shards = wanted.map(({ index }) => {
      return { data: column.stored(index), checksum: stripe.shards[index]?.checksum ?? 0 }
    })
    const { scheme, spread } = progress.erasure
    const toStore = {
      shards,
      placement: { scheme, spread, kept: locations },
      metadata: { lastModifiedS, ttl: layout.ttl },
      layout,
      onStored: (fileId: FileId) => progress.fresh.push(fileId),
      onFailure: () => undefined,
    }
    const stored = await this.#parts.shards.store(toStore, signal)
    return new Map(
      wanted.flatMap(({ index }, at): [number, StoredShard][] => {
        const found = stored[at]
        return found === undefined ? [] : [[index, found]]
      }),
    )
  }

  /**
   * Where new shards belong. It is looked first whether the new manifest can be written: what a
   * write comes to that reaches some copies only, nobody knows.
   *
   * @throws {StoreError} VOLUME_SEALED, REPLICATION_FAILED and others: it cannot.
   */
  async #layoutOf({ volumeId }: FileId, signal: AbortSignal) {
    const { master, replicas } = this.#parts
    const lookup = () => master.lookup([volumeId], signal)
    const [known] = await retryMaster(this.#parts, lookup, signal)
    const status = (volume: VolumeApi) => volume.volumeStatus(volumeId, signal)
    const { replication, state, ttl } = await replicas.run(volumeId, status, signal)
    const what = `volume ${volumeId}, which has the list of its shards,`
    if (known?.stripe !== undefined || state === 'sealed' || state === 'read-only') {
      throw new StoreError('VOLUME_SEALED', `${what} takes no more writes: put the file again`)
    }
    if (state !== 'writable') throw new StoreError('VOLUME_FAILED', `${what} is ${state}`)
    const hereCount = known?.locations.length ?? 0
    const wantedCount = copyCount(replication)
    if (known !== undefined && (hereCount >= wantedCount || known.writePolicy === 'best-effort')) {
      return { collection: known.collection, ttl }
    }
    const why = `${hereCount} of ${wantedCount} copies of ${what} are within reach`
    throw new StoreError('REPLICATION_FAILED', `${why}; nothing was changed`)
  }

  /**
   * A repair writes to the copies that there are; one that is being made meanwhile may be behind
   * when it is done. A manifest is longer than the one before it, so the longest is the newest, and
   * whoever compares copies by their sizes sees which differ.
   */
  async #newestManifest(fileId: FileId, signal: AbortSignal): Promise<NewestManifest> {
    const copies = await this.#parts.fetcher.fetchCopies(fileId, signal)
    const [first, ...others] = copies.filter(({ metadata }) => metadata.isChunkManifest === true)
    if (first === undefined) {
      return { needle: await this.#parts.fetcher.fetch(fileId, undefined, signal), isAgreed: true }
    }
    const needle = others.reduce((a, b) => (b.data.length > a.data.length ? b : a), first)
    return { needle, isAgreed: others.every(({ data }) => data.equals(first.data)) }
  }

  /** Every copy that the master knows of by now has it. */
  async #isEverywhere(fileId: FileId, data: Buffer, signal: AbortSignal): Promise<boolean> {
    const { fetcher, master } = this.#parts
    const lookup = () => master.lookup([fileId.volumeId], signal)
    const [known] = await retryMaster(this.#parts, lookup, signal)
    const copies = await fetcher.fetchCopies(fileId, signal)
    const isSame = copies.every((copy) => copy.data.equals(data))
    return isSame && copies.length >= (known?.locations.length ?? Number.POSITIVE_INFINITY)
  }

  /** @throws {StoreError} VOLUME_CHANGED: somebody else has repaired it. NEEDLE_NOT_FOUND. */
  async #checkSame(fileId: FileId, before: FetchedNeedle, signal: AbortSignal): Promise<void> {
    const { needle: now } = await this.#newestManifest(fileId, signal)
    if (now.data.equals(before.data)) return
    const why = `${formatFileId(fileId)} was repaired by somebody else meanwhile`
    throw new StoreError('VOLUME_CHANGED', why)
  }

  async #replaceManifest(
    fileId: FileId,
    data: Buffer,
    { layout, metadata }: Progress,
    signal: AbortSignal,
  ): Promise<void> {
    const { replicas, tokens } = this.#parts
    const writeToken = tokens.write(fileId)
    const attributes = { ...metadata, ttl: layout?.ttl, isChunkManifest: true }
    const request = { fileId, data, metadata: attributes, writeToken, isReplica: false }
    const put = (volume: VolumeApi) => volume.put(request, signal)
    await replicas.run(fileId.volumeId, put, signal)
  }

  /**
   * Who deletes the file deletes its shards first, then the manifest: a new manifest that came
   * after that would bring back a file without shards.
   *
   * @throws {StoreError} NEEDLE_NOT_FOUND: it was deleted meanwhile, and is now.
   */
  async #checkNotDeleted(fileId: FileId, progress: Progress, signal: AbortSignal): Promise<void> {
    const { fresh, kept } = progress
    if (fresh.length === 0 || kept === undefined) return
    try {
      await this.#parts.fetcher.fetchOnce(kept, { start: 0, end: 1 }, signal)
    } catch (error) {
      if (!isStoreError(error, 'NEEDLE_NOT_FOUND')) return
      await this.#deleteSoon([...fresh, fileId])
      throw error
    }
  }

  #deleteSoon(fileIds: readonly FileId[]): Promise<number> {
    return this.#parts.deleter.deleteSoon(fileIds, this.#parts.closing)
  }
}

interface NewestManifest {
  readonly needle: FetchedNeedle
  /** All copies within reach say the same. */
  readonly isAgreed: boolean
}

interface StripeStore {
  readonly stripe: ObjectStripe
  readonly column: StripeColumn
  readonly wanted: readonly Found[]
  /** Where shards of the stripe are already. */
  readonly locations: readonly NodeLocation[]
  readonly progress: Progress
}

/** The text of a manifest, longer than the one before it: see `#newestManifest`. */
function manifestAfter(before: Buffer, text: Buffer): Buffer {
  const missingBytes = before.length + 1 - text.length
  return missingBytes > 0 ? Buffer.concat([text, Buffer.alloc(missingBytes, ' ')]) : text
}

function newProgress(erasure: ManifestErasure, metadata: NeedleMetadata): Progress {
  const counts = { shardCount: 0, rebuiltCount: 0, corruptCount: 0, movedCount: 0 }
  const nothing = { fresh: [], replaced: [], kept: undefined, layout: undefined }
  return { erasure, metadata, ...nothing, ...counts }
}

function nothingDone(fileId: string): RepairResult {
  const counts = { stripeCount: 0, shardCount: 0, rebuiltCount: 0, movedCount: 0, leftCount: 0 }
  return { fileId, ...counts }
}

function locationsOf(
  items: Iterable<{ readonly location: NodeLocation | undefined }>,
): NodeLocation[] {
  return Array.from(items).flatMap(({ location }) => (location === undefined ? [] : [location]))
}

function replaceShards(
  { shardBytes, shards, sizeBytes }: ObjectStripe,
  stored: ReadonlyMap<number, StoredShard>,
  progress: Progress,
): ManifestStripe {
  const now = shards.map((shard, index): StripeShard => {
    const fresh = stored.get(index)
    if (fresh === undefined) return shard
    if (shard.fileId !== undefined) progress.replaced.push(shard.fileId)
    return { ...shard, fileId: fresh.fileId }
  })
  return { sizeBytes, shardBytes, shards: now }
}
