import type { StoreError } from '../base/store-error.ts'
import type { PolicyOptions } from './storage-policy.ts'

/** A file as text, bytes, or a stream of either, such as a `Readable`. Text is stored as UTF-8. */
export type PutData = string | Uint8Array | AsyncIterable<Uint8Array | string>

export interface Abortable {
  /** Ends the work early, with CANCELLED. */
  readonly signal?: AbortSignal | undefined
}

export interface PutOptions extends Abortable, PolicyOptions {
  /** At most 255 bytes. */
  readonly name?: string | undefined
  /** At most 255 bytes. */
  readonly mime?: string | undefined
  /** Facts to keep with it; at most 64 KiB as JSON. */
  readonly pairs?: Readonly<Record<string, string>> | undefined
  /**
   * More of them, which are known only when the last byte was read: asked for once, before the file
   * is there. What it throws, the put fails with.
   */
  readonly pairsAtEnd?: (() => Readonly<Record<string, string>>) | undefined
  /** Facts to keep with each of its chunks or shards, if it has any; likewise. */
  readonly chunkPairs?: Readonly<Record<string, string>> | undefined
  /** Like `3m`, `4h`, `5d`. The client's, unless given; empty: for ever. */
  readonly ttl?: string | undefined
  /** The client's, unless given. */
  readonly collection?: string | undefined
  /** Three digits like `001`. The client's, unless given. */
  readonly replication?: string | undefined
  /** Milliseconds since 1970; now, unless given. Kept in whole seconds. */
  readonly lastModifiedMs?: number | undefined
  /** Larger files are stored in chunks of so many bytes: 1 KiB to 64 MiB, 8 MiB unless given. */
  readonly chunkBytes?: number | undefined
  /**
   * Told the ids of needles before any of them is sent, and awaited: who notes them durably knows
   * what a crash leaves behind. Called again for those that were not known yet, such as later
   * chunks, and for new ids after a failure; one call at a time, and none is under way when the put
   * has ended. What it throws, the put fails with; what was stored by then is deleted. It should
   * take no more than seconds: where files are guarded, the leave to write them runs out.
   *
   * Of a small erasure-coded file all ids come in one call, and its manifest is sent together with
   * its shards: after a crash it may be there without all of them.
   */
  readonly onPlanned?: ((fileIds: readonly string[]) => Promise<void>) | undefined
  /**
   * Of an erasure-coded file. `all`: every shard is durable when the put returns. `best-effort`:
   * as many of each stripe as give it back are enough, those that cannot be stored within some
   * seconds are left out, and `missingCount` tells of them; `repairFile` makes them. `all` unless
   * given.
   */
  readonly writePolicy?: 'all' | 'best-effort' | undefined
}

export interface PutResult {
  /** What `get` wants: like `3,01637037d6`. */
  readonly fileId: string
  readonly sizeBytes: number
  /** Eight hex digits. Of a file in chunks it is that of the list of its chunks. */
  readonly eTag: string
  /**
   * Shards that a repair is to make, and copies that its manifest has fewer than it should, which
   * only a new put gives it; undefined: none, or it has no shards.
   */
  readonly missingCount?: number | undefined
}

/** Bytes `start` up to, but without, `end`; without `end` up to the last. */
export interface GetRange {
  readonly start: number
  readonly end?: number | undefined
}

export interface GetOptions extends Abortable {
  readonly range?: GetRange | undefined
}

export interface FileInfo {
  readonly fileId: string
  /**
   * Of the whole file. `stat` does not unpack: of a file that is stored compressed it gives the
   * stored size.
   */
  readonly sizeBytes: number
  readonly eTag: string
  readonly name: string | undefined
  readonly mime: string | undefined
  readonly lastModifiedMs: number | undefined
  /** Empty: for ever. */
  readonly ttl: string
  readonly pairs: Readonly<Record<string, string>>
  readonly isCompressed: boolean
  /** It is stored in several needles. */
  readonly isChunked: boolean
  /** Data and parity shards, like `4+2`; undefined: it is replicated. */
  readonly erasure?: string | undefined
}

export interface GetResult extends FileInfo {
  /** All of it, or the range; never compressed. To be read only: others may read it too. */
  readonly data: Buffer
}

export interface DeleteOptions extends Abortable {
  /**
   * The caller knows that the files are not in chunks. It saves the look that finds out; the chunks
   * of a file that has some all the same stay as garbage.
   */
  readonly isSingleNeedle?: boolean | undefined
}

export interface DeleteResult {
  /** False: it was not there, or deleted before. */
  readonly wasLive: boolean
}

export interface BatchOptions extends Abortable {
  /** Files under way at a time: 1 to 1024, 64 unless given. */
  readonly concurrency?: number | undefined
}

export interface PutManyItem extends Omit<PutOptions, 'signal'> {
  readonly data: PutData
}

/** What became of one item of a batch: the failure of one does not end the others. */
export type Settled<Result> =
  | { readonly value: Result; readonly error: undefined }
  | { readonly value: undefined; readonly error: StoreError }

/** What a repair of an erasure-coded file found and did; all 0 for a file that is replicated. */
export interface RepairResult {
  readonly fileId: string
  readonly stripeCount: number
  /** Read and compared with their checksums. */
  readonly shardCount: number
  /** Of these, not within reach or not what was stored; they were made anew on other servers. */
  readonly rebuiltCount: number
  /** Of the rebuilt ones, within reach and not what was stored; undefined: none. */
  readonly corruptCount?: number | undefined
  /** Good, but on a server or in a place with too many of its stripe: moved to others. */
  readonly movedCount: number
  /** Replaced needles that may still be there: their servers were not in reach. */
  readonly leftCount: number
}

/** Where the bytes of an erasure-coded file are. */
export interface FileShards {
  /** Data and parity shards, like `4+2`. */
  readonly erasure: string
  /** As in the policy it was put with. */
  readonly spread: string
  /** Of shards, in no particular order; those that are empty have none. */
  readonly fileIds: readonly string[]
}

/** A named file, as a listing shows it. */
export interface NamedEntry {
  readonly name: string
  readonly fileId: string
  readonly sizeBytes: number
  readonly modifiedAtMs: number
}
