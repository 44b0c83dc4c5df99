import type { IncomingMessage, ServerResponse } from 'node:http'
import { parseVolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { quote, StoreError } from '../base/store-error.ts'
import type { VolumeExtent } from '../net/volume-api.ts'
import { BufferShelf } from '../runtime/buffer-shelf.ts'
import type { DiskFile } from '../runtime/disk.ts'
import { readAhead } from '../runtime/read-ahead.ts'
import { readSuperBlock } from '../storage/recovery.ts'
import type { VolumeHttpParts } from './http-context.ts'
import { sendPieces } from './http-send.ts'
import { splitTarget } from './http-target.ts'

const PIECES_KEPT = 8

/**
 * `GET /vol/data?volume=V&revision=R&bytes=N`: the first N bytes of the `.dat` of a volume, for a
 * server that copies it. They never change while the volume has that compaction revision, so no
 * snapshot has to be kept. The request is signed with the cluster secret.
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
   * @throws {StoreError} UNAUTHENTICATED, REQUEST_INVALID, VOLUME_NOT_FOUND; VOLUME_CHANGED: it has
   * another revision, or is shorter.
   */
  async serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const { openVolumeData, verifyReplica } = this.#parts
    if (openVolumeData === undefined || verifyReplica?.(req) !== true) {
      throw new StoreError('UNAUTHENTICATED', 'this needs the signature of a server of the cluster')
    }
    const query = new URLSearchParams(splitTarget(req.url ?? '').query)
    const volumeId = parseVolumeId(query.get('volume') ?? '')
    const compactionRevision = wholeNumber(query, 'revision')
    const datBytes = wholeNumber(query, 'bytes')
    await using dat = await openVolumeData(volumeId)
    await checkExtent(dat, { compactionRevision, datBytes })
    res.writeHead(200, { 'Content-Type': 'application/octet-stream', 'Content-Length': datBytes })
    if (req.method === 'HEAD') return void res.end()
    const pieces = readAhead(dat, { fromBytes: 0, toBytes: datBytes }, this.#shelf)
    await sendPieces(res, pieces, datBytes)
    res.end()
  }
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
