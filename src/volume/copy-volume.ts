import { crc32c } from '../base/crc32c.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import { MIB } from '../base/units.ts'
import { type ChecksumSidecar, decodeChecksumSidecar } from '../format/checksum-sidecar.ts'
import { decodeSuperBlock, superBlockBytes } from '../format/super-block.ts'
import type { VolumeExtent, VolumeFileExtension, VolumeFilePiece } from '../net/volume-api.ts'
import { cancelledError } from '../runtime/abort.ts'
import { type DiskFile, readFile, readFully, writeFully } from '../runtime/disk.ts'
import { yieldTurn } from '../runtime/yield-turn.ts'
import { BlockChecksums } from '../storage/block-checksums.ts'
import type { VolumeDraft } from '../storage/disk-location.ts'
import { RecordScanner } from '../storage/record-scanner.ts'
import type { VolumeSnapshot } from '../storage/volume-snapshot.ts'
import type { Rest } from './rest.ts'

const RECORDS_PER_TURN = 512
/** Some ten milliseconds of reading and checking. */
const BYTES_PER_SLICE = 4 * MIB
const NO_BYTES = new Uint8Array(0)
const SUPER_BLOCK_READ_BYTES = 8 + 65_535

const BYTES_MAX: Readonly<Record<VolumeFileExtension, number>> = {
  dat: LIMITS.volumeSizeMax.value,
  // A row takes 16 bytes, a record at least 24.
  idx: LIMITS.volumeSizeMax.value,
  sum: LIMITS.sidecarMax.value,
  vif: LIMITS.volumeInfoMax.value,
}

/** All files of a snapshot, in pieces, `.dat` first: its bytes, or only how far they go. */
export async function* readSnapshot(
  snapshot: VolumeSnapshot,
  isDatApart: boolean,
  signal: AbortSignal,
): AsyncGenerator<VolumeFilePiece, void, undefined> {
  const { datBytes, compactionRevision, idxBytes = 0, sidecar, info } = snapshot
  const length = LIMITS.streamPiece.value
  if (isDatApart) {
    const extent = { datBytes, compactionRevision }
    yield { extension: 'dat', offsetBytes: 0, data: NO_BYTES, extent }
  }
  for (let at = 0; !isDatApart && at < datBytes; at += length) {
    if (signal.aborted) throw cancelledError(signal, 'while reading the files of a volume')
    const data = await snapshot.readDat(length, at)
    yield { extension: 'dat', offsetBytes: at, data }
  }
  for (let at = 0; at < idxBytes; at += length) {
    if (signal.aborted) throw cancelledError(signal, 'while reading the files of a volume')
    const data = await snapshot.readIdx(length, at)
    yield { extension: 'idx', offsetBytes: at, data }
  }
  if (sidecar !== undefined) yield* piecesOf('sum', sidecar)
  if (info !== undefined) yield* piecesOf('vif', info)
}

function* piecesOf(extension: VolumeFileExtension, bytes: Buffer): Generator<VolumeFilePiece> {
  const length = LIMITS.streamPiece.value
  for (let at = 0; at < bytes.length; at += length) {
    yield { extension, offsetBytes: at, data: bytes.subarray(at, at + length) }
  }
}

export interface DraftWork {
  readonly rest: Rest
  readonly onWritten: (datBytes: number) => void
  readonly signal: AbortSignal
}

/**
 * Writes the files of a volume as they arrive, with a rest after each piece, reads them back and
 * makes their bytes durable. Returns what `verifyDraft` does.
 *
 * @throws {StoreError} PEER_FAILED: a file comes in pieces that do not follow each other, or is too
 * long. DISK_FULL, DISK_FAILED; whatever `pieces` throws, and `verifyDraft`.
 */
export async function fillDraft(
  draft: VolumeDraft,
  pieces: AsyncIterable<VolumeFilePiece>,
  { rest, onWritten, signal }: DraftWork,
): Promise<VolumeExtent> {
  await using files = new DraftFiles(draft)
  let datBytes = 0
  for await (const piece of pieces) {
    await files.write(piece)
    // The other server has as much work with it, some of it while this one rests.
    await rest.sinceLast(2)
    if (piece.extension !== 'dat') continue
    datBytes += piece.data.length
    onWritten(datBytes)
  }
  // The disk is busy with one of them, the processor with the other.
  const syncing = files.sync()
  syncing.catch(() => 'it is awaited in any case')
  try {
    return await verifyDraft(draft, rest, signal)
  } finally {
    await syncing
  }
}

class DraftFiles implements AsyncDisposable {
  readonly #draft: VolumeDraft
  readonly #files = new Map<VolumeFileExtension, { file: DiskFile; bytes: number }>()

  constructor(draft: VolumeDraft) {
    this.#draft = draft
  }

