import type { FileId } from '../base/file-id.ts'
import type { Cookie, NeedleId, VolumeId } from '../base/ids.ts'
import type { ReplicaPlacement } from '../base/replica-placement.ts'
import type { ErrorCode } from '../base/store-error.ts'
import type { Ttl } from '../base/ttl.ts'
import type { DiskReport, NodeLocation, VolumeReport } from './master-api.ts'
import type { ShardApi } from './shard-api.ts'
import type { ShardReport } from './stripe-facts.ts'

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
  /** From a server that could not read its own copy: answered from this copy, or not at all. */
  readonly isForwarded?: boolean | undefined
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

/** How far a volume goes: two equal ones of one copy mean that nothing happened in between. */
export interface VolumeExtent {
  readonly datBytes: number
  readonly compactionRevision: number
}

export interface CopyVolumeCommand extends VolumeCommand {
  readonly collection: string
  /** The server to copy it from. */
  readonly source: NodeLocation
  /** For each millisecond of work, rest so many. */
  readonly politeness: number
  /**
   * There may be a bad copy here: it is put aside when the new one is complete, which then takes
   * its place. Without this a copy that is here already is VOLUME_EXISTS.
   */
  readonly replacesBad: boolean
}

export interface CopyProgress {
  readonly copiedBytes: number
  readonly totalBytes: number
  readonly isDone: boolean
  /** What of the source the copy has, for `catchUpVolume`; undefined until it is done. */
  readonly sourceExtent: VolumeExtent | undefined
  /** Where the copy lies; empty until it is done. */
  readonly directoryId: string
}

export interface CatchUpCommand extends VolumeCommand {
  readonly source: NodeLocation
  /** As the copy, or the last catch-up, returned it. */
  readonly sourceExtent: VolumeExtent
}

export interface CatchUpAnswer {
  readonly sourceExtent: VolumeExtent
  /** Puts and tombstones carried over. */
  readonly recordCount: number
}

/** What a copy knows of its needles without reading them. */
export interface NeedleSummary {
  readonly needleId: NeedleId
  /** As in the record; 0 of a tombstone whose needle was never here. */
  readonly sizeBytes: number
  readonly isDeleted: boolean
}

/** `corrupt`: the index has it, and what it points at is not that needle, whole. */
export type NeedleState = 'live' | 'deleted' | 'absent' | 'corrupt'

/** A needle as it is on the disk, read and checked for this answer. */
export interface NeedleStat {
  readonly needleId: NeedleId
  readonly state: NeedleState
  /** Of a live one; otherwise 0. */
  readonly cookie: Cookie
  /** CRC-32C of the data; 0 unless it is live. */
  readonly checksum: number
  readonly dataBytes: number
  /** Hash of what the needle knows beside its data, except times of its own; 0 unless live. */
  readonly attributesHash: number
  /** When it was appended to this copy, by this server's clock; 0: not known. */
  readonly appendAtNs: bigint
}

export interface HealNeedlesCommand extends VolumeCommand {
  /** A server with good ones. */
  readonly source: NodeLocation
  /** At most `LIMITS.healNeedlesMax`. */
  readonly needleIds: readonly NeedleId[]
}

/**
 * `healed`: fetched, verified, stored durably. `unchanged`: it was the same already. `deleted`: a
 * tombstone here wins. `unavailable`: the source does not have a good one.
 */
export type HealOutcome = 'healed' | 'unchanged' | 'deleted' | 'unavailable'

export interface HealAnswer {
  readonly needleId: NeedleId
  readonly outcome: HealOutcome
}

export interface ScrubCommand {
  readonly volumeId: VolumeId
  /** Go on there if the volume still has that revision; 0: from the start. */
  readonly from: VolumeExtent
  readonly politeness: number
}

/**
 * `needle`: a live needle is not what it should be. `block`: bytes that no live needle needs are
 * not what was written. `index`: the index on disk, or what is in memory, disagrees with `.dat`.
 */
export interface ScrubFinding {
  readonly kind: 'needle' | 'block' | 'index'
  /** Of a `needle`; otherwise 0. */
  readonly needleId: NeedleId
  readonly offsetBytes: number
  readonly message: string
}

