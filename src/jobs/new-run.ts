import { assert } from '../base/assert.ts'
import { type ErasureScheme, STRIPE_BLOCK_BYTES, shardCountOf } from '../base/erasure-scheme.ts'
import type { NeedleId } from '../base/ids.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type { NewShard, ShardPlace } from '../net/stripe-facts.ts'
import type { VolumeExtent } from '../net/volume-api.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import { asCount, asExtent, asFields, asLocation, asText } from './job-cursor.ts'
import { readTail } from './left-copies.ts'
import { drain, groupPlaces, verifyShards } from './shard-commands.ts'
import { journalEverywhere } from './shard-journals.ts'
import { askForShards, holdersOf } from './stripe-survey.ts'
import type { StripePlan } from './stripe-switch.ts'
import { isOutOfReach, type VolumeWork } from './volume-work.ts'

/** Servers that are served at the same time by the one that has all shards. */
const TARGETS_AT_ONCE = 2
/** So many servers may turn out to be of no use before the attempt fails. */
const TARGETS_FAILED_MAX = 5

export type OnBytes = (doneBytes: number, totalBytes: number) => void

/** Where the shards were made, and what of the volume they have. */
interface Encoded {
  readonly encoder: NodeLocation
  readonly extent: VolumeExtent
}

/**
 * A run of the encoder on its way: begun, made, spread, read back. What it has come to is in the
 * cursor; none of it counts.
 */
export class NewRun {
  readonly #work: VolumeWork
  readonly #scheme: ErasureScheme
  readonly #onBytes: OnBytes
  #runId: string | undefined
  #encoded: Encoded | undefined
  #places: readonly ShardPlace[] = []
  #isSpread = false
  #isVerified = false

  constructor(
    work: VolumeWork,
    options: {
      readonly scheme: ErasureScheme
      readonly cursor: unknown
      readonly onBytes: OnBytes
    },
  ) {
    this.#work = work
    this.#scheme = options.scheme
    this.#onBytes = options.onBytes
    const fields = asFields(options.cursor)
    this.#runId = asRunId(fields?.['runId'])
    this.#encoded = asEncoded(fields?.['encoded'])
    const places = fields?.['places']
    this.#places = Array.isArray(places) ? places.flatMap((place) => asPlace(place) ?? []) : []
    const isComplete = this.#places.length === shardCountOf(this.#scheme)
    this.#isSpread = isComplete && this.isEncoded && fields?.['isSpread'] === true
    this.#isVerified = this.#isSpread && fields?.['isVerified'] === true
  }

  get cursor(): unknown {
    return {
      runId: this.#runId,
      encoded: this.#encoded,
      places: this.#places,
      isSpread: this.#isSpread,
      isVerified: this.#isVerified,
    }
  }

  get runId(): string | undefined {
    return this.#runId
  }

  /** Undefined: it is not known to be made. */
  get encoder(): NodeLocation | undefined {
    return this.#encoded?.encoder
  }

  get extent(): VolumeExtent | undefined {
    return this.#encoded?.extent
  }

  get isEncoded(): boolean {
    return this.#runId !== undefined && this.#encoded !== undefined
  }

  get isSpread(): boolean {
    return this.#isSpread
  }

  get isVerified(): boolean {
    return this.#isVerified
  }

