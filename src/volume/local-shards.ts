import type { NeedleId, VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import { parseCollection } from '../format/file-names.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type {
  CopyShardsCommand,
  DecodeProgress,
  DecodeVolumeCommand,
  EncodeProgress,
  EncodeVolumeCommand,
  HealShardsCommand,
  ReadShardRequest,
  ReadShardSlicesRequest,
  RebuildShardsCommand,
  ShardApi,
  ShardCommand,
  ShardFilePiece,
  ShardProgress,
  VerifyProgress,
  VerifyShardsCommand,
} from '../net/shard-api.ts'
import type { ShardReport } from '../net/stripe-facts.ts'
import type { VolumeApi } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import { KeyedMutex } from '../runtime/keyed-mutex.ts'
import type { Logger } from '../runtime/logger.ts'
import { Semaphore } from '../runtime/semaphore.ts'
import type { ShardSet } from '../storage/shard-set.ts'
import type { Store } from '../storage/store.ts'
import type { EpochFile } from './epoch-file.ts'
import { streamProgress } from './progress-stream.ts'
import { deletedIn, readSetFiles } from './shard-files.ts'
import { checkShardRange, type RunName, readShardHere, setWithShard } from './shard-sources.ts'
import { renewFiles, verifyShards } from './shard-verify.ts'
import { ShardWork } from './shard-work.ts'
import { StripeWork } from './stripe-work.ts'
import type { VolumeReports } from './volume-report.ts'
import type { WriteGate } from './write-gate.ts'

export interface LocalShardsParts {
  readonly store: Store
  readonly epochs: EpochFile
  readonly gate: WriteGate
  readonly reports: VolumeReports
  readonly clock: Clock
  readonly logger: Logger
  readonly location: () => NodeLocation
  /** @throws {StoreError} REQUEST_INVALID: there are no other servers, or it is this one. */
  readonly peerAt: (location: NodeLocation) => VolumeApi
  /** Whether the master counts the copy of a volume that is here. */
  readonly isMember: (volumeId: VolumeId, signal: AbortSignal) => Promise<boolean>
  /** Told at once of what a master should hear soon. */
  readonly onChanged: () => void
}

/**
 * The shards of this server, for callers in this process and, behind gRPC, for all others. Commands
 * on one run come one after the other, and only some at once.
 */
