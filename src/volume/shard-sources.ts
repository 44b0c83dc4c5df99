import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { ShardSource } from '../erasure/rebuild-shards.ts'
import { type ShardSlices, spanBytesOf } from '../erasure/shard-slices.ts'
import type { SlicedSource } from '../erasure/stripe-reader.ts'
import type { ReadShardRequest, ReadShardSlicesRequest, ShardApi } from '../net/shard-api.ts'
import { cancelledError } from '../runtime/abort.ts'
import type { Disk, DiskFile } from '../runtime/disk.ts'
import { shardPath } from '../storage/shard-paths.ts'
import type { ShardSet } from '../storage/shard-set.ts'
import type { Store } from '../storage/store.ts'

/** Which shards are meant, of which volume. */
export interface RunName {
  readonly volumeId: VolumeId
  readonly runId: string
}

/** Names one shard. */
export interface PlaceOfShard extends RunName {
  readonly shard: number
}

/** Another server, whose connection may fail. */
export type Peer = () => ShardApi

/** A shard that is here. */
export function localSource(set: ShardSet, shard: number): SlicedSource {
  return {
    shard,
    read: (into, at) => set.read(shard, into, at),
    readSlices: (into, slices) => set.readSlices(shard, into, slices),
  }
}

/** @throws {StoreError} VOLUME_NOT_FOUND, SHARD_NOT_FOUND, RANGE_INVALID, DISK_FAILED. */
export async function readShardHere(
  store: Store,
  request: ReadShardSlicesRequest,
): Promise<Buffer> {
  const set = setWithShard(store, request)
  const slices = checkShardSlices(request, set.geometry.shardBytes)
  const bytes = Buffer.allocUnsafe(slices.count * slices.lengthBytes)
  await set.readSlices(request.shard, bytes, slices)
  return bytes
}

/** Fills memory with some slices of a shard of another server. */
export type ReadRemote = (into: Buffer, slices: ShardSlices, signal: AbortSignal) => Promise<void>

/** A shard on another server, read in messages. */
export function remoteSource(
  peer: Peer,
  { volumeId, runId }: RunName,
  shard: number,
): SlicedSource {
  const place = { volumeId, runId, shard }
  return inMessages(shard, (into, slices, signal) => readRemote(peer, place, into, slices, signal))
}

/** A shard that is read no more of at once than there may be in a message. */
export function inMessages(shard: number, read: ReadRemote): SlicedSource {
  return {
    shard,
    async read(into, at, signal) {
      for (let done = 0; done < into.length; ) {
        const lengthBytes = Math.min(LIMITS.shardReadMax.value, into.length - done)
        const slices = { at: at + done, lengthBytes, count: 1, strideBytes: lengthBytes }
        await read(into.subarray(done, done + lengthBytes), slices, signal)
        done += lengthBytes
      }
    },
    readSlices: read,
  }
}

/** Fills `into` with slices of a shard, in one message. @throws {StoreError} as `readShard`. */
export async function readRemote(
  peer: Peer,
  place: PlaceOfShard,
  into: Buffer,
  { at, lengthBytes, count, strideBytes }: ShardSlices,
  signal: AbortSignal,
): Promise<void> {
  const slices = { offsetBytes: at, lengthBytes, sliceCount: count, strideBytes }
  const bytes = await peer().readShard({ ...place, ...slices }, signal)
  // By now the memory may be somebody else's.
  if (signal.aborted) throw cancelledError(signal, 'while reading a shard')
  if (bytes.length !== into.length) throw wrongLength(bytes.length, into.length)
  bytes.copy(into)
}

/**
 * A shard on another server, read from its beginning to its end: as one stream, which is several
 * times faster than messages. Reading elsewhere begins a new stream there. One reader at a time; to
 * be disposed of.
 */
export class StreamedSource implements ShardSource, AsyncDisposable {
  readonly shard: number
  readonly #peer: Peer
  readonly #place: PlaceOfShard
  readonly #shardBytes: number
  #pieces: AsyncIterator<Uint8Array> | undefined
  /** Left of the piece that came last. */
  #rest: Uint8Array = NO_BYTES
  #at = 0

  constructor(peer: Peer, place: PlaceOfShard, shardBytes: number) {
    const { volumeId, runId, shard } = place
    this.shard = shard
    this.#peer = peer
    this.#place = { volumeId, runId, shard }
    this.#shardBytes = shardBytes
  }

