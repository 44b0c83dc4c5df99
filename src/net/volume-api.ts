import type { FileId } from '../base/file-id.ts'
import type { VolumeId } from '../base/ids.ts'
import type { ReplicaPlacement } from '../base/replica-placement.ts'
import type { ErrorCode } from '../base/store-error.ts'
import type { Ttl } from '../base/ttl.ts'
import type { DiskReport, NodeLocation, VolumeReport } from './master-api.ts'

/** What a needle knows about itself beside its data. */
export interface NeedleMetadata {
  readonly name?: string | undefined
  readonly mime?: string | undefined
  readonly lastModifiedS?: number | undefined
  readonly ttl?: Ttl | undefined
  readonly pairs?: Readonly<Record<string, string>> | undefined
  /** The data is gzip. */
  readonly isCompressed?: boolean | undefined
  readonly isChunkManifest?: boolean | undefined
}

export interface PutRequest {
  readonly fileId: FileId
  readonly data: Uint8Array
  readonly metadata: NeedleMetadata
  /** Empty where the cluster asks for none. */
  readonly writeToken: string
  /** From another server that holds the volume: not to be sent on. */
  readonly isReplica: boolean
  /** CRC-32C of `data`, where it is known already; it is believed, and never sent. */
  readonly checksum?: number | undefined
}

/** As `PutRequest`, for a body that is not held in memory. */
export interface PutStreamRequest extends Omit<PutRequest, 'data' | 'checksum'> {
  readonly source: AsyncIterable<Uint8Array>
}

export interface PutAnswer {
  /** CRC-32C of the data as stored; as eight hex digits it is the ETag. */
  readonly checksum: number
  readonly dataBytes: number
  /** The same bytes were there already. */
  readonly isUnchanged: boolean
  /** It survives a power cut of this server now. */
  readonly isDurable: boolean
}

export interface DeleteRequest {
  readonly fileId: FileId
  readonly writeToken: string
  readonly isReplica: boolean
}

export interface DeleteAnswer {
  /** False: it was not there, or deleted before. */
  readonly wasLive: boolean
  readonly freedBytes: number
}

/** Bytes `start` up to `end` of the data as stored. */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

export interface ReadRequest {
  readonly fileId: FileId
  /** Undefined: all of it. */
  readonly range: ByteRange | undefined
  /** A deleted needle is still read until a vacuum. */
  readonly readDeleted: boolean
  /** Empty where the cluster asks for none. */
  readonly readToken: string
}

/** A needle found: what it knows, and its data as stored. Read `data` to its end or dispose. */
export interface NeedleContent extends AsyncDisposable {
  readonly metadata: NeedleMetadata
  readonly checksum: number
  /** Of the whole data, whatever the range. */
  readonly dataBytes: number
  /** Verified against the checksum: the last piece of a whole needle only once all matched. */
  readonly data: AsyncIterable<Uint8Array>
}

export interface BatchDeleteAnswer {
  readonly fileId: FileId
  readonly wasLive: boolean
  /** Undefined: it is deleted, or was not there. */
  readonly error: { readonly code: ErrorCode; readonly message: string } | undefined
}

/** Every command of a master carries its epoch: one below the highest seen is refused. */
export interface VolumeCommand {
  readonly epoch: number
  readonly volumeId: VolumeId
}

export interface AllocateVolumeCommand extends VolumeCommand {
  readonly collection: string
  readonly replication: ReplicaPlacement
  readonly ttl: Ttl
}

export interface CopyVolumeCommand extends VolumeCommand {
  readonly collection: string
  /** The server to copy it from. */
  readonly source: NodeLocation
}

export interface CopyProgress {
  readonly copiedBytes: number
  readonly totalBytes: number
  readonly isDone: boolean
}

export type VolumeFileExtension = 'dat' | 'idx' | 'sum' | 'vif'

