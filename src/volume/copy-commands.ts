import type { VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import { parseCollection } from '../format/file-names.ts'
import type { FileTokens } from '../net/file-token.ts'
import type { NodeLocation } from '../net/master-api.ts'
import type {
  CatchUpAnswer,
  CatchUpCommand,
  CopyProgress,
  CopyVolumeCommand,
  TailRecord,
  TailRequest,
  VolumeApi,
  VolumeExtent,
  VolumeFilePiece,
  VolumeFilesRequest,
} from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import { KeyedMutex } from '../runtime/keyed-mutex.ts'
import { Semaphore } from '../runtime/semaphore.ts'
import type { VolumeDraft } from '../storage/disk-location.ts'
import type { Store } from '../storage/store.ts'
import type { Volume } from '../storage/volume.ts'
import { CatchUp } from './catch-up.ts'
import { fillDraft, readSnapshot } from './copy-volume.ts'
import { isSameExtent } from './heal-needles.ts'
import { deleteJournaled } from './journaled-deletes.ts'
import { Rest } from './rest.ts'
import { tailSnapshot } from './tail-volume.ts'

export interface CopyCommandsParts {
  readonly store: Store
  readonly clock: Clock
  /** Undefined: reads need no token. */
  readonly readTokens: FileTokens | undefined
  /** @throws {StoreError} REQUEST_INVALID: there are no other servers, or it is this one. */
  readonly peerAt: (location: NodeLocation) => VolumeApi
}

/** How a copy was left: what is so still has been written to by nobody else. */
interface CopyState {
  readonly volume: Volume
  readonly extent: VolumeExtent
}

/**
 * Brings volumes from other servers here, and gives ours to them. The methods are those of
 * `VolumeApi`; the epoch of a command has been obeyed before.
 */
export class CopyCommands {
  readonly #parts: CopyCommandsParts
  readonly #copies = new Semaphore({
    slots: LIMITS.copiesAtOnceMax.value,
    waitersMax: LIMITS.copiesWaitingMax.value,
  })
  readonly #catchingUp = new KeyedMutex<VolumeId>({ waitersMax: LIMITS.copiesWaitingMax.value })
  /** Of volumes that are served here; others are forgotten with the next copy. */
  readonly #states = new Map<VolumeId, CopyState>()

  constructor(parts: CopyCommandsParts) {
    this.#parts = parts
  }

  async copy(
    command: CopyVolumeCommand,
    report: (progress: CopyProgress) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { store } = this.#parts
    const { volumeId, replacesBad } = command
    const collection = parseCollection(command.collection)
    const peer = this.#parts.peerAt(command.source)
    const rest = new Rest(this.#parts, command.politeness, signal)
    using _slot = await this.#copies.acquire(signal)
    this.#checkNotHere(volumeId, replacesBad)
    const { datBytes } = await peer.volumeStatus(volumeId, signal)
    const size = { copiedBytes: 0, totalBytes: datBytes }
    const onWritten = (copiedBytes: number): void => {
      size.copiedBytes = copiedBytes
      // It may have grown since it was asked for its size.
      size.totalBytes = Math.max(size.totalBytes, copiedBytes)
      report({ ...size, ...NOT_DONE })
    }
    report({ ...size, ...NOT_DONE })
    let sourceExtent: VolumeExtent | undefined
    const name = { collection, volumeId, sizeBytes: datBytes }
    const fill = async (draft: VolumeDraft): Promise<void> => {
      const pieces = peer.readVolumeFiles({ volumeId }, signal)
      sourceExtent = await fillDraft(draft, pieces, { rest, onWritten, signal })
    }
    const { volume } = await store.adoptVolume(name, fill, { replacesBad })
    await deleteJournaled(store, volumeId, signal)
    this.#remember(volumeId, volume)
    const directoryId = this.#directoryOf(volumeId)
    report({ ...size, totalBytes: size.copiedBytes, isDone: true, sourceExtent, directoryId })
  }

  async catchUp(command: CatchUpCommand, signal: AbortSignal): Promise<CatchUpAnswer> {
    const { store, readTokens, peerAt } = this.#parts
    const { volumeId, sourceExtent } = command
    const peer = peerAt(command.source)
    using _lock = await this.#catchingUp.acquire(volumeId, signal)
    const { volume } = store.get(volumeId)
    const isPristine = this.#isPristine(volumeId, volume)
    const catchUp = new CatchUp({ peer, readTokens, volume, isPristine }, signal)
    const request = { volumeId, sinceNs: 0n, after: sourceExtent }
    let { datBytes } = sourceExtent
    try {
      for await (const record of peer.tailVolume(request, signal)) {
        await catchUp.add(record)
        datBytes = record.endBytes
      }
      await catchUp.finish()
    } finally {
      // Also when it stopped half-way: all that was written came from the source.
      if (isPristine) this.#remember(volumeId, volume)
    }
    const { recordCount } = catchUp
    return { sourceExtent: { ...sourceExtent, datBytes }, recordCount }
  }

  async *readFiles(
    { volumeId, isDatApart = false }: VolumeFilesRequest,
    signal: AbortSignal,
  ): AsyncGenerator<VolumeFilePiece, void, undefined> {
    using snapshot = await this.#parts.store.get(volumeId).volume.snapshot()
    yield* readSnapshot(snapshot, isDatApart, signal)
  }

  async *tail(
    request: TailRequest,
    signal: AbortSignal,
  ): AsyncGenerator<TailRecord, void, undefined> {
    const { volumeId, after } = request
    using snapshot = await this.#parts.store.get(volumeId).volume.snapshot()
    const { compactionRevision } = snapshot
    if (after !== undefined && after.compactionRevision !== compactionRevision) {
      const was = `revision ${after.compactionRevision}, now ${compactionRevision}`
      throw new StoreError('VOLUME_CHANGED', `volume ${volumeId} was vacuumed: ${was}`)
    }
    yield* tailSnapshot(snapshot, request, signal)
  }

  /** Said before a gigabyte has been fetched; the store itself makes sure. */
  #checkNotHere(volumeId: VolumeId, replacesBad: boolean): void {
    const stored = this.#parts.store.find(volumeId)
    if (stored === undefined) return
    const { volume } = stored
    if (replacesBad && volume.isBad) return
    throw new StoreError('VOLUME_EXISTS', `volume ${volumeId} is here, and ${volume.state}`)
  }

  #isPristine(volumeId: VolumeId, volume: Volume): boolean {
    const state = this.#states.get(volumeId)
    return state?.volume === volume && isSameExtent(state.extent, volume.extent)
  }

  #remember(volumeId: VolumeId, volume: Volume): void {
    for (const [otherId, state] of this.#states) {
      if (this.#parts.store.find(otherId)?.volume !== state.volume) this.#states.delete(otherId)
    }
    this.#states.set(volumeId, { volume, extent: volume.extent })
  }

  #directoryOf(volumeId: VolumeId): string {
    const { locations } = this.#parts.store
    return locations.find(({ volumes }) => volumes.has(volumeId))?.directoryId ?? ''
  }
}

const NOT_DONE = { isDone: false, sourceExtent: undefined, directoryId: '' } as const