export interface ScrubProgress {
  /** Everything below has been read. */
  readonly at: VolumeExtent
  readonly totalBytes: number
  readonly findings: readonly ScrubFinding[]
  readonly isDone: boolean
  /**
   * As the digest of a report, with the checksums of data and attributes: for whole runs only, 16
   * hex digits once `isDone`, else empty.
   */
  readonly contentDigest: string
}

export interface VacuumCommand extends VolumeCommand {
  /** Every copy that counts has seen every delete: nobody needs to learn of them from here. */
  readonly dropsTombstones: boolean
  /** Records that cannot be read are left out when no live needle needs them. */
  readonly skipsDamage: boolean
  readonly politeness: number
}

export interface FreezeCommand extends VolumeCommand {
  /** Writes wait for so long, unless it is thawed earlier; 0: thaw. */
  readonly forMs: number
}

export interface DeleteVolumeCommand extends VolumeCommand {
  /** Only if nothing was written since it was like this; undefined: in any case. */
  readonly expected?: VolumeExtent | undefined
}

export interface VolumeDigest extends VolumeExtent {
  /** As in `VolumeReport`; of this moment: nothing was written while it was computed. */
  readonly digest: string
  readonly liveNeedles: number
}

export type VolumeFileExtension = 'dat' | 'idx' | 'sum' | 'vif'

export interface VolumeFilePiece {
  readonly extension: VolumeFileExtension
  readonly offsetBytes: number
  readonly data: Uint8Array
  /** Says of `.dat`, in place of its bytes, how far it goes. */
  readonly extent?: VolumeExtent | undefined
}

export interface VolumeFilesRequest {
  readonly volumeId: VolumeId
  /** The bytes of `.dat`, which are most of all, are fetched in another way. */
  readonly isDatApart?: boolean
}

export interface TailRequest {
  readonly volumeId: VolumeId
  /** Records appended at or after it; 0: whenever. */
  readonly sinceNs: bigint
  /**
   * Only records behind this. Those of over 8 MiB come without data and metadata then, which are to
   * be read by the file id. Undefined: all records.
   */
  readonly after?: VolumeExtent | undefined
}

/** One record of `.dat` as it was appended: a put, or a tombstone. */
export interface TailRecord {
  readonly fileId: FileId
  readonly appendAtNs: bigint
  readonly isTombstone: boolean
  /** Empty though `dataBytes` is not 0: it was left out, see `TailRequest.after`. */
  readonly data: Uint8Array
  readonly dataBytes: number
  /** CRC-32C of the data as stored, raw or masked; 0 of a tombstone. */
  readonly checksum: number
  readonly metadata: NeedleMetadata
  /** Where the record ends in `.dat`. */
  readonly endBytes: number
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
  readonly shards?: readonly ShardReport[] | undefined
}

/**
 * What a volume server does for clients and masters. The server implements it; `RemoteVolume`
 * reaches one. Every method rejects with a `StoreError`, among them CANCELLED when `signal` aborts,
 * UNAVAILABLE and TIMEOUT when the server is remote, VOLUME_NOT_FOUND, TOKEN_INVALID.
 */
export interface VolumeApi {
  /** Of erasure-coded volumes. */
  readonly shards: ShardApi

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

  /**
   * The whole data of a needle that is in memory and lies there as it was put: neither compressed
   * nor a manifest. Undefined: use `read`, which also says what is wrong. The bytes are part of a
   * larger buffer: whoever keeps them copies them. Absent: the server is not in this process.
   */
  readNow?(request: ReadRequest): Buffer | undefined

  /** @throws {StoreError} EPOCH_STALE, VOLUME_EXISTS, DISK_FULL. */
  allocateVolume(command: AllocateVolumeCommand, signal: AbortSignal): Promise<void>

  /** @throws {StoreError} EPOCH_STALE, VOLUME_BUSY. */
  sealVolume(command: VolumeCommand, signal: AbortSignal): Promise<void>

