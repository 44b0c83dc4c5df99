import { isStoreError, StoreError } from '../base/store-error.ts'
import type { StripeShard } from '../format/manifest-erasure.ts'
import { cancelledError, onAbort } from '../runtime/abort.ts'
import type { Clock } from '../runtime/clock.ts'
import { isStoredShard, type ObjectStripe, StripeColumn } from './object-stripe.ts'

export interface BytesRange {
  readonly start: number
  readonly end: number
}

/** A shard that is stored. */
export interface ShardNeedle extends StripeShard {
  readonly fileId: NonNullable<StripeShard['fileId']>
}

export interface StripeReadParts {
  /** One try; the bytes may still be wrong. `range`: only these; undefined: all that is stored. */
  readonly fetch: (
    shard: ShardNeedle,
    range: BytesRange | undefined,
    signal: AbortSignal,
  ) => Promise<readonly Uint8Array[]>
  /** Its server has failed a short while ago: the other shards are asked for at once. */
  readonly isSuspect: (shard: ShardNeedle) => boolean
  /** It has not answered in time, or what came was not what was stored. */
  readonly onBad: (shard: ShardNeedle, error: StoreError) => void
  readonly clock: Clock
}

export interface StripeReadOptions {
  /** Longer than this nobody waits for a shard that others can replace. */
  readonly slowMs: number
  /** Up to this length a shard is read, and verified, as a whole. */
  readonly wholeBytesMax: number
}

/**
 * Bytes of a stripe, `range` counted from its first one, in pieces. As long as all goes well only
 * the data shards touched are read. When one fails, is not what was stored or does not answer in
 * time, all others are asked for, and the first k that come give what is missing. Every shard that
 * is read whole has matched its checksum.
 *
 * @throws {StoreError} SHARDS_LOST: fewer than k shards can be read now. CODEC_UNAVAILABLE.
 * CANCELLED.
 */
export async function readObjectStripe(
  parts: StripeReadParts,
  stripe: ObjectStripe,
  range: BytesRange,
  options: StripeReadOptions,
  signal: AbortSignal,
): Promise<Uint8Array[]> {
  if (signal.aborted) throw cancelledError(signal, 'before reading a stripe')
  const stopping = new AbortController()
  using _abort = onAbort(signal, () => stopping.abort(signal.reason))
  try {
    return await new StripeRead(parts, stripe, range, options, stopping.signal).run()
  } finally {
    stopping.abort()
  }
}

/** The part of one data shard that is wanted. */
interface WantedPart extends BytesRange {
  readonly shard: number
  pieces: readonly Uint8Array[] | undefined
}

/**
 * One read of a stripe. A shard is asked for at most twice: for the part that is wanted, and, once
 * the read is degraded, as a whole.
 */
class StripeRead {
  readonly #parts: StripeReadParts
  readonly #stripe: ObjectStripe
  readonly #options: StripeReadOptions
  readonly #signal: AbortSignal
  readonly #wanted: readonly WantedPart[]
  /** What has been asked for and has not come. None of them rejects. */
  readonly #pending = new Set<Promise<void>>()
  readonly #askedWhole = new Set<number>()
  /** Whole, good, and not yet in the column, which is there only when it is needed. */
  readonly #whole = new Map<number, readonly Uint8Array[]>()
  #column: StripeColumn | undefined
  #failure: StoreError | undefined
  #bug: { readonly error: unknown } | undefined

  constructor(
    parts: StripeReadParts,
    stripe: ObjectStripe,
    range: BytesRange,
    options: StripeReadOptions,
    signal: AbortSignal,
  ) {
    this.#parts = parts
    this.#stripe = stripe
    this.#options = options
    this.#signal = signal
    this.#wanted = wantedParts(stripe, range)
  }

