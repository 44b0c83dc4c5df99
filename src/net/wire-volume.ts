import { formatFileId, parseFileId } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import { formatReplicaPlacement, parseReplicaPlacement } from '../base/replica-placement.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { formatTtl, parseTtl } from '../base/ttl.ts'
import { errorCodeOf } from './error-maps.ts'
import type {
  AllocateVolumeCommand,
  BatchDeleteAnswer,
  DeleteAnswer,
  DeleteRequest,
  NeedleMetadata,
  PutAnswer,
  PutRequest,
  ReadRequest,
  TailRecord,
  TailRequest,
  VolumeCommand,
  VolumeExtent,
  VolumeFilePiece,
  VolumeFilesRequest,
  VolumeServerStatus,
} from './volume-api.ts'
import { nodeFromWire, nodeToWire, type WireNode } from './wire-node.ts'
import {
  diskReportFromWire,
  diskReportToWire,
  volumeReportFromWire,
  volumeReportToWire,
  type WireDiskReport,
  type WireVolumeReport,
} from './wire-reports.ts'
import { shardReportFromWire, shardReportToWire, type WireShardReport } from './wire-stripes.ts'
import {
  invalid,
  present,
  wireNanoseconds,
  wireNumber,
  wireVolumeId,
  wireWord,
} from './wire-values.ts'

/** Messages of volume.proto, as the loader shows them, and back. */

export interface WireMetadata {
  readonly name: string
  readonly mime: string
  readonly lastModifiedS: number
  readonly ttl: string
  readonly pairs: Readonly<Record<string, string>>
  readonly isCompressed: boolean
  readonly isChunkManifest: boolean
}

export interface WirePut {
  readonly fileId: string
  readonly data: Uint8Array
  /** Null means the same as all of it empty, and is shorter. */
  readonly metadata: WireMetadata | null
  readonly writeToken: string
  readonly isReplica: boolean
}

export interface WireDelete {
  readonly fileId: string
  readonly writeToken: string
  readonly isReplica: boolean
}

export interface WireOperation {
  readonly sequence: number
  readonly put?: WirePut | null
  readonly delete?: WireDelete | null
}

export interface WireWriteRequest {
  readonly operations: readonly WireOperation[]
}

export interface WireResult {
  readonly sequence: number
  readonly errorCode: string
  readonly errorMessage: string
  readonly checksum: number
  readonly dataBytes: number
  readonly isUnchanged: boolean
  readonly isDurable: boolean
  readonly wasLive: boolean
  readonly freedBytes: number
}

export interface WireResults {
  readonly results: readonly WireResult[]
}

export interface WireGet {
  readonly fileId: string
  readonly rangeStart: number
  readonly rangeEnd: number
  readonly readDeleted: boolean
  readonly readToken: string
  readonly isForwarded: boolean
}

export interface WireHead {
  readonly metadata: WireMetadata | null
  readonly checksum: number
  readonly dataBytes: number
}

export interface WireGetPart {
  readonly head?: WireHead | null
  readonly data?: Uint8Array
}

export interface WireBatchDelete {
  readonly operations: readonly WireDelete[]
}

export interface WireCommand {
  readonly epoch: number
  readonly volumeId: number
}

export interface WireAllocate extends WireCommand {
  readonly collection: string
  readonly replication: string
  readonly ttl: string
}

export interface WireServerStatus {
  readonly node: WireNode | null
  readonly version: string
  readonly epoch: number
  readonly disks: readonly WireDiskReport[]
  readonly volumes: readonly WireVolumeReport[]
  readonly shards: readonly WireShardReport[]
}

export interface WireVolumeFiles {
  readonly volumeId: number
  readonly isDatApart: boolean
}

export interface WirePiece {
  readonly extension: string
  readonly offsetBytes: number
  readonly data: Uint8Array
  readonly extent: WireExtent | null
}

export type WireExtent = VolumeExtent

export interface WireTail {
  readonly volumeId: number
  readonly sinceNs: string
  readonly after: WireExtent | null
}

export interface WireTailRecord {
  readonly fileId: string
  readonly appendAtNs: string
  readonly isTombstone: boolean
  readonly data: Uint8Array
  readonly dataBytes: number
  readonly checksum: number
  readonly endBytes: number
  readonly metadata: WireMetadata | null
}

const NO_METADATA: NeedleMetadata = Object.freeze({})
const EXTENSIONS = ['dat', 'idx', 'sum', 'vif'] as const

