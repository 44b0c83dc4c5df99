import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import type {
  DownloadPart,
  DownloadRequest,
  ListFilesRequest,
  NewFile,
  SearchFilesRequest,
  StoredFile,
  StoredFileRef,
  StoredFiles,
  StorePart,
} from './files-api.ts'
import { invalid, present, wireNumber } from './wire-values.ts'

/** Messages of files.proto, as the loader shows them, and back. Empty text: it is left out. */

export interface WireStoredFile {
  readonly user: string
  readonly name: string
  readonly sizeBytes: number
  readonly contentType: string
  readonly createdAtMs: number
  readonly modifiedAtMs: number
  readonly version: number
  readonly sha256: string
  readonly etag: string
  readonly chunkCount: number
}

export interface WireStoreHead {
  readonly user: string
  readonly name: string
  readonly contentType: string
  readonly sizeBytes?: number | undefined
  readonly isOverwrite: boolean
}

export interface WireStorePart {
  readonly head?: WireStoreHead | null
  readonly data?: Uint8Array
  readonly sha256?: Uint8Array
}

export interface WireDownload {
  readonly user: string
  readonly name: string
  readonly rangeStart: number
  readonly rangeEnd?: number | undefined
}

export interface WireDownloadPart {
  readonly file?: WireStoredFile | null
  readonly data?: Uint8Array
}

export interface WireSearchFiles {
  readonly user: string
  readonly isOfAll: boolean
  readonly substring?: string | undefined
  readonly glob?: string | undefined
  readonly after: string
  readonly limit: number
}

export interface WireStoredFiles {
  readonly files: readonly WireStoredFile[]
  readonly next: string
}

const SHA256_BYTES = 32

export function storedFileToWire(file: StoredFile): WireStoredFile {
  const { contentType = '', sha256 = '', ...rest } = file
  return { ...rest, contentType, sha256 }
}

/** @throws {StoreError} REQUEST_INVALID */
export function storedFileFromWire(wire: WireStoredFile): StoredFile {
  const { chunkCount, contentType, etag, name, sha256, user } = wire
  if (user === '' || name === '') throw invalid('a file without a user or a name')
  if (!/^(?:[0-9a-f]{64})?$/.test(sha256)) throw invalid('a SHA-256 is not 64 hex digits')
  return {
    user,
    name,
    sizeBytes: wireNumber(wire.sizeBytes, 'the size of a file'),
    contentType: filled(contentType),
    createdAtMs: wireNumber(wire.createdAtMs, 'the time of a file'),
    modifiedAtMs: wireNumber(wire.modifiedAtMs, 'the time of a file'),
    version: wireNumber(wire.version, 'the version of a file'),
    sha256: filled(sha256),
    etag,
    chunkCount,
  }
}

/** @throws {StoreError} REQUEST_INVALID: there is no name. */
export function fileRefFromWire({ name, user }: StoredFileRef): StoredFileRef {
  if (name === '') throw invalid('the name of a file is missing')
  return { user, name }
}

export function fileRefToWire({ name, user }: StoredFileRef): StoredFileRef {
  return { user, name }
}

export function newFileToWire(file: NewFile): WireStoreHead {
  const { contentType = '', isOverwrite = false, name, sizeBytes, user } = file
  return { user, name, contentType, sizeBytes, isOverwrite }
}

/** @throws {StoreError} REQUEST_INVALID */
export function newFileFromWire(wire: WireStoreHead): NewFile {
  const { contentType, isOverwrite, sizeBytes } = wire
  return {
    ...fileRefFromWire(wire),
    contentType: filled(contentType),
    sizeBytes: sizeBytes === undefined ? undefined : wireNumber(sizeBytes, 'the size of a file'),
    isOverwrite,
  }
}

export function storePartToWire(part: StorePart): WireStorePart {
  return 'head' in part ? { head: newFileToWire(part.head) } : part
}

/** @throws {StoreError} REQUEST_INVALID: none of the three, or one of the wrong length. */
export function storePartFromWire({ data, head, sha256 }: WireStorePart): StorePart {
  if (head !== undefined && head !== null) return { head: newFileFromWire(head) }
  if (sha256 !== undefined) {
    if (sha256.length !== SHA256_BYTES) throw invalid(`a SHA-256 of ${sha256.length} bytes`)
    return { sha256 }
  }
  const max = LIMITS.streamPiece.value
  const bytes = present(data, 'the data of a message')
  if (bytes.length > max) throw invalid(`${bytes.length} bytes in a message, ${max} may be`)
  return { data: bytes }
}

export function downloadToWire({ end, name, start, user }: DownloadRequest): WireDownload {
  return { user, name, rangeStart: start, rangeEnd: end }
}

/** @throws {StoreError} REQUEST_INVALID; RANGE_INVALID: end before start. */
export function downloadFromWire(wire: WireDownload): DownloadRequest {
  const { rangeEnd } = wire
  const start = wireNumber(wire.rangeStart, 'the start of a range')
  const end = rangeEnd === undefined ? undefined : wireNumber(rangeEnd, 'the end of a range')
  if (end !== undefined && end <= start) {
    throw new StoreError('RANGE_INVALID', `range ${start} to ${end}`)
  }
  return { ...fileRefFromWire(wire), start, end }
}

export function downloadPartToWire(part: DownloadPart): WireDownloadPart {
  return 'file' in part ? { file: storedFileToWire(part.file) } : part
}

/** @throws {StoreError} REQUEST_INVALID: neither of the two. */
export function downloadPartFromWire({ data, file }: WireDownloadPart): DownloadPart {
  if (file !== undefined && file !== null) return { file: storedFileFromWire(file) }
  return { data: present(data, 'the data of a message') }
}

export function searchFilesToWire(request: SearchFilesRequest): WireSearchFiles {
  const { after, isOfAll, limit, pattern, user } = request
  return { user, isOfAll, [pattern.kind]: pattern.text, after, limit }
}

/** @throws {StoreError} REQUEST_INVALID: no pattern. */
export function searchFilesFromWire(wire: WireSearchFiles): SearchFilesRequest {
  const { after, glob, isOfAll, limit, substring, user } = wire
  const pattern =
    glob === undefined
      ? { kind: 'substring' as const, text: present(substring, 'a pattern') }
      : { kind: 'glob' as const, text: glob }
  if (isOfAll && user !== '') throw invalid('the files of one user, or of all: not both')
  return { user, isOfAll, pattern, after, limit }
}

export function listFilesToWire(request: ListFilesRequest): ListFilesRequest {
  const { after, limit, prefix, user } = request
  return { user, prefix, after, limit }
}

/** Anything is a prefix, and everything comes before or behind a text. */
export function listFilesFromWire(wire: ListFilesRequest): ListFilesRequest {
  return listFilesToWire(wire)
}

export function storedFilesToWire({ files, next }: StoredFiles): WireStoredFiles {
  return { files: files.map(storedFileToWire), next }
}

/** @throws {StoreError} REQUEST_INVALID */
export function storedFilesFromWire({ files, next }: WireStoredFiles): StoredFiles {
  return { files: files.map(storedFileFromWire), next }
}

function filled(text: string): string | undefined {
  return text === '' ? undefined : text
}
