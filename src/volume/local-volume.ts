import type { NeedleId, VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import type { ReplicaPlacement } from '../base/replica-placement.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { parseCollection } from '../format/file-names.ts'
import type { FileTokens } from '../net/file-token.ts'
import type { NodeLocation, VolumeReport } from '../net/master-api.ts'
import type {
  AllocateVolumeCommand,
  BatchDeleteAnswer,
  CatchUpAnswer,
  CatchUpCommand,
  ConnectVolume,
  CopyProgress,
  CopyVolumeCommand,
  DeleteAnswer,
  DeleteRequest,
  DeleteVolumeCommand,
  FreezeCommand,
  HealAnswer,
  HealNeedlesCommand,
  NeedleContent,
  NeedleStat,
  NeedleSummary,
  PutAnswer,
  PutRequest,
  PutStreamRequest,
  ReadRequest,
  ScrubCommand,
  ScrubProgress,
  TailRecord,
  TailRequest,
  VacuumCommand,
  VacuumProgress,
  VolumeApi,
  VolumeCommand,
  VolumeDigest,
  VolumeExtent,
  VolumeFilePiece,
  VolumeFilesRequest,
  VolumeServerStatus,
} from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import type { Store } from '../storage/store.ts'
import { CopyCommands } from './copy-commands.ts'
import type { EpochFile } from './epoch-file.ts'
import { LocalShards } from './local-shards.ts'
import type { NeedleService } from './needle-service.ts'
import { streamProgress } from './progress-stream.ts'
import { RepairCommands } from './repair-commands.ts'
import { runVacuum } from './vacuum-command.ts'
import type { VolumeReports } from './volume-report.ts'
import type { WriteGate } from './write-gate.ts'

export interface LocalVolumeParts {
  readonly store: Store
  readonly needles: NeedleService
  readonly reports: VolumeReports
  readonly epochs: EpochFile
  readonly gate: WriteGate
  readonly clock: Clock
  readonly logger: Logger
  /** Undefined: this server is alone and copies nothing. */
  readonly connect: ConnectVolume | undefined
  /** Undefined: reads need no token. */
  readonly readTokens: FileTokens | undefined
  readonly location: () => NodeLocation
  /** Told at once of what a master should hear soon. */
  readonly onChanged: () => void
  readonly version: string
}

/** The volume server itself, for callers in this process and, behind gRPC, for all others. */
export class LocalVolume implements VolumeApi, AsyncDisposable {
  readonly shards: LocalShards
  readonly #parts: LocalVolumeParts
  readonly #copies: CopyCommands
  readonly #repairs: RepairCommands
  readonly #stop = new AbortController()
  readonly #underWay = new Set<Promise<unknown>>()

  constructor(parts: LocalVolumeParts) {
    const peerAt = (location: NodeLocation): VolumeApi => this.#peerAt(location)
    this.#parts = parts
    this.#copies = new CopyCommands({ ...parts, peerAt })
    this.#repairs = new RepairCommands({ ...parts, peerAt })
    const isMember = (volumeId: VolumeId, signal: AbortSignal): Promise<boolean> =>
      parts.needles.isMember(volumeId, signal)
    this.shards = new LocalShards({ ...parts, peerAt, isMember })
  }

  put(request: PutRequest, signal: AbortSignal): Promise<PutAnswer> {
    return this.#parts.needles.put(request, signal)
  }

  putStream(request: PutStreamRequest, signal: AbortSignal): Promise<PutAnswer> {
    return this.#parts.needles.putStream(request, signal)
  }

  delete(request: DeleteRequest, signal: AbortSignal): Promise<DeleteAnswer> {
    return this.#parts.needles.delete(request, signal)
  }

  batchDelete(
    requests: readonly DeleteRequest[],
    signal: AbortSignal,
  ): Promise<readonly BatchDeleteAnswer[]> {
    const deleteOne = async (request: DeleteRequest): Promise<BatchDeleteAnswer> => {
      const { fileId } = request
      try {
        const { wasLive } = await this.#parts.needles.delete(request, signal)
        return { fileId, wasLive, error: undefined }
      } catch (error) {
        if (!isStoreError(error) || error.code === 'CANCELLED') throw error
        return { fileId, wasLive: false, error: { code: error.code, message: error.message } }
      }
    }
    return mapBounded(requests, LIMITS.batchDeletesAtOnceMax.value, deleteOne, signal)
  }

  async read(request: ReadRequest, signal: AbortSignal): Promise<NeedleContent> {
    this.#parts.readTokens?.verifyRead(request.readToken, request.fileId)
    return await this.#parts.needles.get(request, signal)
  }

  readNow({ fileId, readDeleted, readToken }: ReadRequest): Buffer | undefined {
    try {
      this.#parts.readTokens?.verifyRead(readToken, fileId)
      const needle = this.#parts.needles.readWarm(fileId, readDeleted)
      return needle?.isPlain === true ? needle.data : undefined
    } catch (error) {
      if (isStoreError(error)) return undefined
      throw error
    }
  }

  async allocateVolume(command: AllocateVolumeCommand, _signal: AbortSignal): Promise<void> {
    const { volumeId, replication, ttl } = command
    const collection = parseCollection(command.collection)
    await this.#parts.epochs.obey(command.epoch)
    const superBlock = {
      version: 3 as const,
      replicaPlacement: replication,
      ttl,
      compactionRevision: 0,
      extra: Buffer.alloc(0),
    }
    await this.#parts.store.createVolume({ collection, volumeId }, superBlock)
    this.#changed('volume.allocated', volumeId)
  }

  async sealVolume(command: VolumeCommand, _signal: AbortSignal): Promise<void> {
    await this.#parts.epochs.obey(command.epoch)
    await this.#parts.store.get(command.volumeId).volume.seal()
    this.#changed('volume.sealed', command.volumeId)
  }

  async deleteVolume(command: DeleteVolumeCommand, _signal: AbortSignal): Promise<void> {
    const { store, epochs, gate } = this.#parts
    await epochs.obey(command.epoch)
    await store.removeVolume(command.volumeId, command.expected)
    // Writes that waited for it are told that it is gone.
    gate.thaw(command.volumeId)
    this.#changed('volume.deleted', command.volumeId)
  }

  async volumeStatus(volumeId: VolumeId, _signal: AbortSignal): Promise<VolumeReport> {
    return this.#parts.reports.one(volumeId)
  }

  async serverStatus(_signal: AbortSignal): Promise<VolumeServerStatus> {
    const { reports, epochs, version } = this.#parts
    return {
      node: this.#parts.location(),
      version,
      epoch: epochs.highest,
      disks: reports.disks(),
      volumes: reports.all(),
      shards: reports.shards(),
    }
  }

  copyVolume(command: CopyVolumeCommand, signal: AbortSignal): AsyncIterable<CopyProgress> {
    const copy = async (
      report: (progress: CopyProgress) => void,
      stopped: AbortSignal,
    ): Promise<void> => {
      await this.#parts.epochs.obey(command.epoch)
      await this.#copies.copy(command, report, stopped)
      this.#changed('volume.copied', command.volumeId)
    }
    return streamProgress<CopyProgress>(
      this.#parts.clock,
      (report, stopped) => this.#track(copy(report, stopped)),
      this.#untilClosed(signal),
    )
  }

  async catchUpVolume(command: CatchUpCommand, signal: AbortSignal): Promise<CatchUpAnswer> {
    await this.#parts.epochs.obey(command.epoch)
    return await this.#track(this.#copies.catchUp(command, this.#untilClosed(signal)))
  }

  readVolumeFiles(
    request: VolumeFilesRequest,
    signal: AbortSignal,
  ): AsyncIterable<VolumeFilePiece> {
    return this.#copies.readFiles(request, signal)
  }

  tailVolume(request: TailRequest, signal: AbortSignal): AsyncIterable<TailRecord> {
    return this.#copies.tail(request, signal)
  }

  async vacuumCheck(volumeId: VolumeId, _signal: AbortSignal): Promise<number> {
    const { garbageBytes, datBytes } = this.#parts.store.get(volumeId).volume.stats
    return datBytes === 0 ? 0 : garbageBytes / datBytes
  }

  vacuumVolume(command: VacuumCommand, signal: AbortSignal): AsyncIterable<VacuumProgress> {
    const vacuum = async (
      report: (progress: VacuumProgress) => void,
      stopped: AbortSignal,
    ): Promise<void> => {
      await this.#parts.epochs.obey(command.epoch)
      await runVacuum(this.#parts, command, report, stopped)
      this.#changed('volume.vacuumed', command.volumeId)
    }
    return streamProgress<VacuumProgress>(this.#parts.clock, vacuum, signal)
  }

  async freezeVolume(command: FreezeCommand, _signal: AbortSignal): Promise<VolumeExtent> {
    const { store, epochs, gate } = this.#parts
    const { volumeId, forMs } = command
    await epochs.obey(command.epoch)
    const volume = store.find(volumeId)?.volume
    if (volume === undefined && store.shardSets(volumeId).length === 0) throw notHere(volumeId)
    if (!(forMs >= 0)) throw new StoreError('REQUEST_INVALID', `frozen for ${forMs} ms`)
    if (forMs === 0) gate.thaw(volumeId)
    else await gate.freeze(volumeId, forMs)
    if (volume === undefined) return this.#journalExtent(volumeId)
    if (forMs === 0) return volume.extent
    // What repairs were writing is over too; nothing else gets in.
    using _boundary = await volume.snapshot()
    return volume.extent
  }

  async digestVolume(volumeId: VolumeId, signal: AbortSignal): Promise<VolumeDigest> {
    return await this.#track(this.#repairs.digest(volumeId, this.#untilClosed(signal)))
  }

  listNeedles(volumeId: VolumeId, signal: AbortSignal): AsyncIterable<readonly NeedleSummary[]> {
    return this.#repairs.list(volumeId, signal)
  }

  async statNeedles(
    volumeId: VolumeId,
    needleIds: readonly NeedleId[],
    signal: AbortSignal,
  ): Promise<readonly NeedleStat[]> {
    return await this.#track(this.#repairs.stat(volumeId, needleIds, this.#untilClosed(signal)))
  }

  async healNeedles(
    command: HealNeedlesCommand,
    signal: AbortSignal,
  ): Promise<readonly HealAnswer[]> {
    await this.#parts.epochs.obey(command.epoch)
    const answers = await this.#track(this.#repairs.heal(command, this.#untilClosed(signal)))
    const healedCount = answers.filter(({ outcome }) => outcome === 'healed').length
    if (healedCount === 0) return answers
    const { volumeId, source } = command
    this.#parts.logger.info('volume.needles_healed', { volumeId, healedCount, from: source.url })
    this.#parts.onChanged()
    return answers
  }

  async deleteNeedles(
    command: VolumeCommand & { readonly needleIds: readonly NeedleId[] },
    signal: AbortSignal,
  ): Promise<void> {
    await this.#parts.epochs.obey(command.epoch)
    await this.#repairs.delete(command.volumeId, command.needleIds, signal)
  }

  scrubVolume(command: ScrubCommand, signal: AbortSignal): AsyncIterable<ScrubProgress> {
    return this.#repairs.scrub(command, this.#untilClosed(signal))
  }

  async setVolumeReplication(
    command: VolumeCommand & { readonly replication: ReplicaPlacement },
    _signal: AbortSignal,
  ): Promise<void> {
    const { volumeId, replication } = command
    await this.#parts.epochs.obey(command.epoch)
    await this.#parts.store.get(volumeId).volume.setReplication(replication)
    this.#changed('volume.replication_set', volumeId)
  }

  /** Ends what is under way; what copies had written is removed. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.shards[Symbol.asyncDispose]()
    await Promise.allSettled(this.#underWay)
  }

  /** @throws {StoreError} REQUEST_INVALID. */
  #peerAt(location: NodeLocation): VolumeApi {
    const { connect } = this.#parts
    if (connect !== undefined && location.url !== this.#parts.location().url) {
      return connect(location)
    }
    const why = connect === undefined ? 'knows no other' : 'is the source itself'
    throw new StoreError('REQUEST_INVALID', `nothing can be fetched: this server ${why}`)
  }

  /** Grows with every delete, like that of a volume. */
  #journalExtent(volumeId: VolumeId): VolumeExtent {
    const sets = this.#parts.store.shardSets(volumeId)
    const datBytes = sets.reduce((total, { stats }) => total + stats.journalBytes, 0)
    return { datBytes, compactionRevision: 0 }
  }

  #untilClosed(signal: AbortSignal): AbortSignal {
    return AbortSignal.any([signal, this.#stop.signal])
  }

  #changed(event: string, volumeId: VolumeId): void {
    this.#parts.logger.info(event, { volumeId })
    this.#parts.onChanged()
  }

  async #track<Result>(running: Promise<Result>): Promise<Result> {
    this.#underWay.add(running)
    try {
      return await running
    } finally {
      this.#underWay.delete(running)
    }
  }
}

function notHere(volumeId: VolumeId): StoreError {
  return new StoreError('VOLUME_NOT_FOUND', `there is nothing of volume ${volumeId}`)
}