export function metadataToWire(metadata: NeedleMetadata): WireMetadata | null {
  const { name, mime, lastModifiedS, ttl, pairs, isCompressed, isChunkManifest } = metadata
  const wire = {
    name: name ?? '',
    mime: mime ?? '',
    lastModifiedS: lastModifiedS ?? 0,
    ttl: ttl === undefined ? '' : formatTtl(ttl),
    pairs: pairs ?? {},
    isCompressed: isCompressed ?? false,
    isChunkManifest: isChunkManifest ?? false,
  }
  const hasText = wire.name !== '' || wire.mime !== '' || wire.ttl !== ''
  if (hasText || wire.lastModifiedS !== 0 || wire.isCompressed || wire.isChunkManifest) return wire
  return pairs !== undefined && Object.keys(pairs).length > 0 ? wire : null
}

/** What was not set is not there. @throws {StoreError} REQUEST_INVALID, TTL_INVALID. */
export function metadataFromWire(wire: WireMetadata | null | undefined): NeedleMetadata {
  if (wire === null || wire === undefined) return NO_METADATA
  return {
    name: wire.name === '' ? undefined : wire.name,
    mime: wire.mime === '' ? undefined : wire.mime,
    lastModifiedS:
      wire.lastModifiedS === 0 ? undefined : wireNumber(wire.lastModifiedS, 'last modified'),
    ttl: wire.ttl === '' ? undefined : parseTtl(wire.ttl),
    pairs: Object.keys(wire.pairs).length === 0 ? undefined : wire.pairs,
    isCompressed: wire.isCompressed,
    isChunkManifest: wire.isChunkManifest,
  }
}

export function putToWire(request: PutRequest): WirePut {
  return {
    fileId: formatFileId(request.fileId),
    data: request.data,
    metadata: metadataToWire(request.metadata),
    writeToken: request.writeToken,
    isReplica: request.isReplica,
  }
}

/**
 * `data` is a view on the message it came in: use it at once, or copy what is kept.
 *
 * @throws {StoreError} FILE_ID_INVALID, REQUEST_INVALID, TTL_INVALID.
 */
export function putFromWire(wire: WirePut): PutRequest {
  return {
    fileId: parseFileId(wire.fileId),
    data: wire.data,
    metadata: metadataFromWire(wire.metadata),
    writeToken: wire.writeToken,
    isReplica: wire.isReplica,
  }
}

export function deleteToWire(request: DeleteRequest): WireDelete {
  const { writeToken, isReplica } = request
  return { fileId: formatFileId(request.fileId), writeToken, isReplica }
}

/** @throws {StoreError} FILE_ID_INVALID */
export function deleteFromWire(wire: WireDelete): DeleteRequest {
  const { writeToken, isReplica } = wire
  return { fileId: parseFileId(wire.fileId), writeToken, isReplica }
}

/** @throws {StoreError} REQUEST_INVALID: more than `LIMITS.batchDeleteMax`. FILE_ID_INVALID. */
export function batchDeleteFromWire(wire: WireBatchDelete): DeleteRequest[] {
  const { length } = wire.operations
  if (length > LIMITS.batchDeleteMax.value) throw invalid(`${length} deletes in one request`)
  return wire.operations.map(deleteFromWire)
}

const NOTHING_DONE: WireResult = {
  sequence: 0,
  errorCode: '',
  errorMessage: '',
  checksum: 0,
  dataBytes: 0,
  isUnchanged: false,
  isDurable: false,
  wasLive: false,
  freedBytes: 0,
}

export function putResultToWire(sequence: number, answer: PutAnswer): WireResult {
  return {
    sequence,
    errorCode: '',
    errorMessage: '',
    checksum: answer.checksum,
    dataBytes: answer.dataBytes,
    isUnchanged: answer.isUnchanged,
    isDurable: answer.isDurable,
    wasLive: false,
    freedBytes: 0,
  }
}

export function deleteResultToWire(sequence: number, answer: DeleteAnswer): WireResult {
  return { ...NOTHING_DONE, sequence, wasLive: answer.wasLive, freedBytes: answer.freedBytes }
}

/** Of an error that is no `StoreError` the caller learns nothing. */
export function failureToWire(sequence: number, error: unknown): WireResult {
  const isKnown = isStoreError(error)
  return {
    ...NOTHING_DONE,
    sequence,
    errorCode: isKnown ? error.code : 'PEER_FAILED',
    errorMessage: isKnown ? error.message : 'internal error',
  }
}

