import { assert } from '../base/assert.ts'
import { crc32c } from '../base/crc32c.ts'
import { type ErasureScheme, shardCountOf } from '../base/erasure-scheme.ts'
import { formatNeedleId, type VolumeId } from '../base/ids.ts'
import { StoreError } from '../base/store-error.ts'
import { MIB } from '../base/units.ts'
import { EcIndex } from '../erasure/ec-index.ts'
import { encodeShards } from '../erasure/encode-shards.ts'
import { RONOMON_CODEC_ID, RONOMON_UNIT_BYTES } from '../erasure/ronomon-codec.ts'
import { SHARD_BLOCK_MIN_BYTES, type ShardChecksum } from '../format/shard-checksums.ts'
import { cancelledError } from '../runtime/abort.ts'
import { DisposeStack } from '../runtime/dispose-stack.ts'
import { yieldTurn } from '../runtime/yield-turn.ts'
import type { CodingSource } from './coding-source.ts'
import { ScatteredChecksums } from './scattered-checksums.ts'
import { parseRunId, shardPath } from './shard-paths.ts'
import { encodedAtSOf, geometryOf, openCodec, type ShardRun, whyImpossible } from './shard-run.ts'
import type { ShardSet } from './shard-set.ts'
import type { ShardSetDraft } from './shard-shelf.ts'
import { ShardWriter, SyncLine } from './shard-writer.ts'
import type { Store } from './store.ts'
import type { Volume } from './volume.ts'
import type { VolumeExtent } from './volume-options.ts'

const RECORDS_PER_TURN = 512
/** `.ecsum` and `.vif`, and what the file system itself takes. */
const OVERHEAD_BYTES = MIB

/** The run that is to be made. */
export interface EncodeRun extends ErasureScheme {
  /** Decimal digits, never used before. */
  readonly runId: string
  readonly largeBlockBytes: number
  readonly smallBlockBytes: number
  /** Less than usual for tests only. */
  readonly codecUnitBytes?: number | undefined
}

export interface EncodeVolumeOptions {
  readonly run: EncodeRun
  /** Awaited after each strip of some MiB. */
  readonly rest?: (() => Promise<void>) | undefined
  readonly onProgress?: ((doneBytes: number, totalBytes: number) => void) | undefined
  readonly signal: AbortSignal
}

export interface EncodedVolume {
  /** Together they have all shards. */
  readonly sets: readonly ShardSet[]
  /** How far the volume went that was coded. */
  readonly extent: VolumeExtent
}

/**
 * Makes all shards of a volume that is here, of what it holds now, on the disk with the most room.
 * They are whole and durable when it returns; if it fails, nothing of them is there. What is read
 * of the volume is compared with the checksums it had when it was written, all of it. If all shards
 * of the run are here already, nothing is done.
 *
 * @throws {StoreError} VOLUME_NOT_FOUND; VOLUME_DAMAGED, VOLUME_FAILED: the volume is bad, or what
 * was read of it is not what was written. VERSION_UNSUPPORTED: its index has wide rows. DISK_FULL,
 * said before anything is written when there is no room. VOLUME_EXISTS: some shards of the run are
 * here. CODEC_UNAVAILABLE, REQUEST_INVALID: such shards cannot be made. DISK_FAILED, CANCELLED.
 */
export async function encodeVolumeHere(
  store: Store,
  volumeId: VolumeId,
  options: EncodeVolumeOptions,
): Promise<EncodedVolume> {
  const runId = parseRunId(options.run.runId)
  const made = store.shardSet(volumeId, runId)
  const [first] = made
  if (first !== undefined && isWhole(made)) return { sets: made, extent: extentOf(first.run) }
  const { collection, volume } = store.get(volumeId)
  checkSound(volume)
  using source = await volume.codingSource()
  const run = describeRun({ collection, volumeId }, volume, source, options.run)
  const geometry = geometryOf(run)
  const sizeBytes = geometry.shardBytes * geometry.shardCount + source.rows.length + OVERHEAD_BYTES
  if (volume.recovery.corruptNeedles > 0) await checkNeedles(source, options.signal)
  const set = await store.fillShardSet(run, sizeBytes, async (draft) => {
    const shards = await writeShards(draft, source, run, options)
    const checksums = { blockBytes: SHARD_BLOCK_MIN_BYTES, runId, shards }
    return { run, ecx: source.rows, deleted: [], checksums }
  })
  return { sets: [set], extent: extentOf(run) }
}

