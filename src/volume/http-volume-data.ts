import type { IncomingMessage, ServerResponse } from 'node:http'
import { parseVolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { quote, StoreError } from '../base/store-error.ts'
import { sendBytes } from '../net/http-reply.ts'
import type { VolumeExtent } from '../net/volume-api.ts'
import { BufferShelf } from '../runtime/buffer-shelf.ts'
import type { DiskFile } from '../runtime/disk.ts'
import { readAhead } from '../runtime/read-ahead.ts'
import { readSuperBlock } from '../storage/recovery.ts'
import type { VolumeHttpParts } from './http-context.ts'
import { sendPieces } from './http-send.ts'
import { splitTarget } from './http-target.ts'
import { checkShardRange } from './shard-sources.ts'

const PIECES_KEPT = 8

/**
 * Bytes of files, for servers that copy them: as fast as the disk gives them, over HTTP. The
 * requests are signed with the cluster secret.
 */
export class VolumeData {
  readonly #parts: VolumeHttpParts
  readonly #shelf: BufferShelf

  constructor(parts: VolumeHttpParts) {
    this.#parts = parts
    const sizeBytes = LIMITS.streamPiece.value
    this.#shelf = new BufferShelf(parts, { sizeBytes, keptMax: PIECES_KEPT })
  }

  /**
   * `GET /vol/data?volume=V&revision=R&bytes=N`: the first N bytes of the `.dat` of a volume. They
   * never change while it has that compaction revision, so no snapshot has to be kept.
   *
   * @throws {StoreError} UNAUTHENTICATED, REQUEST_INVALID, VOLUME_NOT_FOUND; VOLUME_CHANGED: it has
   * another revision, or is shorter.
   */
  async serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const { openVolumeData } = this.#parts
    const query = this.#authorize(req)
    if (openVolumeData === undefined) throw unsigned()
    const volumeId = parseVolumeId(query.get('volume') ?? '')
    const compactionRevision = wholeNumber(query, 'revision')
    const datBytes = wholeNumber(query, 'bytes')
    await using dat = await openVolumeData(volumeId)
    await checkExtent(dat, { compactionRevision, datBytes })
    await this.#send(res, dat, { fromBytes: 0, toBytes: datBytes })
  }

  /**
   * `GET /vol/shard?volume=V&run=R&shard=S&offset=O&bytes=N`: N bytes of a shard from byte O on.
   * They never change while the shard is there. What is read is not verified. With
   * `&slices=C&stride=D` it is N bytes from each of C places that are D bytes apart, in memory at
   * once.
   *
   * @throws {StoreError} UNAUTHENTICATED, REQUEST_INVALID, VOLUME_NOT_FOUND, SHARD_NOT_FOUND;
   * RANGE_INVALID: none, or not all of them are within the shard.
   */
  async serveShard(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const { openShard, readShard } = this.#parts
    const query = this.#authorize(req)
    if (openShard === undefined || readShard === undefined) throw unsigned()
    const volumeId = parseVolumeId(query.get('volume') ?? '')
    const runId = query.get('run') ?? ''
    const shard = wholeNumber(query, 'shard')
    const offsetBytes = wholeNumber(query, 'offset')
    const lengthBytes = wholeNumber(query, 'bytes')
    const place = { volumeId, runId, shard }
    if (query.has('slices')) {
      const sliceCount = wholeNumber(query, 'slices')
      const strideBytes = wholeNumber(query, 'stride')
      const slices = { offsetBytes, lengthBytes, sliceCount, strideBytes }
      const bytes = await readShard({ ...place, ...slices })
      const headers = { 'Content-Type': 'application/octet-stream', 'Content-Length': bytes.length }
      sendBytes(res, 200, headers, bytes)
      return
    }
    await using file = await openShard(place)
    checkShardRange({ offsetBytes, lengthBytes }, await file.sizeBytes())
    const range = { fromBytes: offsetBytes, toBytes: offsetBytes + lengthBytes }
    await this.#send(res, file, range)
  }

  /** The parameters. */
  #authorize(req: IncomingMessage): URLSearchParams {
    if (this.#parts.verifyReplica?.(req) !== true) throw unsigned()
    return new URLSearchParams(splitTarget(req.url ?? '').query)
  }

  async #send(
    res: ServerResponse,
    file: DiskFile,
    range: { readonly fromBytes: number; readonly toBytes: number },
  ): Promise<void> {
    const bytes = range.toBytes - range.fromBytes
    res.writeHead(200, { 'Content-Type': 'application/octet-stream', 'Content-Length': bytes })
    if (res.req.method === 'HEAD') return void res.end()
    await sendPieces(res, readAhead(file, range, this.#shelf), bytes)
    res.end()
  }
}

function unsigned(): StoreError {
  const why = 'this needs the signature of a server of the cluster'
  return new StoreError('UNAUTHENTICATED', why)
}

async function checkExtent(dat: DiskFile, wanted: VolumeExtent): Promise<void> {
  const sizeBytes = await dat.sizeBytes()
  const { compactionRevision } = await readSuperBlock(dat, sizeBytes)
  if (compactionRevision === wanted.compactionRevision && sizeBytes >= wanted.datBytes) return
  const is = `revision ${compactionRevision} with ${sizeBytes} bytes`
  const was = `revision ${wanted.compactionRevision} with ${wanted.datBytes}`
  throw new StoreError('VOLUME_CHANGED', `it is ${is}, not ${was}`)
}

/** @throws {StoreError} REQUEST_INVALID */
function wholeNumber(query: URLSearchParams, name: string): number {
  const text = query.get(name) ?? ''
  const value = Number(text)
  if (/^\d{1,16}$/.test(text) && Number.isSafeInteger(value)) return value
  throw new StoreError('REQUEST_INVALID', `${name} is ${quote(text)}, not a whole number`)
}
