/** A file of a user. Times are milliseconds since 1970. */
export interface StoredFile {
  readonly user: string
  readonly name: string
  readonly sizeBytes: number
  readonly contentType: string | undefined
  /** When the name got its first content, and this one. */
  readonly createdAtMs: number
  readonly modifiedAtMs: number
  /** Counts the contents of the name, from 1. */
  readonly version: number
  /** In hex; undefined: it was stored in several parts through S3. */
  readonly sha256: string | undefined
  /** As S3 shows it, without quotes. */
  readonly etag: string
  /** Needles that hold the bytes. */
  readonly chunkCount: number
}

export interface StoredFileRef {
  /** Empty: the caller. */
  readonly user: string
  readonly name: string
}

export interface NewFile extends StoredFileRef {
  readonly contentType?: string | undefined
  /** How many bytes there will be; undefined: not known. */
  readonly sizeBytes?: number | undefined
  /** Takes the place of one that is there. */
  readonly isOverwrite?: boolean | undefined
}

export interface DownloadRequest extends StoredFileRef {
  /** Bytes `start` up to, but without, `end`; without `end` up to the last. */
  readonly start: number
  readonly end?: number | undefined
}

export interface ListFilesRequest {
  /** Empty: the caller. */
  readonly user: string
  readonly prefix: string
  /** Only names above this one. */
  readonly after: string
  /** 0: all. */
  readonly limit: number
}

export type FilePattern =
  /** The name has it in it. */
  | { readonly kind: 'substring'; readonly text: string }
  /** The whole name is like it. */
  | { readonly kind: 'glob'; readonly text: string }

export interface SearchFilesRequest {
  /** Empty: the caller. */
  readonly user: string
  readonly isOfAll: boolean
  readonly pattern: FilePattern
  /** As `next` said; empty: from the start. */
  readonly after: string
  /** 0: all. */
  readonly limit: number
}

export interface StoredFiles {
  readonly files: readonly StoredFile[]
  /** Empty: nothing follows, or more pieces do. */
  readonly next: string
}

/** One message of an upload. */
export type StorePart =
  | { readonly head: NewFile }
  | { readonly data: Uint8Array }
  /** Of all data, 32 bytes. */
  | { readonly sha256: Uint8Array }

export type DownloadPart = { readonly file: StoredFile } | { readonly data: Uint8Array }