function isWhole(sets: readonly ShardSet[]): boolean {
  const shards = new Set(sets.flatMap((set) => set.shards))
  return sets.some(({ run }) => shards.size === shardCountOf(run))
}

function extentOf({ datBytes, compactionRevision }: ShardRun): VolumeExtent {
  return { datBytes, compactionRevision }
}

function checkSound(volume: Volume): void {
  if (!volume.isBad) return
  const { reason = '' } = volume.stats
  const code = volume.state === 'failed' ? 'VOLUME_FAILED' : 'VOLUME_DAMAGED'
  throw new StoreError(code, `${volume.paths.base} cannot be coded: ${reason}`)
}

/** @throws {StoreError} REQUEST_INVALID, CODEC_UNAVAILABLE. */
function describeRun(
  name: Pick<ShardRun, 'collection' | 'volumeId'>,
  volume: Volume,
  { snapshot, rows }: CodingSource,
  wanted: EncodeRun,
): ShardRun {
  const { runId, dataShards, parityShards, largeBlockBytes, smallBlockBytes } = wanted
  const run: ShardRun = {
    ...name,
    dataShards,
    parityShards,
    runId,
    replication: volume.replicaPlacement,
    version: snapshot.version,
    datBytes: snapshot.datBytes,
    compactionRevision: snapshot.compactionRevision,
    largeBlockBytes,
    smallBlockBytes,
    codec: RONOMON_CODEC_ID,
    codecUnitBytes: wanted.codecUnitBytes ?? RONOMON_UNIT_BYTES,
    encodedAtS: encodedAtSOf(runId),
    indexCrc: crc32c(rows),
  }
  const problem = whyImpossible(run)
  if (problem !== undefined) throw new StoreError('REQUEST_INVALID', `there cannot be ${problem}`)
  openCodec(run)
  return run
}

async function writeShards(
  draft: ShardSetDraft,
  source: CodingSource,
  run: ShardRun,
  options: EncodeVolumeOptions,
): Promise<readonly ShardChecksum[]> {
  const { rest, onProgress, signal } = options
  const geometry = geometryOf(run)
  await using open = new DisposeStack()
  const parts = { ...draft, syncs: new SyncLine() }
  const writers: ShardWriter[] = []
  for (let shard = 0; shard < geometry.shardCount; shard++) {
    writers.push(open.use(await ShardWriter.create(parts, shardPath(draft.paths, shard))))
  }
  const known = new ScatteredChecksums(source.blocks)
  let doneBytes = 0
  const shards = await encodeShards(
    { dat: source.snapshot, geometry, codec: openCodec(run) },
    writers,
    {
      blockBytes: SHARD_BLOCK_MIN_BYTES,
      rest,
      onRead: (bytes, datOffset) => known.add(bytes, datOffset),
      onProgress: (datBytes) => {
        doneBytes += datBytes
        onProgress?.(doneBytes, run.datBytes)
      },
    },
    signal,
  )
  assert(known.isComplete, 'every byte of the volume was compared')
  for (const writer of writers) await writer.finish()
  return shards
}

/**
 * The checksums of blocks were made of what was there when the volume was opened: a needle that was
 * corrupt by then has to be found by its own.
 */
async function checkNeedles({ snapshot, rows }: CodingSource, signal: AbortSignal): Promise<void> {
  const index = new EcIndex(rows, [])
  const scanner = snapshot.scan()
  let count = 0
  for (let record = await scanner.next(); record !== undefined; record = await scanner.next()) {
    if (signal.aborted) throw cancelledError(signal, 'while checking a volume')
    if (++count % RECORDS_PER_TURN === 0) await yieldTurn()
    const { isIntact, header, offsetBytes } = record
    if (isIntact || index.find(header.id)?.offsetBytes !== offsetBytes) continue
    const why = `needle ${formatNeedleId(header.id)} at byte ${offsetBytes} is corrupt`
    throw new StoreError('VOLUME_DAMAGED', why)
  }
  if (scanner.end === 'end') return
  throw new StoreError('VOLUME_DAMAGED', `no readable record at byte ${scanner.positionBytes}`)
}
