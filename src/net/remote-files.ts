import { createHash } from 'node:crypto'
import { LIMITS } from '../base/limits.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Random } from '../runtime/random.ts'
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
import { FILES_AUTH_HEADER, signUserCall, type UserCredentials } from './files-auth.ts'
import { GrpcChannel } from './grpc-channel.ts'
import { FILES_PROTO } from './proto-loading.ts'
import type { TlsKeys } from './tls.ts'
import {
  downloadPartFromWire,
  downloadToWire,
  fileRefToWire,
  listFilesToWire,
  searchFilesToWire,
  storedFileFromWire,
  storedFilesFromWire,
  storePartToWire,
  type WireDownloadPart,
  type WireStoredFile,
  type WireStoredFiles,
  type WireStorePart,
} from './wire-files.ts'
import { fromPeer } from './wire-values.ts'

export interface RemoteFilesConfig {
  /** host:port of the gRPC of a gateway. */
  readonly address: string
  readonly credentials: UserCredentials
  readonly timeoutMs: number
  readonly tls?: TlsKeys | undefined
}

/** What is stored, and what is known of it. */
export interface FileContent extends NewFile {
  readonly data: AsyncIterable<Uint8Array>
  /** Asked for behind the last byte: the SHA-256 of all. Undefined: it is found out on the way. */
  readonly sha256?: (() => Uint8Array) | undefined
}

/** Small enough that what waits in a connection does not take much memory. */
const PIECE_BYTES = LIMITS.streamPiece.value / 4

/**
 * The files of a user at a gateway, over gRPC. Nothing is tried twice: of an upload whose answer
 * was lost only its caller can tell whether to send it again.
 *
 * Every method throws UNAUTHENTICATED, ACCESS_DENIED, NAME_INVALID, UNAVAILABLE, TIMEOUT, CANCELLED
 * and PEER_FAILED.
 */
export class RemoteFiles implements AsyncDisposable {
  readonly #channel: GrpcChannel

  /** Connects when it is first used. @throws {StoreError} CONFIG_INVALID: `tls`. */
  constructor(
    parts: { readonly clock: Clock; readonly random: Random },
    { address, credentials, timeoutMs, tls }: RemoteFilesConfig,
  ) {
    const proof = (path: string) =>
      [FILES_AUTH_HEADER, signUserCall(parts, credentials, path)] as const
    const options = { address, service: FILES_PROTO, timeoutMs, tls, proof }
    this.#channel = new GrpcChannel(parts, options)
  }

  /**
   * @throws {StoreError} TARGET_EXISTS: there is one, and `isOverwrite` is not set.
   * CHECKSUM_MISMATCH. REQUEST_INVALID: there are more or fewer bytes than `sizeBytes`. What `data`
   * throws; then nothing is stored.
   */
  upload(content: FileContent, signal: AbortSignal): Promise<StoredFile> {
    return this.#store('Upload', content, signal)
  }

  /** @throws {StoreError} OBJECT_NOT_FOUND; otherwise as `upload`. */
  update(content: FileContent, signal: AbortSignal): Promise<StoredFile> {
    return this.#store('Update', content, signal)
  }

  /**
   * The file, then its bytes.
   *
   * @throws {StoreError} OBJECT_NOT_FOUND, RANGE_INVALID.
   */
  async *download(request: DownloadRequest, signal: AbortSignal): AsyncGenerator<DownloadPart> {
    const parts = this.#channel.serverStream<WireDownloadPart>(
      'Download',
      downloadToWire(request),
      signal,
    )
    for await (const part of parts) yield this.#convert(part, downloadPartFromWire)
  }

  /** @throws {StoreError} OBJECT_NOT_FOUND */
  async delete(ref: StoredFileRef, signal: AbortSignal): Promise<void> {
    await this.#channel.unary('Delete', fileRefToWire(ref), signal)
  }

  async *list(request: ListFilesRequest, signal: AbortSignal): AsyncGenerator<StoredFiles> {
    const wire = listFilesToWire(request)
    const pieces = this.#channel.serverStream<WireStoredFiles>('List', wire, signal)
    for await (const piece of pieces) yield this.#convert(piece, storedFilesFromWire)
  }

  /** @throws {StoreError} REQUEST_INVALID: the pattern. */
  async *search(request: SearchFilesRequest, signal: AbortSignal): AsyncGenerator<StoredFiles> {
    const wire = searchFilesToWire(request)
    const pieces = this.#channel.serverStream<WireStoredFiles>('Search', wire, signal)
    for await (const piece of pieces) yield this.#convert(piece, storedFilesFromWire)
  }

  /** @throws {StoreError} OBJECT_NOT_FOUND */
  async info(ref: StoredFileRef, signal: AbortSignal): Promise<StoredFile> {
    const wire = await this.#channel.unary<WireStoredFile>('Info', fileRefToWire(ref), signal)
    return this.#convert(wire, storedFileFromWire)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#channel[Symbol.asyncDispose]()
  }

  async #store(
    method: 'Upload' | 'Update',
    content: FileContent,
    signal: AbortSignal,
  ): Promise<StoredFile> {
    const parts = storeParts(content)
    const wire = await this.#channel.clientStream<WireStoredFile>(method, parts, signal)
    return this.#convert(wire, storedFileFromWire)
  }

  #convert<Wire, Value>(wire: Wire, convert: (wire: Wire) => Value): Value {
    return fromPeer(this.#channel.address, wire, convert)
  }
}

async function* storeParts(content: FileContent): AsyncGenerator<WireStorePart> {
  const { data, sha256, ...head } = content
  const part = (message: StorePart) => storePartToWire(message)
  const hash = sha256 === undefined ? createHash('sha256') : undefined
  yield part({ head })
  for await (const bytes of data) {
    hash?.update(bytes)
    for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
      yield part({ data: bytes.subarray(at, at + PIECE_BYTES) })
    }
  }
  const sum = sha256?.() ?? hash?.digest()
  if (sum !== undefined) yield part({ sha256: sum })
}