  /** Servers that may have something of it. */
  get servers(): readonly NodeLocation[] {
    const encoder = this.encoder === undefined ? [] : [{ location: this.encoder }]
    return holdersOf([...encoder, ...this.#places])
  }

  /** What there is of it is of no use any more. A later run has another name. */
  forget(): void {
    this.#encoded = undefined
    this.#places = []
    this.#isSpread = false
    this.#isVerified = false
  }

  /**
   * Makes all shards at one of the servers, the first that can, under a new name: of shards that
   * are there already nobody knows how far their volume went.
   *
   * @throws {StoreError} why the last of them could not.
   */
  async encode(servers: readonly NodeLocation[], signal: AbortSignal): Promise<void> {
    this.forget()
    const { context } = this.#work
    let failure: unknown
    for (const encoder of servers) {
      this.#runId = nextRunId(this.#work, this.#runId)
      await context.save(signal)
      try {
        const extent = await this.#encodeAt(encoder, this.#runId, signal)
        this.#encoded = { encoder, extent }
        await context.save(signal)
        return
      } catch (error) {
        const isOfThisServer =
          isOutOfReach(error) ||
          isStoreError(error, 'DISK_FULL', 'DISK_FAILED', 'VOLUME_DAMAGED', 'CODEC_UNAVAILABLE')
        if (!isOfThisServer) throw error
        failure = error
        await this.#clear(encoder, signal)
      }
    }
    throw failure ?? new StoreError('UNAVAILABLE', 'there is no copy to make shards of')
  }

  /** Every shard is at its place, whole as far as checksums on the way tell. */
  async spread(signal: AbortSignal): Promise<void> {
    const { encoder, runId } = this.#made()
    const shardBytes = await this.#shardBytes(encoder, runId, signal)
    if (this.#places.length === 0) {
      this.#places = await this.#choose({ kept: [], excluded: [], shardBytes }, signal)
      await this.#work.context.save(signal)
    }
    const excluded: string[] = []
    for (;;) {
      const failures = await this.#copyToAll(shardBytes, signal)
      const [first] = failures
      if (first === undefined) break
      excluded.push(...failures.map(({ url }) => url))
      if (excluded.length > TARGETS_FAILED_MAX) throw first.error
      this.#places = await this.#chooseInstead(excluded, { shardBytes, why: first.error }, signal)
      await this.#work.context.save(signal)
    }
    this.#isSpread = true
  }

  /** Reads every shard back where it lies. @throws {StoreError} SHARD_CORRUPT: it is forgotten. */
  async verify(signal: AbortSignal): Promise<void> {
    const { runId } = this.#made()
    const groups = groupPlaces(this.#places)
    const report = sumOf(groups.length, this.#onBytes)
    const found = await mapBounded(
      groups,
      TARGETS_AT_ONCE,
      async ({ location, shards }, index) => {
        const onProgress = report(index)
        return await verifyShards(this.#work, { location, runId, shards }, onProgress, signal)
      },
      signal,
    )
    const bad = found.flat()[0]
    if (bad === undefined) {
      this.#isVerified = true
      return
    }
    this.forget()
    const why = `shard ${bad.shard} of volume ${this.#work.volumeId} is bad, just made`
    throw new StoreError('SHARD_CORRUPT', why)
  }

  /** Where each shard is now. @throws {StoreError} VOLUME_CHANGED: one is not; it is forgotten. */
  async plan(signal: AbortSignal): Promise<StripePlan> {
    const { runId } = this.#made()
    const sets = await askForShards(this.#work, holdersOf(this.#places), signal)
    const shards = this.#places.flatMap(({ shard, location: { url } }): NewShard[] => {
      const set = sets.find(({ location, report }) => {
        if (location.url !== url || report.runId !== runId) return false
        return report.shards.includes(shard) && !report.badShards.includes(shard)
      })
      return set === undefined ? [] : [{ shard, url, directoryId: set.report.directoryId }]
    })
    if (shards.length < shardCountOf(this.#scheme)) {
      this.forget()
      const why = `shards of volume ${this.#work.volumeId} are gone before they counted`
      throw new StoreError('VOLUME_CHANGED', why)
    }
    return { ...this.#scheme, runId, shards }
  }

  /** Durable at every place of it. */
  async journal(needleIds: readonly NeedleId[], signal: AbortSignal): Promise<void> {
    const { runId } = this.#made()
    const request = { servers: holdersOf(this.#places), runId, needleIds }
    await journalEverywhere(this.#work, request, signal)
  }

  /**
   * Deletes in the volume since it was coded, or since this was called last, go to every place.
   *
   * @throws {StoreError} VOLUME_CHANGED: more than deletes has happened to it; it is forgotten.
   */
  async catchUp(signal: AbortSignal): Promise<void> {
    const { encoder, extent } = this.#made()
    try {
      const tail = await readTail(this.#work, encoder, extent, signal)
      if (tail.putCount > 0) {
        const why = `volume ${this.#work.volumeId} was written to while shards were made`
        throw new StoreError('VOLUME_CHANGED', why)
      }
      await this.journal(tail.deleted, signal)
      this.#encoded = { encoder, extent: tail.extent }
    } catch (error) {
      if (isStoreError(error, 'VOLUME_CHANGED')) this.forget()
      throw error
    }
  }

  #made(): Encoded & { readonly runId: string } {
    assert(this.#runId !== undefined && this.#encoded !== undefined, 'the shards are made')
    return { ...this.#encoded, runId: this.#runId }
  }

  async #encodeAt(
    encoder: NodeLocation,
    runId: string,
    signal: AbortSignal,
  ): Promise<VolumeExtent> {
    const { command, politeness } = this.#work
    const { large: largeBlockBytes, small: smallBlockBytes } = STRIPE_BLOCK_BYTES
    const blocks = { largeBlockBytes, smallBlockBytes }
    const encode = { ...command, ...this.#scheme, ...blocks, runId, politeness }
    for await (const progress of this.#work.at(encoder).shards.encodeVolume(encode, signal)) {
      this.#onBytes(progress.doneBytes, progress.totalBytes)
      if (progress.isDone && progress.sourceExtent !== undefined) return progress.sourceExtent
    }
    throw new StoreError('PEER_FAILED', `${encoder.url} made shards without saying it is done`)
  }

  /** What a server made that failed; the space may be wanted by the next attempt. */
  async #clear(location: NodeLocation, signal: AbortSignal): Promise<void> {
    const runId = this.#runId
    if (runId === undefined) return
    const shards = Array.from({ length: shardCountOf(this.#scheme) }, (_, shard) => shard)
    try {
      const command = { ...this.#work.command, runId, shards }
      await this.#work.at(location).shards.deleteShards(command, signal)
    } catch (error) {
      if (!isOutOfReach(error) && !isStoreError(error, 'VOLUME_NOT_FOUND')) throw error
    }
  }

  async #shardBytes(encoder: NodeLocation, runId: string, signal: AbortSignal): Promise<number> {
    const sets = await askForShards(this.#work, [encoder], signal)
    const ofRun = sets.filter(({ report }) => report.runId === runId)
    const there = new Set(ofRun.flatMap(({ report }) => report.shards))
    const [first] = ofRun
    if (first === undefined || there.size < shardCountOf(this.#scheme)) {
      this.forget()
      const why = `shards of volume ${this.#work.volumeId} at ${encoder.url} are not all there`
      throw new StoreError('VOLUME_CHANGED', why)
    }
    return first.report.shardBytes
  }

  async #choose(
    request: {
      readonly kept: readonly ShardPlace[]
      readonly excluded: readonly string[]
      readonly shardBytes: number
    },
    signal: AbortSignal,
  ): Promise<readonly ShardPlace[]> {
    const { volumeId, context } = this.#work
    const { excluded, shardBytes } = request
    const kept = request.kept.map(({ shard, location }) => ({ shard, url: location.url }))
    const all = Array.from({ length: shardCountOf(this.#scheme) }, (_, shard) => shard)
    const wanted = all.filter((shard) => !kept.some((place) => place.shard === shard))
    const choose = { volumeId, ...this.#scheme, kept, wanted, shardBytes, excluded }
    const chosen = await context.jobs.chooseShards(choose, signal)
    return [...request.kept, ...chosen].toSorted((a, b) => a.shard - b.shard)
  }

  async #chooseInstead(
    excluded: readonly string[],
    { shardBytes, why }: { readonly shardBytes: number; readonly why: StoreError },
    signal: AbortSignal,
  ): Promise<readonly ShardPlace[]> {
    const kept = this.#places.filter(({ location }) => !excluded.includes(location.url))
    try {
      return await this.#choose({ kept, excluded, shardBytes }, signal)
    } catch (error) {
      if (isStoreError(error, 'NO_WRITABLE_VOLUME', 'PLACEMENT_IMPOSSIBLE')) throw why
      throw error
    }
  }

  /** Those servers that did not take their shards, and why. */
  async #copyToAll(
    shardBytes: number,
    signal: AbortSignal,
  ): Promise<readonly { readonly url: string; readonly error: StoreError }[]> {
    const { encoder } = this.#made()
    const groups = groupPlaces(this.#places).filter(({ location }) => location.url !== encoder.url)
    const report = sumOf(groups.length, this.#onBytes)
    const results = await mapBounded(
      groups,
      TARGETS_AT_ONCE,
      async ({ location, shards }, index) => {
        const onProgress = report(index)
        onProgress({ doneBytes: 0, totalBytes: shards.length * shardBytes })
        return await this.#copyTo(location, shards, onProgress, signal)
      },
      signal,
    )
    return results.filter((result) => result !== undefined)
  }

  async #copyTo(
    location: NodeLocation,
    shards: readonly number[],
    onProgress: (progress: ByteCounts) => void,
    signal: AbortSignal,
  ): Promise<{ readonly url: string; readonly error: StoreError } | undefined> {
    const { encoder: source, runId } = this.#made()
    const { command, politeness, context } = this.#work
    try {
      const facts = await this.#work.facts(signal)
      const collection = facts?.collection ?? ''
      const copy = { ...command, runId, collection, shards, source, politeness }
      await drain(this.#work.at(location).shards.copyShards(copy, signal), onProgress)
      return undefined
    } catch (error) {
      const isOfThisServer =
        isOutOfReach(error) || isStoreError(error, 'DISK_FULL', 'DISK_FAILED', 'PEER_FAILED')
      // A bad shard at its source is bad for everybody.
      if (isStoreError(error, 'SHARD_CORRUPT', 'SHARD_NOT_FOUND')) this.forget()
      if (!isOfThisServer) throw error
      const { url } = location
      context.logger.warn('job.shards_refused', { url, shards, error: error.message })
      return { url, error }
    }
  }
}

interface ByteCounts {
  readonly doneBytes: number
  readonly totalBytes: number
}

/** Of several that go on at once, told as one. */
export function sumOf(
  count: number,
  onBytes: OnBytes,
): (index: number) => (part: ByteCounts) => void {
  const parts: ByteCounts[] = Array.from({ length: count }, () => ({ doneBytes: 0, totalBytes: 0 }))
  return (index) =>
    ({ doneBytes, totalBytes }) => {
      parts[index] = { doneBytes, totalBytes }
      const done = parts.reduce((sum, part) => sum + part.doneBytes, 0)
      const total = parts.reduce((sum, part) => sum + part.totalBytes, 0)
      onBytes(done, total)
    }
}

/** Later than all before, and not that of another job of this very moment. */
function nextRunId({ context }: VolumeWork, before: string | undefined): string {
  const { clock, lease } = context
  const nowNs = BigInt(Math.floor(clock.nowMs())) * 1_000_000n + BigInt(lease.job.id % 1_000_000)
  const afterNs = before === undefined ? 0n : BigInt(before) + 1n
  return String(nowNs > afterNs ? nowNs : afterNs)
}

function asRunId(value: unknown): string | undefined {
  const text = asText(value)
  return text !== undefined && /^\d{1,20}$/.test(text) ? text : undefined
}

function asEncoded(value: unknown): Encoded | undefined {
  const fields = asFields(value)
  const encoder = asLocation(fields?.['encoder'])
  const extent = asExtent(fields?.['extent'])
  return encoder === undefined || extent === undefined ? undefined : { encoder, extent }
}

function asPlace(value: unknown): ShardPlace | undefined {
  const fields = asFields(value)
  const shard = asCount(fields?.['shard'])
  const location = asLocation(fields?.['location'])
  return shard === undefined || location === undefined ? undefined : { shard, location }
}