  async write({ extension, offsetBytes, data }: VolumeFilePiece): Promise<void> {
    const { disk, paths, space } = this.#draft
    let open = this.#files.get(extension)
    if (open === undefined) {
      open = { file: await disk.open(paths[extension], 'create-new'), bytes: 0 }
      this.#files.set(extension, open)
    }
    if (offsetBytes !== open.bytes || open.bytes + data.length > BYTES_MAX[extension]) {
      const why = `.${extension} goes on at byte ${offsetBytes}, ${open.bytes} had come`
      throw new StoreError('PEER_FAILED', why)
    }
    const refusal = space.refusePut(data.length)
    if (refusal !== undefined) throw refusal
    await writeFully(open.file, [data], open.bytes)
    open.bytes += data.length
    space.onAppended(data.length)
  }

  async sync(): Promise<void> {
    if (!this.#files.has('dat')) throw new StoreError('PEER_FAILED', 'there came no .dat')
    for (const { file } of this.#files.values()) await file.datasync()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { file } of this.#files.values()) await file.close()
  }
}

/**
 * Reads a copy back: every record must match its checksum, and with a `.sum` every byte of `.dat`
 * and `.idx` what the source had. Returns how far the source went when it was copied.
 *
 * @throws {StoreError} PEER_FAILED: it does not. SUPER_BLOCK_CORRUPT, SIDECAR_CORRUPT, DISK_FAILED,
 * CANCELLED.
 */
async function verifyDraft(
  draft: VolumeDraft,
  rest: Rest,
  signal: AbortSignal,
): Promise<VolumeExtent> {
  const { disk, paths } = draft
  const hasSidecar = (await disk.stat(paths.sum)) !== undefined
  const sidecar = hasSidecar
    ? decodeChecksumSidecar(await readFile(disk, paths.sum, LIMITS.sidecarMax.value))
    : undefined
  const checksums = new BlockChecksums(sidecar?.blockBytes)
  await using dat = await disk.open(paths.dat, 'read')
  const compactionRevision = await verifyRecords(dat, checksums, rest, signal)
  const extent = { datBytes: await dat.sizeBytes(), compactionRevision }
  if (sidecar === undefined) return extent
  const isWhole =
    checksums.coveredBytes === sidecar.watermarkBytes &&
    Buffer.from(checksums.toArray().buffer).equals(Buffer.from(sidecar.blockCrcs.buffer))
  if (!isWhole) throw unlike('.dat is not what its .sum says')
  await verifyIndex(draft, sidecar, signal)
  return extent
}

/** Returns the compaction revision. */
async function verifyRecords(
  dat: DiskFile,
  checksums: BlockChecksums,
  rest: Rest,
  signal: AbortSignal,
): Promise<number> {
  const toBytes = await dat.sizeBytes()
  const head = await readFully(dat, Math.min(toBytes, SUPER_BLOCK_READ_BYTES), 0)
  const superBlock = decodeSuperBlock(head)
  const fromBytes = superBlockBytes(superBlock)
  checksums.extend(head.subarray(0, fromBytes))
  const { version } = superBlock
  const scanner = new RecordScanner(dat, { version, fromBytes, toBytes, checksums })
  let count = 0
  let restedAtBytes = fromBytes
  for (let record = await scanner.next(); record !== undefined; record = await scanner.next()) {
    if (!record.isIntact) {
      throw unlike(`the record at byte ${record.offsetBytes} does not match its checksum`)
    }
    if (signal.aborted) throw cancelledError(signal, 'while checking a copy')
    if (++count % RECORDS_PER_TURN === 0) await yieldTurn()
    if (scanner.positionBytes - restedAtBytes < BYTES_PER_SLICE) continue
    restedAtBytes = scanner.positionBytes
    await rest.sinceLast()
  }
  if (scanner.end !== 'end') throw unlike(`no readable record at byte ${scanner.positionBytes}`)
  return superBlock.compactionRevision
}

async function verifyIndex(
  { disk, paths }: VolumeDraft,
  sidecar: ChecksumSidecar,
  signal: AbortSignal,
): Promise<void> {
  let crc = 0
  let bytes = 0
  if ((await disk.stat(paths.idx)) !== undefined) {
    await using idx = await disk.open(paths.idx, 'read')
    for (;;) {
      const piece = await readFully(idx, LIMITS.streamPiece.value, bytes)
      if (piece.length === 0) break
      crc = crc32c(piece, crc)
      bytes += piece.length
      if (signal.aborted) throw cancelledError(signal, 'while checking a copy')
    }
  }
  if (bytes !== sidecar.idxBytes || crc !== sidecar.idxCrc) {
    throw unlike('.idx is not what its .sum says')
  }
}

function unlike(why: string): StoreError {
  return new StoreError('PEER_FAILED', `${why}; the copy is discarded`)
}