  async run(): Promise<Uint8Array[]> {
    const { clock, isSuspect } = this.#parts
    let isLate = this.#wanted.some((part) => isSuspect(this.#needle(part.shard)))
    for (const part of this.#wanted) this.#askPart(part)
    const late = newBell()
    using _late = clock.after(this.#options.slowMs, () => {
      isLate = true
      this.#noteLate()
      late.ring()
    })
    const aborted = newBell()
    using _abort = onAbort(this.#signal, aborted.ring)
    for (;;) {
      if (this.#wanted.every(({ pieces }) => pieces !== undefined)) return this.#collected()
      if (this.#column === undefined && (isLate || this.#failure !== undefined)) this.#degrade()
      if (this.#column?.isEnough === true) return await this.#rebuilt(this.#column)
      if (this.#pending.size === 0) throw this.#lost()
      const awaited = this.#column === undefined ? [late.rung] : []
      await Promise.race([...this.#pending, ...awaited, aborted.rung])
      if (this.#signal.aborted) throw cancelledError(this.#signal, 'while reading a stripe')
      if (this.#bug !== undefined) throw this.#bug.error
    }
  }

  /** From now on any shard will do. */
  #degrade(): void {
    const column = new StripeColumn(this.#stripe)
    this.#column = column
    for (const [shard, pieces] of this.#whole) column.add(shard, pieces)
    this.#whole.clear()
    for (const [shard, { fileId }] of this.#stripe.shards.entries()) {
      if (fileId !== undefined && !this.#askedWhole.has(shard)) this.#askWhole(shard)
    }
  }

  async #rebuilt(column: StripeColumn): Promise<Uint8Array[]> {
    const missing = this.#wanted.filter(({ pieces }) => pieces === undefined)
    await column.rebuild(missing.map(({ shard }) => shard))
    for (const part of missing) {
      part.pieces = [column.stored(part.shard).subarray(part.start, part.end)]
    }
    return this.#collected()
  }

  #collected(): Uint8Array[] {
    return this.#wanted.flatMap(({ pieces }) => [...(pieces ?? [])])
  }

  #askPart(part: WantedPart): void {
    const { storedBytes } = this.#needle(part.shard)
    // Half of it and more is as good as all, and all can be verified.
    const isMost = 2 * (part.end - part.start) >= storedBytes
    if (isMost || storedBytes <= this.#options.wholeBytesMax) this.#askWhole(part.shard)
    else this.#ask(part.shard, part, (pieces) => this.#onPart(part, pieces))
  }

  #askWhole(shard: number): void {
    this.#askedWhole.add(shard)
    this.#ask(shard, undefined, (pieces) => this.#onWhole(shard, pieces))
  }

  #ask(
    shard: number,
    range: BytesRange | undefined,
    onPieces: (pieces: readonly Uint8Array[]) => void,
  ): void {
    const needle = this.#needle(shard)
    const wanted = range && { start: range.start, end: range.end }
    const asking = this.#parts
      .fetch(needle, wanted, this.#signal)
      .then(onPieces)
      .catch((error: unknown) => this.#onFailure(needle, error))
      .finally(() => this.#pending.delete(asking))
    this.#pending.add(asking)
  }

  #onPart(part: WantedPart, pieces: readonly Uint8Array[]): void {
    const bytes = pieces.reduce((sum, { length }) => sum + length, 0)
    if (bytes !== part.end - part.start) {
      throw new StoreError('PEER_FAILED', `${bytes} bytes of a part of shard ${part.shard}`)
    }
    part.pieces ??= pieces
  }

  #onWhole(shard: number, pieces: readonly Uint8Array[]): void {
    if (!isStoredShard(this.#needle(shard), pieces)) {
      throw new StoreError('SHARD_CORRUPT', `shard ${shard} is not what was stored`)
    }
    for (const part of this.#wanted) {
      if (part.shard === shard) part.pieces ??= cutOut(pieces, part)
    }
    if (this.#column === undefined) this.#whole.set(shard, pieces)
    else if (!this.#column.has(shard) && !this.#column.isEnough) this.#column.add(shard, pieces)
  }

  #onFailure(needle: ShardNeedle, error: unknown): void {
    if (this.#signal.aborted) return // Nobody wants it any more.
    if (!isStoreError(error)) {
      this.#bug ??= { error }
      return
    }
    this.#failure ??= error
    this.#parts.onBad(needle, error)
  }

  #noteLate(): void {
    const { slowMs } = this.#options
    const error = new StoreError('TIMEOUT', `a shard was not there within ${slowMs} ms`)
    for (const { pieces, shard } of this.#wanted) {
      if (pieces === undefined) this.#parts.onBad(this.#needle(shard), error)
    }
  }

  #lost(): StoreError {
    const { index, scheme } = this.#stripe
    const good = this.#column?.goodCount ?? 0
    const why = `${good} shards of stripe ${index} can be read, ${scheme.dataShards} are needed`
    const last = this.#failure === undefined ? '' : `: ${this.#failure.message}`
    return new StoreError('SHARDS_LOST', `${why}${last}`, { cause: this.#failure })
  }

  #needle(shard: number): ShardNeedle {
    const found = this.#stripe.shards[shard]
    if (found?.fileId !== undefined) return { ...found, fileId: found.fileId }
    throw new StoreError('MANIFEST_CORRUPT', `shard ${shard} of a stripe is not stored`)
  }
}

/** A promise that somebody else resolves. */
function newBell(): { readonly rung: Promise<void>; readonly ring: () => void } {
  let ring = (): void => {}
  const rung = new Promise<void>((resolve) => {
    ring = resolve
  })
  return { rung, ring }
}

function wantedParts(stripe: ObjectStripe, range: BytesRange): WantedPart[] {
  const { scheme, shardBytes, shards } = stripe
  return shards.slice(0, scheme.dataShards).flatMap(({ storedBytes }, shard) => {
    const start = Math.max(0, range.start - shard * shardBytes)
    const end = Math.min(storedBytes, range.end - shard * shardBytes)
    return start < end ? [{ shard, start, end, pieces: undefined }] : []
  })
}

function cutOut(pieces: readonly Uint8Array[], { start, end }: BytesRange): Uint8Array[] {
  const wanted: Uint8Array[] = []
  let at = 0
  for (const piece of pieces) {
    const part = piece.subarray(Math.max(0, start - at), Math.max(0, end - at))
    if (part.length > 0) wanted.push(part)
    at += piece.length
  }
  return wanted
}