  async read(into: Buffer, at: number, signal: AbortSignal): Promise<void> {
    if (this.#pieces === undefined || this.#at !== at) await this.#begin(at, signal)
    try {
      for (let done = 0; done < into.length; ) {
        if (this.#rest.length === 0) this.#rest = await this.#next()
        const piece = this.#rest.subarray(0, into.length - done)
        into.set(piece, done)
        done += piece.length
        this.#rest = this.#rest.subarray(piece.length)
      }
      this.#at = at + into.length
    } catch (error) {
      await this.#end()
      throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end()
  }

  async #begin(at: number, signal: AbortSignal): Promise<void> {
    await this.#end()
    const request = { ...this.#place, offsetBytes: at, lengthBytes: this.#shardBytes - at }
    this.#pieces = this.#peer().streamShard(request, signal)[Symbol.asyncIterator]()
    this.#at = at
  }

  async #next(): Promise<Uint8Array> {
    const next = await this.#pieces?.next()
    if (next?.done === false) return next.value
    throw new StoreError('PEER_FAILED', `shard ${this.shard} came to an end too early`)
  }

  async #end(): Promise<void> {
    const pieces = this.#pieces
    this.#pieces = undefined
    this.#rest = NO_BYTES
    try {
      await pieces?.return?.()
    } catch (error) {
      // What went wrong with a stream that nobody wants any more is of no interest.
      if (!isStoreError(error)) throw error
    }
  }
}

/** Where the file of a shard lies. @throws {StoreError} VOLUME_NOT_FOUND, SHARD_NOT_FOUND. */
export function pathOfShard(store: Store, place: PlaceOfShard): string {
  const { paths } = setWithShard(store, place)
  return shardPath(paths, place.shard)
}

/** The set here that has it. @throws {StoreError} VOLUME_NOT_FOUND, SHARD_NOT_FOUND. */
export function setWithShard(store: Store, { volumeId, runId, shard }: PlaceOfShard): ShardSet {
  const sets = store.shardSet(volumeId, runId)
  const set = sets.find((candidate) => candidate.has(shard))
  if (set !== undefined) return set
  if (sets.length > 0) throw new StoreError('SHARD_NOT_FOUND', `shard ${shard} is not here`)
  throw new StoreError('VOLUME_NOT_FOUND', `run ${runId} of volume ${volumeId} is not here`)
}

/** Opens what `pathOfShard` says; it may have gone meanwhile. @throws {StoreError} as that. */
export async function openShardAt(disk: Disk, path: string): Promise<DiskFile> {
  try {
    return await disk.open(path, 'read')
  } catch (error) {
    if (!isStoreError(error, 'PATH_NOT_FOUND')) throw error
    throw new StoreError('SHARD_NOT_FOUND', 'the shard was removed', { cause: error })
  }
}

/** @throws {StoreError} RANGE_INVALID. */
export function checkShardRange(
  { offsetBytes, lengthBytes }: Pick<ReadShardRequest, 'offsetBytes' | 'lengthBytes'>,
  shardBytes: number,
): void {
  const isWithin = lengthBytes >= 1 && offsetBytes >= 0 && offsetBytes + lengthBytes <= shardBytes
  if (isWithin) return
  const what = `${lengthBytes} bytes from byte ${offsetBytes}`
  throw new StoreError('RANGE_INVALID', `${what} of a shard of ${shardBytes}`)
}

/** What may be read at once. @throws {StoreError} RANGE_INVALID. */
export function checkShardSlices(request: ReadShardSlicesRequest, shardBytes: number): ShardSlices {
  const { offsetBytes: at, lengthBytes, sliceCount: count, strideBytes } = request
  const slices = { at, lengthBytes, count, strideBytes }
  const spanBytes = spanBytesOf(slices)
  checkShardRange({ offsetBytes: at, lengthBytes: spanBytes }, shardBytes)
  const isApart = lengthBytes >= 1 && count >= 1 && (count === 1 || strideBytes >= lengthBytes)
  if (isApart && spanBytes <= LIMITS.shardReadMax.value) return slices
  const what = `${count} slices of ${lengthBytes} bytes, every ${strideBytes} bytes`
  throw new StoreError('RANGE_INVALID', `${what}: they overlap, or are too much at once`)
}

const NO_BYTES = new Uint8Array(0)

function wrongLength(got: number, wanted: number): StoreError {
  return new StoreError('PEER_FAILED', `${got} bytes of a shard came, not ${wanted}`)
}
