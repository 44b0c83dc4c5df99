import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { parseCollection } from '../format/file-names.ts'
import type { FileTokens } from '../net/file-token.ts'
import type { NodeLocation, VolumeReport } from '../net/master-api.ts'
import type {
  AllocateVolumeCommand,
  BatchDeleteAnswer,
  ConnectVolume,
  CopyProgress,
  CopyVolumeCommand,
  DeleteAnswer,
  DeleteRequest,
  NeedleContent,
  PutAnswer,
  PutRequest,
  PutStreamRequest,
  ReadRequest,
  TailRecord,
  VacuumProgress,
  VolumeApi,
  VolumeCommand,
  VolumeFilePiece,
  VolumeServerStatus,
} from '../net/volume-api.ts'
import type { Logger } from '../runtime/logger.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import { Semaphore } from '../runtime/semaphore.ts'
import type { Store } from '../storage/store.ts'
import { readSnapshot, verifyDraft, writeDraft } from './copy-volume.ts'
import type { EpochFile } from './epoch-file.ts'
import { contentOf } from './needle-content.ts'
import type { NeedleService } from './needle-service.ts'
import { streamProgress } from './progress-stream.ts'
import { tailSnapshot } from './tail-volume.ts'
import type { VolumeReports } from './volume-report.ts'

export interface LocalVolumeParts {
  readonly store: Store
  readonly needles: NeedleService
  readonly reports: VolumeReports
  readonly epochs: EpochFile
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
  readonly #parts: LocalVolumeParts
  readonly #copies = new Semaphore({
    slots: LIMITS.copiesAtOnceMax.value,
    waitersMax: LIMITS.copiesWaitingMax.value,
  })
  readonly #stop = new AbortController()
  readonly #copying = new Set<Promise<unknown>>()

  constructor(parts: LocalVolumeParts) {
    this.#parts = parts
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
    const { fileId, readDeleted, readToken, range } = request
    this.#parts.readTokens?.verifyRead(readToken, fileId)
    return contentOf(await this.#parts.needles.read(fileId, readDeleted), range, signal)
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

  async deleteVolume(command: VolumeCommand, _signal: AbortSignal): Promise<void> {
    await this.#parts.epochs.obey(command.epoch)
    await this.#parts.store.removeVolume(command.volumeId)
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
    }
  }

  copyVolume(command: CopyVolumeCommand, signal: AbortSignal): AsyncIterable<CopyProgress> {
    return streamProgress<CopyProgress>(
      (report, stopped) => this.#track(this.#copy(command, report, stopped)),
      AbortSignal.any([signal, this.#stop.signal]),
    )
  }

  async *readVolumeFiles(
    volumeId: VolumeId,
    signal: AbortSignal,
  ): AsyncGenerator<VolumeFilePiece, void, undefined> {
    using snapshot = await this.#parts.store.get(volumeId).volume.snapshot()
    yield* readSnapshot(snapshot, signal)
  }

  async *tailVolume(
    request: { readonly volumeId: VolumeId; readonly sinceNs: bigint },
    signal: AbortSignal,
  ): AsyncGenerator<TailRecord, void, undefined> {
    using snapshot = await this.#parts.store.get(request.volumeId).volume.snapshot()
    yield* tailSnapshot(snapshot, request, signal)
  }

  async vacuumCheck(volumeId: VolumeId, _signal: AbortSignal): Promise<number> {
    const { garbageBytes, datBytes } = this.#parts.store.get(volumeId).volume.stats
    return datBytes === 0 ? 0 : garbageBytes / datBytes
  }

  vacuumVolume(command: VolumeCommand, signal: AbortSignal): AsyncIterable<VacuumProgress> {
    return streamProgress<VacuumProgress>(
      (report, stopped) => this.#vacuum(command, report, stopped),
      signal,
    )
  }

  /** Ends the copies under way; what they had written is removed. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await Promise.allSettled(this.#copying)
  }

  async #vacuum(
    command: VolumeCommand,
    report: (progress: VacuumProgress) => void,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#parts.epochs.obey(command.epoch)
    const { volume } = this.#parts.store.get(command.volumeId)
    const totalBytes = volume.stats.datBytes
    let isVerifying = false
    const onProgress = (copiedBytes: number): void => {
      // What was written meanwhile is copied at last, and takes no time.
      if (isVerifying) return
      report({ phase: 'copying', copiedBytes, totalBytes: Math.max(totalBytes, copiedBytes) })
    }
    const onVerified = (copiedBytes: number, copyBytes: number): void => {
      isVerifying = true
      report({ phase: 'verifying', copiedBytes, totalBytes: copyBytes })
    }
    const { bytesAfter } = await volume.vacuum({ onProgress, onVerified }, signal)
    report({ phase: 'done', copiedBytes: bytesAfter, totalBytes: bytesAfter })
    this.#changed('volume.vacuumed', command.volumeId)
  }

  async #copy(
    command: CopyVolumeCommand,
    report: (progress: CopyProgress) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { store, connect, epochs } = this.#parts
    const { volumeId, source } = command
    const collection = parseCollection(command.collection)
    await epochs.obey(command.epoch)
    if (connect === undefined || source.url === this.#parts.location().url) {
      throw new StoreError('REQUEST_INVALID', `volume ${volumeId} cannot be copied from here`)
    }
    using _slot = await this.#copies.acquire(signal)
    const peer = connect(source)
    const { datBytes } = await peer.volumeStatus(volumeId, signal)
    const size = { copiedBytes: 0, totalBytes: datBytes }
    report({ ...size, isDone: false })
    await store.adoptVolume({ collection, volumeId, sizeBytes: datBytes }, async (draft) => {
      await writeDraft(draft, peer.readVolumeFiles(volumeId, signal), (copiedBytes) => {
        size.copiedBytes = copiedBytes
        // It may have grown since it was asked for its size.
        size.totalBytes = Math.max(size.totalBytes, copiedBytes)
        report({ ...size, isDone: false })
      })
      await verifyDraft(draft, signal)
    })
    report({ ...size, totalBytes: size.copiedBytes, isDone: true })
    this.#changed('volume.copied', volumeId)
  }

  #changed(event: string, volumeId: VolumeId): void {
    this.#parts.logger.info(event, { volumeId })
    this.#parts.onChanged()
  }

  async #track(running: Promise<void>): Promise<void> {
    this.#copying.add(running)
    try {
      await running
    } finally {
      this.#copying.delete(running)
    }
  }
}
