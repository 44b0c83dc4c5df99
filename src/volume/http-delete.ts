import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FileId } from '../base/file-id.ts'
import { isStoreError, StoreError } from '../base/store-error.ts'
import { KIB } from '../base/units.ts'
import { type ChunkManifest, needlesOfManifest } from '../format/chunk-manifest.ts'
import { HTTP_STATUS, sendError, sendJson } from '../net/http-reply.ts'
import type { DeleteAnswer } from '../net/volume-api.ts'
import { mapBounded } from '../runtime/map-bounded.ts'
import { ReadBuffer } from '../storage/read-buffer.ts'
import type { VolumeHttpConfig, VolumeHttpParts } from './http-context.ts'
import { readManifest } from './http-manifest.ts'
import { type FileSource, goodSource } from './http-source.ts'
import { parseFileTarget, tokenOf } from './http-target.ts'

const READ_BUFFER_BYTES = 68 * KIB
const CHUNK_TOKEN_S = 60
/** Enough to keep a few servers busy. */
const CHUNKS_AT_ONCE = 8
const CHUNK_KEPT_STATUS = 409

/** DELETE of files; of a large one, its chunks first, so that none is left without a manifest. */
export class FileDeletes {
  readonly #parts: VolumeHttpParts
  readonly #config: VolumeHttpConfig
  readonly #buffer = new ReadBuffer(READ_BUFFER_BYTES)

  constructor(parts: VolumeHttpParts, config: VolumeHttpConfig) {
    this.#parts = parts
    this.#config = config
  }

  async serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const { fileId, query } = parseFileTarget(req.url ?? '')
    const { access, signal } = this.#parts
    const isReplica = query.get('type') === 'replicate'
    if (isReplica && this.#parts.verifyReplica?.(req) !== true) {
      throw new StoreError('UNAUTHENTICATED', 'only servers of the cluster send copies')
    }
    const writeToken = tokenOf(req, query)
    if (!isReplica) this.#authorize(writeToken, fileId)
    const manifest = isReplica ? undefined : await this.#findManifest(res, fileId)
    if (manifest === 'absent') return
    if (manifest !== undefined && !(await this.#deleteChunks(res, manifest))) return
    const answer = await access.delete({ fileId, writeToken, isReplica }, signal)
    if (!answer.wasLive) replyAbsent(res)
    else sendJson(res, 202, { size: manifest?.sizeBytes ?? answer.freedBytes })
  }

  /** 'absent': the client has its answer already. */
  async #findManifest(
    res: ServerResponse,
    fileId: FileId,
  ): Promise<ChunkManifest | 'absent' | undefined> {
    const { signal } = this.#parts
    try {
      await using source = await this.#open(fileId)
      if (source.metadata.isChunkManifest !== true) return undefined
      return await readManifest(source, signal)
    } catch (error) {
      if (isStoreError(error, 'NEEDLE_NOT_FOUND')) {
        replyAbsent(res)
        return 'absent'
      }
      // What cannot be read can still be deleted.
      if (isStoreError(error, 'NEEDLE_CORRUPT', 'MANIFEST_CORRUPT')) return undefined
      throw error
    }
  }

  /** From another copy if the one here is bad: what it names must not be left behind. */
  #open(fileId: FileId): Promise<FileSource> {
    const { access, signal } = this.#parts
    const request = { fileId, readDeleted: false, readToken: '', isForwarded: false }
    return goodSource(access, request, this.#buffer, signal)
  }

  /** False: one could not be deleted. The client knows, and the manifest is kept for a retry. */
  async #deleteChunks(res: ServerResponse, manifest: ChunkManifest): Promise<boolean> {
    const { logger, signal } = this.#parts
    const ids = needlesOfManifest(manifest)
    try {
      await mapBounded(ids, CHUNKS_AT_ONCE, (id) => this.#deleteChunk(id, signal), signal)
      return true
    } catch (error) {
      if (!isStoreError(error)) throw error
      const why = new StoreError(error.code, `a chunk of the file is not deleted: ${error.message}`)
      // 404 would say that the file is gone.
      const status = Math.max(HTTP_STATUS[error.code], CHUNK_KEPT_STATUS)
      sendError(res, why, { logger, status })
      return false
    }
  }

  #deleteChunk(fileId: FileId, signal: AbortSignal): Promise<DeleteAnswer> {
    const { access, deleteChunk, tokens } = this.#parts
    if (deleteChunk !== undefined) return deleteChunk(fileId, signal)
    const needsToken = this.#config.needsWriteToken === true
    const writeToken = needsToken ? (tokens?.mintWrite(fileId, CHUNK_TOKEN_S) ?? '') : ''
    return access.delete({ fileId, writeToken, isReplica: false }, signal)
  }

  /** Before any chunk is gone. @throws {StoreError} TOKEN_INVALID. */
  #authorize(token: string, fileId: FileId): void {
    if (this.#config.needsWriteToken !== true) return
    const { tokens } = this.#parts
    if (tokens === undefined) throw new StoreError('TOKEN_INVALID', 'no token can be checked')
    tokens.verifyWrite(token, fileId)
  }
}

function replyAbsent(res: ServerResponse): void {
  const code = 'NEEDLE_NOT_FOUND'
  sendJson(res, HTTP_STATUS[code], { size: 0, error: 'there is no such file', code })
}
