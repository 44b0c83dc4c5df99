import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import type { MasterApi } from '../net/master-api.ts'
import type { ConnectVolume, NeedleMetadata } from '../net/volume-api.ts'
import { type Clock, systemClock } from '../runtime/clock.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import { type Logger, silentLogger } from '../runtime/logger.ts'
import { cryptoRandom, type Random } from '../runtime/random.ts'
import { withPairsAtEnd } from './chunked-put.ts'
import type {
  Abortable,
  BatchOptions,
  DeleteOptions,
  DeleteResult,
  FileInfo,
  FileShards,
  GetOptions,
  GetResult,
  NamedEntry,
  PutData,
  PutManyItem,
  PutOptions,
  PutResult,
  RepairResult,
  Settled,
} from './client-api.ts'
import {
  type ClientDefaults,
  type ConnectOptions,
  readChunkBytes,
  readConcurrency,
  readLayout,
  readWritePolicy,
} from './client-config.ts'
import { connectTo } from './connect.ts'
import { FileDeleter } from './file-deleter.ts'
import { FileReader } from './file-reader.ts'
import { FileRepairer } from './file-repairer.ts'
import { type ClientTokens, NO_TOKENS } from './file-tokens.ts'
import { FileWriter, type PutPlan } from './file-writer.ts'
import { type Layout, LeasePool, NEEDLE_LEASES } from './lease-pool.ts'
import { LocationCache } from './location-cache.ts'
import { mapOrdered } from './map-ordered.ts'
import { NamedFiles, shortName } from './named-files.ts'
import { NeedleFetcher } from './needle-fetcher.ts'
import { NeedleWriter } from './needle-writer.ts'
import { OrphanSweeper } from './orphan-sweeper.ts'
import { PlannedIds } from './planned-ids.ts'
import { Replicas } from './replicas.ts'
import { ShardWriter } from './shard-writer.ts'
import { type ErasurePolicy, readPolicy } from './storage-policy.ts'
import { TopologyCache } from './topology-cache.ts'

/** What a client is made of when master and volume servers run in this process. */
export interface ClientParts {
  readonly master: MasterApi
  readonly connect: ConnectVolume
  readonly clock: Clock
  /** Cookies come from it: it must not be guessable. */
  readonly random: Random
  readonly logger: Logger
  /** For a cluster that guards its files with tokens. */
  readonly tokens?: ClientTokens | undefined
}

const NO_OPTIONS: PutOptions = {}
const NAME_READS_MAX = 3

/**
 * A cluster of Hayloft, as an application sees it. One client serves a whole process: any number of
 * operations may be under way.
 *
 * - A `put` that has returned survives a power cut of every server that holds a copy.
 * - A file never changes: what is put anew has a new id. No id is ever used twice.
 * - What fails is tried again, elsewhere when that helps, for up to 30 seconds. A put that is tried
 *   again has a new id on another volume, so no attempt can damage another.
 * - Every method throws a `StoreError`, whose code says what to do; among them CANCELLED when the
 *   caller's signal aborts, and CLOSED after the client was disposed of.
 *
 * Memory: 32 MiB for each large file being stored, 128 MiB for all; 8 MiB for each being read,
 * and 128 MiB for what all of them read ahead.
 */
export class HayloftClient implements AsyncDisposable {
  readonly #clock: Clock
  readonly #layout: Layout
  readonly #defaults: ClientDefaults
  readonly #policy: ErasurePolicy | undefined
  readonly #leases: LeasePool
  readonly #writer: NeedleWriter
  readonly #files: FileWriter
  readonly #reader: FileReader
  readonly #deleter: FileDeleter
  readonly #repairer: FileRepairer
  readonly #names: NamedFiles
  readonly #closing: AbortController
  readonly #owned: DisposeStack
  /** What a needle without attributes knows about itself; made anew each second. */
  #plain: { readonly lastModifiedS: number } = { lastModifiedS: 0 }
  #disposal: Promise<void> | undefined