export class LocalShards implements ShardApi, AsyncDisposable {
  readonly #parts: LocalShardsParts
  readonly #work: ShardWork
  readonly #stripes: StripeWork
  readonly #runs = new KeyedMutex<string>({ waitersMax: LIMITS.copiesWaitingMax.value })
  readonly #slots = new Semaphore({
    slots: LIMITS.copiesAtOnceMax.value,
    waitersMax: LIMITS.copiesWaitingMax.value,
  })
  readonly #stop = new AbortController()
  readonly #underWay = new Set<Promise<unknown>>()

  constructor(parts: LocalShardsParts) {
    this.#parts = parts
    const ownUrl = (): string => parts.location().url
    this.#work = new ShardWork({ ...parts, ownUrl })
    this.#stripes = new StripeWork({ ...parts, work: this.#work })
  }

  encodeVolume(command: EncodeVolumeCommand, signal: AbortSignal): AsyncIterable<EncodeProgress> {
    return this.#long<EncodeProgress>('shards.encoded', command, signal, (report, stopped) =>
      this.#stripes.encode(command, report, stopped),
    )
  }

  copyShards(command: CopyShardsCommand, signal: AbortSignal): AsyncIterable<ShardProgress> {
    return this.#long<ShardProgress>('shards.copied', command, signal, (report, stopped) => {
      parseCollection(command.collection)
      return this.#work.copy(command, report, stopped)
    })
  }

  rebuildShards(command: RebuildShardsCommand, signal: AbortSignal): AsyncIterable<ShardProgress> {
    return this.#long<ShardProgress>('shards.rebuilt', command, signal, (report, stopped) => {
      parseCollection(command.collection)
      return this.#work.rebuild(command, report, stopped)
    })
  }

  decodeVolume(command: DecodeVolumeCommand, signal: AbortSignal): AsyncIterable<DecodeProgress> {
    return this.#long<DecodeProgress>('shards.decoded', command, signal, (report, stopped) => {
      parseCollection(command.collection)
      return this.#stripes.decode(command, report, stopped)
    })
  }

  async *verifyShards(
    command: VerifyShardsCommand,
    signal: AbortSignal,
  ): AsyncGenerator<VerifyProgress, void, undefined> {
    const sets = this.#setsOf(command)
    const { clock, logger, store } = this.#parts
    const stopped = this.#untilClosed(signal)
    for await (const progress of verifyShards({ clock }, sets, command, stopped)) {
      // The master should hear of a bad shard soon.
      if (progress.badBlocks.length > 0) this.#parts.onChanged()
      if (progress.isDone) {
        // Not while a set is being removed or closed.
        await this.#alone(command, stopped, async () => {
          for (const set of store.shardSet(command.volumeId, command.runId)) {
            await renewFiles(set, logger)
          }
        })
      }
      yield progress
    }
  }

  async healShards(command: HealShardsCommand, signal: AbortSignal): Promise<void> {
    await this.#obeyAlone(command, signal, (stopped) => this.#work.heal(command, stopped))
    const { volumeId, runId, blocks } = command
    this.#parts.logger.info('shards.healed', { volumeId, runId, blockCount: blocks.length })
    this.#parts.onChanged()
  }

  async deleteShards(
    command: ShardCommand & { readonly shards: readonly number[] },
    signal: AbortSignal,
  ): Promise<void> {
    const { volumeId, runId, shards } = command
    const { store, gate, logger } = this.#parts
    await this.#obeyAlone(command, signal, async () => {
      for (const set of store.shardSet(volumeId, runId)) {
        const isLast = set.shards.every((shard) => shards.includes(shard))
        // All of it or nothing: a power cut leaves no index without a shard.
        if (isLast) await store.removeShardSet(set)
        else for (const shard of shards) if (set.has(shard)) await set.removeShard(shard)
      }
    })
    const isGone = store.shardSets(volumeId).length === 0 && store.find(volumeId) === undefined
    // Deletes that waited for it are told that it is gone.
    if (isGone) gate.thaw(volumeId)
    logger.info('shards.deleted', { volumeId, runId, shards: shards.join(' ') })
    this.#parts.onChanged()
  }

  async journalDeletes(
    command: ShardCommand & { readonly needleIds: readonly NeedleId[] },
    signal: AbortSignal,
  ): Promise<void> {
    await this.#parts.epochs.obey(command.epoch)
    const { needleIds } = command
    const pageMax = LIMITS.journalPageMax.value
    for (const set of this.#setsOf(command)) {
      for (let at = 0; at < needleIds.length; at += pageMax) {
        if (signal.aborted) throw new StoreError('CANCELLED', 'the caller has left')
        await set.deleteNeedles(needleIds.slice(at, at + pageMax))
      }
    }
    this.#parts.onChanged()
  }

  async *listJournal(
    request: RunName,
    signal: AbortSignal,
  ): AsyncGenerator<readonly NeedleId[], void, undefined> {
    const needleIds = deletedIn(this.#setsOf(request))
    const pageMax = LIMITS.journalPageMax.value
    for (let at = 0; at < needleIds.length && !signal.aborted; at += pageMax) {
      yield needleIds.slice(at, at + pageMax)
    }
  }

  async shardStatus(volumeId: VolumeId, _signal: AbortSignal): Promise<readonly ShardReport[]> {
    return this.#parts.reports.shards().filter((report) => report.volumeId === volumeId)
  }

  readShard(request: ReadShardSlicesRequest, _signal: AbortSignal): Promise<Buffer> {
    return readShardHere(this.#parts.store, request)
  }

  async *readShardFiles(
    request: RunName,
    signal: AbortSignal,
  ): AsyncGenerator<ShardFilePiece, void, undefined> {
    for await (const piece of readSetFiles(this.#setsOf(request))) {
      if (signal.aborted) return
      yield piece
    }
  }

  async *streamShard(
    request: ReadShardRequest,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const { shard, offsetBytes, lengthBytes } = request
    const set = setWithShard(this.#parts.store, request)
    checkShardRange(request, set.geometry.shardBytes)
    const pieceBytes = Math.min(LIMITS.streamPiece.value, lengthBytes)
    // The next piece is read while the caller has this one.
    const memory = [Buffer.allocUnsafeSlow(pieceBytes), Buffer.allocUnsafeSlow(pieceBytes)]
    const readAt = async (done: number): Promise<Buffer> => {
      const whole = memory[(done / pieceBytes) % 2] ?? Buffer.alloc(pieceBytes)
      const piece = whole.subarray(0, Math.min(pieceBytes, lengthBytes - done))
      await set.read(shard, piece, offsetBytes + done)
      return piece
    }
    let next: Promise<Buffer> | undefined = readAt(0)
    try {
      for (let done = 0; next !== undefined; done += pieceBytes) {
        const piece: Buffer = await next
        const nextAt = done + pieceBytes
        next = nextAt < lengthBytes ? readAt(nextAt) : undefined
        next?.catch(() => 'it is awaited when it is its turn')
        yield piece
        if (signal.aborted) throw new StoreError('CANCELLED', 'the reader has left')
      }
    } finally {
      // The disk may still write into it.
      await next?.catch(() => 'nobody wants it any more')
    }
  }

  /** Ends what is under way; what it had written of a shard or volume is removed. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await Promise.allSettled(this.#underWay)
  }

  #long<Progress>(
    event: string,
    command: ShardCommand,
    signal: AbortSignal,
    work: (report: (progress: Progress) => void, signal: AbortSignal) => Promise<void>,
  ): AsyncIterable<Progress> {
    const { clock, logger, onChanged } = this.#parts
    const run = async (
      report: (progress: Progress) => void,
      stopped: AbortSignal,
    ): Promise<void> => {
      await this.#obeyAlone(command, stopped, async (ending) => {
        using _slot = await this.#slots.acquire(ending)
        await work(report, ending)
      })
      const { volumeId, runId } = command
      logger.info(event, { volumeId, runId })
      onChanged()
    }
    return streamProgress<Progress>(clock, run, signal)
  }

  async #obeyAlone(
    command: ShardCommand,
    signal: AbortSignal,
    work: (signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    await this.#parts.epochs.obey(command.epoch)
    await this.#alone(command, signal, work)
  }

  /** With the run to itself, until it is done or this server closes. */
  async #alone(
    { volumeId, runId }: RunName,
    signal: AbortSignal,
    work: (signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    const stopped = this.#untilClosed(signal)
    const run = async (): Promise<void> => {
      const key = `${volumeId} ${runId}`
      using _lock = await this.#runs.acquire(key, stopped)
      await work(stopped)
    }
    const running = run()
    this.#underWay.add(running)
    try {
      await running
    } finally {
      this.#underWay.delete(running)
    }
  }

  #untilClosed(signal: AbortSignal): AbortSignal {
    return AbortSignal.any([signal, this.#stop.signal])
  }

  /** @throws {StoreError} VOLUME_NOT_FOUND. */
  #setsOf({ volumeId, runId }: RunName): readonly [ShardSet, ...ShardSet[]] {
    const [first, ...others] = this.#parts.store.shardSet(volumeId, runId)
    if (first !== undefined) return [first, ...others]
    throw new StoreError('VOLUME_NOT_FOUND', `run ${runId} of volume ${volumeId} is not here`)
  }
}
