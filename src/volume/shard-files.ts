import { crc32c } from '../base/crc32c.ts'
import { compareNeedleIds, type NeedleId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import { decodeEcJournal, encodeEcJournal } from '../format/ec-journal.ts'
import { decodeShardChecksums } from '../format/shard-checksums.ts'
import type { ShardApi, ShardFileExtension, ShardFilePiece } from '../net/shard-api.ts'
import type { ShardRunName } from '../storage/shard-paths.ts'
import { decodeShardRun } from '../storage/shard-run.ts'
import type { ShardSet } from '../storage/shard-set.ts'
import type { ShardSetFiles } from '../storage/shard-set-files.ts'

const BYTES_MAX: Readonly<Record<ShardFileExtension, number>> = {
  // A row takes 16 bytes, a record at least 24.
  ecx: LIMITS.volumeSizeMax.value,
  ecj: LIMITS.volumeSizeMax.value,
  vif: LIMITS.volumeInfoMax.value,
  ecsum: LIMITS.sidecarMax.value,
}

/** What sets of one run have beside their shards, in pieces. */
export async function* readSetFiles(
  sets: readonly [ShardSet, ...ShardSet[]],
): AsyncGenerator<ShardFilePiece, void, undefined> {
  const files = {
    ...(await sets[0].encodedFiles()),
    ecj: encodeEcJournal(deletedIn(sets)),
  }
  const length = LIMITS.streamPiece.value
  for (const extension of ['ecx', 'ecj', 'vif', 'ecsum'] as const) {
    const bytes = files[extension]
    for (let at = 0; at < bytes.length; at += length) {
      yield { extension, offsetBytes: at, data: bytes.subarray(at, at + length) }
    }
  }
}

/**
 * What another server has beside the shards of a run.
 *
 * @throws {StoreError} VOLUME_NOT_FOUND: it has none; what the peer throws. PEER_FAILED: a file
 * comes in pieces that do not follow each other, or is too long. INDEX_CORRUPT, SIDECAR_CORRUPT,
 * VOLUME_INFO_CORRUPT: it is bad there.
 */
export async function fetchSetFiles(
  peer: ShardApi,
  name: ShardRunName,
  signal: AbortSignal,
): Promise<ShardSetFiles> {
  const pieces: Record<ShardFileExtension, Buffer[]> = { ecx: [], ecj: [], vif: [], ecsum: [] }
  const bytes = { ecx: 0, ecj: 0, vif: 0, ecsum: 0 }
  const { volumeId, runId } = name
  for await (const piece of peer.readShardFiles({ volumeId, runId }, signal)) {
    const { extension, offsetBytes, data } = piece
    const had = bytes[extension]
    if (offsetBytes !== had || had + data.length > BYTES_MAX[extension]) {
      const why = `.${extension} goes on at byte ${offsetBytes}, ${had} had come`
      throw new StoreError('PEER_FAILED', why)
    }
    // The piece may be a view on a message many times its size.
    pieces[extension].push(Buffer.from(data))
    bytes[extension] += data.length
  }
  const run = decodeShardRun(name, Buffer.concat(pieces.vif))
  const ecx = Buffer.concat(pieces.ecx)
  const checksums = decodeShardChecksums(Buffer.concat(pieces.ecsum))
  if (run.runId !== runId || checksums.runId !== runId) {
    throw new StoreError('PEER_FAILED', `these are files of run ${run.runId}, not of ${runId}`)
  }
  if (crc32c(ecx) !== run.indexCrc) {
    throw new StoreError('INDEX_CORRUPT', `.ecx of run ${runId} does not match its checksum`)
  }
  return { run, ecx, checksums, deleted: decodeEcJournal(Buffer.concat(pieces.ecj)).ids }
}

/** As `fetchSetFiles`, of sets that are here. */
export function filesOf(sets: readonly [ShardSet, ...ShardSet[]]): ShardSetFiles {
  const [{ run, index, checksums }] = sets
  return { run, ecx: index.rows, checksums, deleted: deletedIn(sets) }
}

/** What any of the journals has, ids ascending. */
export function deletedIn(sets: readonly ShardSet[]): readonly NeedleId[] {
  const [only] = sets
  if (only !== undefined && sets.length === 1) return only.journal()
  const ids = sets.flatMap((set) => set.journal()).sort(compareNeedleIds)
  return ids.filter((id, at) => {
    const before = ids[at - 1]
    return before === undefined || compareNeedleIds(before, id) !== 0
  })
}