  private constructor(parts: ClientParts, defaults: ClientDefaults, owned: DisposeStack) {
    const { clock, connect, logger, master, random, tokens = NO_TOKENS } = parts
    const closing = new AbortController()
    this.#clock = clock
    this.#defaults = defaults
    this.#layout = readLayout(defaults)
    this.#policy = readPolicy(defaults)
    this.#closing = closing
    this.#owned = owned
    const locations = owned.use(new LocationCache({ master, clock, random, logger }))
    const replicas = new Replicas({ connect, locations, clock, random })
    const fetcher = new NeedleFetcher({ replicas, tokens, clock, random })
    const reader = new FileReader({ fetcher, replicas, clock })
    const orphans = owned.use(
      new OrphanSweeper({
        remove: ({ fileId, writeToken }, signal) =>
          this.#deleter.deleteOnce(fileId, writeToken, signal),
        clock,
        logger,
      }),
    )
    this.#reader = reader
    this.#deleter = new FileDeleter({ replicas, reader, orphans, tokens })
    this.#leases = owned.use(
      new LeasePool({ master, connect, clock, random, logger }, this.#layout),
    )
    const leases = this.#leases
    const topology = owned.use(new TopologyCache({ master, clock, random }))
    const writer = new NeedleWriter({ leases, replicas, orphans, clock, random })
    const shards = new ShardWriter({ writer, leases, replicas, topology, clock, random })
    this.#writer = writer
    const files = { writer, shards, topology, deleter: this.#deleter, leases, clock }
    this.#files = owned.use(new FileWriter({ ...files, closing: closing.signal }))
    const repair = { master, fetcher, replicas, shards, deleter: this.#deleter, tokens }
    this.#repairer = new FileRepairer({ ...repair, clock, random, closing: closing.signal })
    const names = { master, deleter: this.#deleter, clock, random, closing: closing.signal }
    this.#names = new NamedFiles(names)
    locations.start()
  }

  /**
   * Connects to a cluster by one or more of its masters.
   *
   * @throws {StoreError} CONFIG_INVALID, REPLICA_PLACEMENT_INVALID, TTL_INVALID: an option.
   * UNAVAILABLE, TIMEOUT: no master answers. CANCELLED: `signal` aborted.
   */
  static async connect(options: ConnectOptions, signal?: AbortSignal): Promise<HayloftClient> {
    const { logger = silentLogger } = options
    const parts = { clock: systemClock, random: cryptoRandom, logger }
    await using opening = new DisposeStack()
    const waiting = signal ?? new AbortController().signal
    const connected = await connectTo(parts, options, opening, waiting)
    return new HayloftClient({ ...parts, ...connected }, options, opening.move())
  }

  /**
   * A client of servers in this process, without the network between. It does not close what it is
   * given.
   *
   * @throws {StoreError} REPLICA_PLACEMENT_INVALID, TTL_INVALID, CONFIG_INVALID.
   */
  static over(parts: ClientParts, defaults: ClientDefaults = {}): HayloftClient {
    return new HayloftClient(parts, defaults, new DisposeStack())
  }

  /**
   * Stores a file. When this returns, it is on the disk of every copy. Bytes must not change until
   * then; a stream is read to its end, at the speed it can be stored.
   *
   * Up to one chunk (8 MiB) it is one needle. Above, it is stored in chunks on several volumes,
   * four at a time, and exists when the list of its chunks does: a failure before that deletes
   * them. With a `policy` that says so it is erasure-coded instead, whatever its size.
   *
   * @throws {StoreError} NO_WRITABLE_VOLUME, PLACEMENT_IMPOSSIBLE: there is no room for it, or
   * there are too few servers, racks or data centres for its shards. ERASURE_INVALID,
   * NEEDLE_INVALID: name, mime or pairs are too long. TTL_INVALID, REPLICA_PLACEMENT_INVALID,
   * CONFIG_INVALID: an option. OVERLOADED: too much at once. UNAVAILABLE, TIMEOUT,
   * REPLICATION_FAILED and others: the last attempt's failure. What a stream throws, as it is.
   */
  put(data: PutData, options: PutOptions = NO_OPTIONS): Promise<PutResult> {
    try {
      const signal = this.#signalFor(options)
      const bytes = typeof data === 'string' ? Buffer.from(data, 'utf8') : data
      const chunkBytes =
        options.chunkBytes === undefined
          ? LIMITS.chunkBytes.value
          : readChunkBytes(options.chunkBytes)
      const layout = this.#layoutFor(options)
      const isWhole = bytes instanceof Uint8Array
      const { onPlanned } = options
      const planned = onPlanned === undefined ? undefined : new PlannedIds(onPlanned)
      const told = this.#metadataOf(options, layout)
      const metadata = isWhole ? withPairsAtEnd(told, options.pairsAtEnd) : told
      const policy = this.#policyFor(options)
      const isBestEffort = readWritePolicy(options.writePolicy) === 'best-effort'
      const lane =
        layout === this.#layout
          ? this.#leases.defaultLane
          : this.#leases.lane(layout, NEEDLE_LEASES)
      const isCoded = policy !== undefined && isCodedWith(policy, bytes)
      if (isWhole && bytes.length <= chunkBytes && !isCoded) {
        if (planned === undefined) return this.#writer.write(lane, bytes, metadata, signal)
        return this.#writer.writeWith({ lane, data: bytes, metadata, planned }, signal)
      }
      const { chunkPairs } = options
      const pairsAtEnd = isWhole ? undefined : options.pairsAtEnd
      const where = { lane, layout, chunkBytes, policy: isCoded ? policy : undefined }
      const what = { metadata, pairsAtEnd, chunkPairs, planned, isBestEffort }
      return this.#putLarge(bytes, { ...where, ...what }, signal)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /**
   * Reads a file into memory: whole, or a range of it. Every byte has matched its checksum, except
   * in a range that covers a needle in part.
   *
   * @throws {StoreError} NEEDLE_NOT_FOUND: there is none, or it was deleted or has expired.
   * COOKIE_MISMATCH: the id was guessed. FILE_ID_INVALID, RANGE_INVALID. NEEDLE_CORRUPT,
   * MANIFEST_CORRUPT: no copy is intact. NEEDLE_TOO_LARGE: use `getStream`. VOLUME_NOT_FOUND: the
   * cluster does not have its volume. UNAVAILABLE, TIMEOUT: no copy is in reach.
   */
  async get(fileId: string, options: GetOptions = NO_OPTIONS): Promise<GetResult> {
    return this.#reader.get(fileId, options.range, this.#signalFor(options))
  }

  /**
   * The bytes of a small file, when its server is in this process and has them in memory, without
   * any waiting. Undefined: use `get`, which also says what is wrong. They are part of a larger
   * buffer: whoever keeps them copies them.
   *
   * @throws {StoreError} FILE_ID_INVALID
   */
  getNow(fileId: string): Buffer | undefined {
    return this.#disposal === undefined ? this.#reader.getNow(fileId) : undefined
  }

  /**
   * The same in pieces, in order; the chunks of a large file are fetched ahead, four at a time.
   * Nothing is asked for before the first piece is. Errors as `get`, at any piece.
   */
  async *getStream(
    fileId: string,
    options: GetOptions = NO_OPTIONS,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    yield* this.#reader.stream(fileId, options.range, this.#signalFor(options))
  }

  /**
   * Leave to hold one chunk (8 MiB) that nobody has asked for yet, until it is disposed of: for
   * whoever puts several files together into one stream. Undefined: all that may be held is.
   */
  tryReadAhead(): Disposable | undefined {
    return this.#reader.tryReadAhead()
  }

  /** What is known about a file beside its data. Errors as `get`. */
  async stat(fileId: string, options: Abortable = NO_OPTIONS): Promise<FileInfo> {
    return this.#reader.stat(fileId, this.#signalFor(options))
  }

  /**
   * Deletes a file, with all its chunks; durable on every copy when it returns. Deleting what is
   * not there is no error.
   *
   * @throws {StoreError} As `get`; MANIFEST_CORRUPT: its chunks are not known, see
   * `isSingleNeedle`. A failed delete may be repeated.
   */
  async delete(fileId: string, options: DeleteOptions = NO_OPTIONS): Promise<DeleteResult> {
    const signal = this.#signalFor(options)
    return this.#deleter.delete(fileId, options.isSingleNeedle === true, signal)
  }

  /**
   * Reads every shard of an erasure-coded file and makes those anew that are gone or wrong, on
   * servers that have none of their stripe. The file keeps its id; its ETag changes. Nothing is
   * done where nothing is wrong.
   *
   * @throws {StoreError} SHARDS_LOST: more are gone than the others can replace.
   * PLACEMENT_IMPOSSIBLE: there are too few servers. REPLICATION_FAILED: a copy of its manifest is
   * out of reach: try again when the master has made another. VOLUME_SEALED, VOLUME_FULL and
   * others: the volume of the manifest takes no writes. After a failure the file is as it was.
   */
  async repairFile(fileId: string, options: Abortable = NO_OPTIONS): Promise<RepairResult> {
    return this.#repairer.repair(fileId, this.#signalFor(options))
  }

  /**
   * The shards of an erasure-coded file, as its manifest lists them. Undefined: it has none.
   *
   * @throws {StoreError} As `stat`.
   */
  async shardsOf(fileId: string, options: Abortable = NO_OPTIONS): Promise<FileShards | undefined> {
    return this.#repairer.shardsOf(fileId, this.#signalFor(options))
  }

  /**
   * Puts many files, several at a time. Results come in the order of the items; one that fails does
   * not end the others. Items are taken as results are, so the source may be endless.
   */
  async *putMany(
    items: Iterable<PutManyItem> | AsyncIterable<PutManyItem>,
    options: BatchOptions = NO_OPTIONS,
  ): AsyncGenerator<Settled<PutResult>, void, undefined> {
    const signal = this.#signalFor(options)
    const put = (item: PutManyItem, stop: AbortSignal) =>
      settle(this.put(item.data, { ...item, signal: stop }))
    yield* mapOrdered(items, readConcurrency(options.concurrency), put, signal)
  }

  /** Reads many files into memory, several at a time; otherwise like `putMany`. */
  async *getMany(
    fileIds: Iterable<string> | AsyncIterable<string>,
    options: BatchOptions = NO_OPTIONS,
  ): AsyncGenerator<Settled<GetResult>, void, undefined> {
    const signal = this.#signalFor(options)
    const get = (fileId: string, stop: AbortSignal) => settle(this.get(fileId, { signal: stop }))
    yield* mapOrdered(fileIds, readConcurrency(options.concurrency), get, signal)
  }

  /** Deletes many files, with one request for each server; otherwise like `putMany`. */
  async *deleteMany(
    fileIds: Iterable<string> | AsyncIterable<string>,
    options: DeleteOptions = NO_OPTIONS,
  ): AsyncGenerator<Settled<DeleteResult>, void, undefined> {
    const signal = this.#signalFor(options)
    const isSingleNeedle = options.isSingleNeedle === true
    for await (const batch of batches(fileIds, LIMITS.batchDeletesMax.value)) {
      yield* await this.#deleter.deleteBatch(batch, isSingleNeedle, signal)
    }
  }

  /**
   * Stores a file and gives it a name of 1 to 1024 bytes, durably. What the name meant before is
   * deleted.
   *
   * @throws {StoreError} NAME_INVALID; otherwise as `put`.
   */
  async putNamed(
    name: string,
    data: PutData,
    options: PutOptions = NO_OPTIONS,
  ): Promise<PutResult> {
    const signal = this.#signalFor(options)
    const result = await this.put(data, { ...options, name: options.name ?? shortName(name) })
    await this.#names.link(name, result, signal)
    return result
  }

  /** @throws {StoreError} NAME_NOT_FOUND, NAME_INVALID; otherwise as `get`. */
  async getNamed(name: string, options: GetOptions = NO_OPTIONS): Promise<GetResult> {
    const signal = this.#signalFor(options)
    let entry = await this.#names.resolve(name, signal)
    for (let read = 1; ; read++) {
      try {
        return await this.#reader.get(entry.fileId, options.range, signal)
      } catch (error) {
        const isGone = isStoreError(error, 'NEEDLE_NOT_FOUND', 'SHARDS_LOST')
        if (!isGone || read === NAME_READS_MAX) throw error
        // It may have been overwritten just now: then the name means another file.
        const now = await this.#names.resolve(name, signal)
        if (now.fileId === entry.fileId) throw error
        entry = now
      }
    }
  }

  /** In pieces: as `getStream`. @throws {StoreError} NAME_NOT_FOUND, NAME_INVALID. */
  async *getNamedStream(
    name: string,
    options: GetOptions = NO_OPTIONS,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const signal = this.#signalFor(options)
    const { fileId } = await this.#names.resolve(name, signal)
    yield* this.#reader.stream(fileId, options.range, signal)
  }

  /** Which file a name means. @throws {StoreError} NAME_NOT_FOUND, NAME_INVALID. */
  async resolveNamed(name: string, options: Abortable = NO_OPTIONS): Promise<NamedEntry> {
    return this.#names.resolve(name, this.#signalFor(options))
  }

  /**
   * Forgets a name and deletes its file, in the background but durably intended.
   *
   * @throws {StoreError} NAME_INVALID.
   */
  async deleteNamed(name: string, options: Abortable = NO_OPTIONS): Promise<DeleteResult> {
    return { wasLive: await this.#names.unlink(name, this.#signalFor(options)) }
  }

  /** The names that start with `prefix`, in the order of their UTF-8 bytes. */
  async *listNamed(
    prefix = '',
    options: Abortable = NO_OPTIONS,
  ): AsyncGenerator<NamedEntry, void, undefined> {
    yield* this.#names.list(prefix, this.#signalFor(options))
  }

  /** What is under way fails with CANCELLED, or finishes. Connections are closed. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#disposal ??= this.#dispose()
    return this.#disposal
  }

  async #dispose(): Promise<void> {
    this.#closing.abort()
    await this.#owned[Symbol.asyncDispose]()
  }

  #signalFor(options: Abortable): AbortSignal {
    if (this.#disposal !== undefined) throw new StoreError('CLOSED', 'the client was disposed of')
    return options.signal ?? this.#closing.signal
  }

  #layoutFor(options: PutOptions): Layout {
    const { collection, replication, ttl } = options
    if (collection === undefined && replication === undefined && ttl === undefined) {
      return this.#layout
    }
    const defaults = this.#defaults
    return readLayout({
      collection: collection ?? defaults.collection,
      replication: replication ?? defaults.replication,
      ttl: ttl ?? defaults.ttl,
    })
  }

  #policyFor(options: PutOptions): ErasurePolicy | undefined {
    const { erasureMinBytes, policy, replication, spread } = options
    const isUsual = policy === undefined && spread === undefined && erasureMinBytes === undefined
    const defaults = this.#defaults
    const read = isUsual
      ? this.#policy
      : readPolicy({
          policy: policy ?? defaults.policy,
          spread: spread ?? defaults.spread,
          erasureMinBytes: erasureMinBytes ?? defaults.erasureMinBytes,
        })
    if (read?.minBytes !== 0 || replication === undefined) return read
    throw new StoreError('CONFIG_INVALID', 'a file that is always erasure-coded has no replication')
  }

  #metadataOf(options: PutOptions, layout: Layout): NeedleMetadata {
    const { lastModifiedMs = this.#clock.nowMs(), mime, name, pairs } = options
    const lastModifiedS = Math.floor(lastModifiedMs / 1000)
    if (name === undefined && mime === undefined && pairs === undefined && layout.ttl.count === 0) {
      if (this.#plain.lastModifiedS !== lastModifiedS) this.#plain = { lastModifiedS }
      return this.#plain
    }
    return { name, mime, pairs, lastModifiedS, ttl: layout.ttl }
  }

  #putLarge(
    data: Uint8Array | AsyncIterable<Uint8Array | string>,
    plan: PutPlan,
    signal: AbortSignal,
  ): Promise<PutResult> {
    if (data instanceof Uint8Array) return this.#files.putBytes(data, plan, signal)
    if (typeof data?.[Symbol.asyncIterator] !== 'function') {
      throw new StoreError('REQUEST_INVALID', 'the data is neither text, bytes nor a stream')
    }
    return this.#files.putStream(data, plan, signal)
  }
}

/** Of a stream it is found out while it is read. An empty file has no shards. */
function isCodedWith({ minBytes }: ErasurePolicy, data: unknown): boolean {
  return !(data instanceof Uint8Array) || data.length >= Math.max(1, minBytes)
}

async function settle<Result>(work: Promise<Result>): Promise<Settled<Result>> {
  try {
    return { value: await work, error: undefined }
  } catch (error) {
    if (!isStoreError(error)) throw error
    return { value: undefined, error }
  }
}

async function* batches(
  items: Iterable<string> | AsyncIterable<string>,
  sizeMax: number,
): AsyncGenerator<readonly string[], void, undefined> {
  let batch: string[] = []
  for await (const item of items) {
    batch.push(item)
    if (batch.length < sizeMax) continue
    yield batch
    batch = []
  }
  if (batch.length > 0) yield batch
}