/** Undefined: it was done. */
export function failureFromWire(wire: WireResult): StoreError | undefined {
  if (wire.errorCode === '') return undefined
  const code = errorCodeOf(wire.errorCode)
  return new StoreError(code ?? 'PEER_FAILED', wire.errorMessage)
}

/** @throws {StoreError} the error in the result, or REQUEST_INVALID. */
export function putAnswerFromWire(wire: WireResult): PutAnswer {
  const error = failureFromWire(wire)
  if (error !== undefined) throw error
  const { checksum, dataBytes, isUnchanged, isDurable } = wire
  return { checksum, dataBytes: wireNumber(dataBytes, 'bytes'), isUnchanged, isDurable }
}

/** @throws {StoreError} the error in the result, or REQUEST_INVALID. */
export function deleteAnswerFromWire(wire: WireResult): DeleteAnswer {
  const error = failureFromWire(wire)
  if (error !== undefined) throw error
  return { wasLive: wire.wasLive, freedBytes: wireNumber(wire.freedBytes, 'bytes') }
}

export function batchAnswerToWire(answer: BatchDeleteAnswer): WireResult {
  return {
    ...NOTHING_DONE,
    errorCode: answer.error?.code ?? '',
    errorMessage: answer.error?.message ?? '',
    wasLive: answer.wasLive,
  }
}

export function batchAnswerFromWire(wire: WireResult, request: DeleteRequest): BatchDeleteAnswer {
  const failure = failureFromWire(wire)
  const error = failure && { code: failure.code, message: failure.message }
  return { fileId: request.fileId, wasLive: wire.wasLive, error }
}

export function readToWire(request: ReadRequest): WireGet {
  const { range, readDeleted, readToken, isForwarded = false } = request
  return {
    fileId: formatFileId(request.fileId),
    rangeStart: range?.start ?? 0,
    rangeEnd: range?.end ?? 0,
    readDeleted,
    readToken,
    isForwarded,
  }
}

/** @throws {StoreError} FILE_ID_INVALID, REQUEST_INVALID; RANGE_INVALID: end before start. */
export function readFromWire(wire: WireGet): ReadRequest {
  const start = wireNumber(wire.rangeStart, 'the start of a range')
  const end = wireNumber(wire.rangeEnd, 'the end of a range')
  if (start > 0 && end <= start) throw new StoreError('RANGE_INVALID', `range ${start} to ${end}`)
  return {
    fileId: parseFileId(wire.fileId),
    range: end === 0 ? undefined : { start, end },
    readDeleted: wire.readDeleted,
    readToken: wire.readToken,
    isForwarded: wire.isForwarded,
  }
}

/** @throws {StoreError} REQUEST_INVALID: the first part of an answer is no head. */
export function headFromWire(part: WireGetPart | undefined): {
  readonly metadata: NeedleMetadata
  readonly checksum: number
  readonly dataBytes: number
} {
  const head = present(part?.head, 'the head of a needle')
  const dataBytes = wireNumber(head.dataBytes, 'bytes')
  return { metadata: metadataFromWire(head.metadata), checksum: head.checksum, dataBytes }
}

export function allocateToWire(command: AllocateVolumeCommand): WireAllocate {
  const { epoch, volumeId, collection } = command
  const replication = formatReplicaPlacement(command.replication)
  return { epoch, volumeId, collection, replication, ttl: formatTtl(command.ttl) }
}

/** @throws {StoreError} REQUEST_INVALID, REPLICA_PLACEMENT_INVALID, TTL_INVALID. */
export function allocateFromWire(wire: WireAllocate): AllocateVolumeCommand {
  return {
    ...commandFromWire(wire),
    collection: wire.collection,
    replication: parseReplicaPlacement(wire.replication),
    ttl: parseTtl(wire.ttl),
  }
}

export function commandToWire(command: VolumeCommand): WireCommand {
  return { epoch: command.epoch, volumeId: command.volumeId }
}

/** @throws {StoreError} REQUEST_INVALID */
export function commandFromWire(wire: WireCommand): VolumeCommand {
  return { epoch: wireNumber(wire.epoch, 'an epoch'), volumeId: wireVolumeId(wire.volumeId) }
}