  /** @throws {StoreError} EPOCH_STALE; VOLUME_CHANGED: it is not as expected, and stays. */
  deleteVolume(command: DeleteVolumeCommand, signal: AbortSignal): Promise<void>

  volumeStatus(volumeId: VolumeId, signal: AbortSignal): Promise<VolumeReport>

  serverStatus(signal: AbortSignal): Promise<VolumeServerStatus>

  /** Fetches a volume from another server, checks every record, and serves it. */
  copyVolume(command: CopyVolumeCommand, signal: AbortSignal): AsyncIterable<CopyProgress>

  /** The files of a volume as of now: all that whoever copies it needs. */
  readVolumeFiles(request: VolumeFilesRequest, signal: AbortSignal): AsyncIterable<VolumeFilePiece>

  /**
   * Records in the order of `.dat`, up to its present end.
   *
   * @throws {StoreError} VOLUME_CHANGED: it was vacuumed since `after`, or is shorter.
   * NEEDLE_TOO_LARGE: one of over 8 MiB, without `after`.
   */
  tailVolume(request: TailRequest, signal: AbortSignal): AsyncIterable<TailRecord>

  /** Garbage bytes in proportion to the bytes of `.dat`: 0 to 1. */
  vacuumCheck(volumeId: VolumeId, signal: AbortSignal): Promise<number>

  /** Copy, read back, switch; ends with `done`. Errors as `Volume.vacuum`. */
  vacuumVolume(command: VacuumCommand, signal: AbortSignal): AsyncIterable<VacuumProgress>

  /**
   * Holds back all writes to the volume, or lets them go on. Those answered before are in the
   * extent. They wait, and fail with VOLUME_BUSY if it takes too long. Again: the time starts anew.
   * Of a volume of which only shards are here, deletes are held back, and the extent is that of its
   * journal.
   *
   * @throws {StoreError} EPOCH_STALE.
   */
  freezeVolume(command: FreezeCommand, signal: AbortSignal): Promise<VolumeExtent>

  /** @throws {StoreError} VOLUME_BUSY: it is written to without a pause. */
  digestVolume(volumeId: VolumeId, signal: AbortSignal): Promise<VolumeDigest>

  /**
   * Carries over what the source got since it was copied here.
   *
   * @throws {StoreError} EPOCH_STALE; VOLUME_CHANGED: the source was vacuumed since; compare needle
   * by needle instead.
   */
  catchUpVolume(command: CatchUpCommand, signal: AbortSignal): Promise<CatchUpAnswer>

  /** All needles the index knows, tombstones included, ids ascending, in pages. */
  listNeedles(volumeId: VolumeId, signal: AbortSignal): AsyncIterable<readonly NeedleSummary[]>

  /** One for each id, in their order; at most `LIMITS.healNeedlesMax`. */
  statNeedles(
    volumeId: VolumeId,
    needleIds: readonly NeedleId[],
    signal: AbortSignal,
  ): Promise<readonly NeedleStat[]>

  /**
   * Fetches needles from another copy and stores them here, over whatever is here under their ids,
   * but never over a tombstone. @throws {StoreError} EPOCH_STALE.
   */
  healNeedles(command: HealNeedlesCommand, signal: AbortSignal): Promise<readonly HealAnswer[]>

  /** Deletes needles of this copy alone, of any cookie. @throws {StoreError} EPOCH_STALE. */
  deleteNeedles(
    command: VolumeCommand & { readonly needleIds: readonly NeedleId[] },
    signal: AbortSignal,
  ): Promise<void>

  /** Reads everything and compares it with every checksum there is. Changes nothing. */
  scrubVolume(command: ScrubCommand, signal: AbortSignal): AsyncIterable<ScrubProgress>

  /** What the copy says of itself from now on; durable. @throws {StoreError} EPOCH_STALE. */
  setVolumeReplication(
    command: VolumeCommand & { readonly replication: ReplicaPlacement },
    signal: AbortSignal,
  ): Promise<void>
}

/** How to talk to a volume server: in this process if it is here, else over the net. */
export type ConnectVolume = (location: NodeLocation) => VolumeApi