export interface VolumeFilePiece {
  readonly extension: VolumeFileExtension
  readonly offsetBytes: number
  readonly data: Uint8Array
}

/** One record of `.dat` as it was appended: a put, or a tombstone. */
export interface TailRecord {
  readonly fileId: FileId
  readonly appendAtNs: bigint
  readonly isTombstone: boolean
  readonly data: Uint8Array
  readonly metadata: NeedleMetadata
}

export type VacuumPhase = 'copying' | 'verifying' | 'done'

export interface VacuumProgress {
  readonly phase: VacuumPhase
  readonly copiedBytes: number
  readonly totalBytes: number
}

export interface VolumeServerStatus {
  readonly node: NodeLocation
  readonly version: string
  readonly epoch: number
  readonly disks: readonly DiskReport[]
  readonly volumes: readonly VolumeReport[]
}

/**
 * What a volume server does for clients and masters. The server implements it; `RemoteVolume`
 * reaches one. Every method rejects with a `StoreError`, among them CANCELLED when `signal` aborts,
 * UNAVAILABLE and TIMEOUT when the server is remote, VOLUME_NOT_FOUND, TOKEN_INVALID.
 */
export interface VolumeApi {
  /** Many may be in flight: they share writes, syncs and messages. Errors as `Volume.put`. */
  put(request: PutRequest, signal: AbortSignal): Promise<PutAnswer>

  putStream(request: PutStreamRequest, signal: AbortSignal): Promise<PutAnswer>

  delete(request: DeleteRequest, signal: AbortSignal): Promise<DeleteAnswer>

  /** One answer for each, in their order; one that fails does not keep others from succeeding. */
  batchDelete(
    requests: readonly DeleteRequest[],
    signal: AbortSignal,
  ): Promise<readonly BatchDeleteAnswer[]>

  /** @throws {StoreError} NEEDLE_NOT_FOUND, COOKIE_MISMATCH, NEEDLE_CORRUPT, RANGE_INVALID. */
  read(request: ReadRequest, signal: AbortSignal): Promise<NeedleContent>

  /** @throws {StoreError} EPOCH_STALE, VOLUME_EXISTS, DISK_FULL. */
  allocateVolume(command: AllocateVolumeCommand, signal: AbortSignal): Promise<void>

  /** @throws {StoreError} EPOCH_STALE, VOLUME_BUSY. */
  sealVolume(command: VolumeCommand, signal: AbortSignal): Promise<void>

  /** @throws {StoreError} EPOCH_STALE. */
  deleteVolume(command: VolumeCommand, signal: AbortSignal): Promise<void>

  volumeStatus(volumeId: VolumeId, signal: AbortSignal): Promise<VolumeReport>

  serverStatus(signal: AbortSignal): Promise<VolumeServerStatus>

  /** Fetches a volume from another server, checks every record, and serves it. */
  copyVolume(command: CopyVolumeCommand, signal: AbortSignal): AsyncIterable<CopyProgress>

  /** The files of a volume as of now: all that whoever copies it needs. */
  readVolumeFiles(volumeId: VolumeId, signal: AbortSignal): AsyncIterable<VolumeFilePiece>

  /** Records appended at or after `sinceNs`, in the order of `.dat`, up to its present end. */
  tailVolume(
    request: { readonly volumeId: VolumeId; readonly sinceNs: bigint },
    signal: AbortSignal,
  ): AsyncIterable<TailRecord>

  /** Garbage bytes in proportion to the bytes of `.dat`: 0 to 1. */
  vacuumCheck(volumeId: VolumeId, signal: AbortSignal): Promise<number>

  /** Copy, read back, switch; ends with `done`. Errors as `Volume.vacuum`. */
  vacuumVolume(command: VolumeCommand, signal: AbortSignal): AsyncIterable<VacuumProgress>
}

/** How to talk to a volume server: in this process if it is here, else over the net. */
export type ConnectVolume = (location: NodeLocation) => VolumeApi