export function serverStatusToWire(status: VolumeServerStatus): WireServerStatus {
  return {
    node: nodeToWire(status.node),
    version: status.version,
    epoch: status.epoch,
    disks: status.disks.map(diskReportToWire),
    volumes: status.volumes.map(volumeReportToWire),
    shards: (status.shards ?? []).map(shardReportToWire),
  }
}

/** @throws {StoreError} REQUEST_INVALID, REPLICA_PLACEMENT_INVALID, TTL_INVALID. */
export function serverStatusFromWire(wire: WireServerStatus): VolumeServerStatus {
  return {
    node: nodeFromWire(wire.node),
    version: wire.version,
    epoch: wireNumber(wire.epoch, 'an epoch'),
    disks: wire.disks.map(diskReportFromWire),
    volumes: wire.volumes.map(volumeReportFromWire),
    shards: wire.shards.map(shardReportFromWire),
  }
}

export function volumeFilesToWire(request: VolumeFilesRequest): WireVolumeFiles {
  const { volumeId, isDatApart = false } = request
  return { volumeId, isDatApart }
}

/** @throws {StoreError} REQUEST_INVALID */
export function volumeFilesFromWire(wire: WireVolumeFiles): VolumeFilesRequest {
  return { volumeId: wireVolumeId(wire.volumeId), isDatApart: wire.isDatApart }
}

export function pieceToWire({ extension, offsetBytes, data, extent }: VolumeFilePiece): WirePiece {
  return { extension, offsetBytes, data, extent: extent ? extentToWire(extent) : null }
}

/** `data` is a view on its message. @throws {StoreError} REQUEST_INVALID */
export function pieceFromWire(wire: WirePiece): VolumeFilePiece {
  return {
    extension: wireWord(wire.extension, EXTENSIONS, 'the extension of a file'),
    offsetBytes: wireNumber(wire.offsetBytes, 'an offset'),
    data: wire.data,
    ...(wire.extent && { extent: extentFromWire(wire.extent) }),
  }
}

export function extentToWire(extent: VolumeExtent): WireExtent {
  return { datBytes: extent.datBytes, compactionRevision: extent.compactionRevision }
}

/** @throws {StoreError} REQUEST_INVALID: missing, or too large. */
export function extentFromWire(wire: WireExtent | null): VolumeExtent {
  const { datBytes, compactionRevision } = present(wire, 'the extent of a volume')
  return { datBytes: wireNumber(datBytes, 'bytes of .dat'), compactionRevision }
}

/** Null: there is none. */
export function someExtentToWire(extent: VolumeExtent | undefined): WireExtent | null {
  return extent === undefined ? null : extentToWire(extent)
}

/** @throws {StoreError} REQUEST_INVALID */
export function someExtentFromWire(wire: WireExtent | null): VolumeExtent | undefined {
  return wire === null ? undefined : extentFromWire(wire)
}

export function tailToWire(request: TailRequest): WireTail {
  const { volumeId, sinceNs, after } = request
  return { volumeId, sinceNs: sinceNs.toString(), after: someExtentToWire(after) }
}

/** @throws {StoreError} REQUEST_INVALID */
export function tailFromWire(wire: WireTail): TailRequest {
  return {
    volumeId: wireVolumeId(wire.volumeId),
    sinceNs: wireNanoseconds(wire.sinceNs),
    after: someExtentFromWire(wire.after),
  }
}

export function tailRecordToWire(record: TailRecord): WireTailRecord {
  return {
    fileId: formatFileId(record.fileId),
    appendAtNs: record.appendAtNs.toString(),
    isTombstone: record.isTombstone,
    data: record.data,
    dataBytes: record.dataBytes,
    checksum: record.checksum,
    metadata: metadataToWire(record.metadata),
    endBytes: record.endBytes,
  }
}

/** `data` is a view on its message. @throws {StoreError} FILE_ID_INVALID, REQUEST_INVALID. */
export function tailRecordFromWire(wire: WireTailRecord): TailRecord {
  return {
    fileId: parseFileId(wire.fileId),
    appendAtNs: wireNanoseconds(wire.appendAtNs),
    isTombstone: wire.isTombstone,
    data: wire.data,
    dataBytes: wireNumber(wire.dataBytes, 'bytes'),
    checksum: wire.checksum,
    metadata: metadataFromWire(wire.metadata),
    endBytes: wireNumber(wire.endBytes, 'an offset'),
  }
}
