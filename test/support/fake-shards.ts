import { type NeedleId, needleId, type VolumeId, volumeId } from '../../src/base/ids.ts'
import { LIMITS } from '../../src/base/limits.ts'
import { StoreError } from '../../src/base/store-error.ts'
import type {
  CopyShardsCommand,
  DecodeProgress,
  DecodeVolumeCommand,
  EncodeProgress,
  EncodeVolumeCommand,
  HealShardsCommand,
  ReadShardRequest,
  ReadShardSlicesRequest,
  RebuildShardsCommand,
  ShardApi,
  ShardCommand,
  ShardFilePiece,
  ShardProgress,
  VerifyProgress,
  VerifyShardsCommand,
} from '../../src/net/shard-api.ts'
import type { ShardReport } from '../../src/net/stripe-facts.ts'
import type { VolumeExtent } from '../../src/net/volume-api.ts'

/** The shards of a server that has one run, and does what a test tells it first. */
export class FakeShards implements ShardApi {
  readonly calls: string[] = []
  /** What was asked, in the order of `calls`. */
  readonly requests: unknown[] = []
  /** Awaited before every call, and before every piece that is read. */
  beforeCall: (name: string, signal: AbortSignal) => Promise<void> = async () => {}
  /** Of shard 0; other ones have nothing. */
  bytes: Uint8Array = Buffer.alloc(0)
  pieceBytes = 1000
  journal: readonly (readonly NeedleId[])[] = [[needleId(0, 1), needleId(2 ** 32 - 1, 2)], []]
  files: readonly ShardFilePiece[] = FILES

  async *encodeVolume(
    command: EncodeVolumeCommand,
    signal: AbortSignal,
  ): AsyncGenerator<EncodeProgress> {
    await this.#begin('encodeVolume', command, signal)
    yield { ...HALF, sourceExtent: undefined, directoryId: '' }
    yield { ...WHOLE, sourceExtent: EXTENT, directoryId: 'd' }
  }

  async *copyShards(
    command: CopyShardsCommand,
    signal: AbortSignal,
  ): AsyncGenerator<ShardProgress> {
    await this.#begin('copyShards', command, signal)
    yield HALF
    throw new StoreError('SHARD_CORRUPT', 'block 3 of shard 5')
  }

  async *rebuildShards(
    command: RebuildShardsCommand,
    signal: AbortSignal,
  ): AsyncGenerator<ShardProgress> {
    await this.#begin('rebuildShards', command, signal)
    yield HALF
    yield WHOLE
  }

  async *decodeVolume(
    command: DecodeVolumeCommand,
    signal: AbortSignal,
  ): AsyncGenerator<DecodeProgress> {
    await this.#begin('decodeVolume', command, signal)
    yield { ...HALF, directoryId: '' }
    yield { ...WHOLE, directoryId: 'd' }
  }

  async *verifyShards(
    command: VerifyShardsCommand,
    signal: AbortSignal,
  ): AsyncGenerator<VerifyProgress> {
    await this.#begin('verifyShards', command, signal)
    const badBlocks = [
      { shard: 0, block: 2 ** 32 - 1 },
      { shard: 29, block: 0 },
    ]
    yield { ...HALF, badBlocks }
    yield { ...WHOLE, badBlocks: [] }
  }

  async healShards(command: HealShardsCommand, signal: AbortSignal): Promise<void> {
    await this.#begin('healShards', command, signal)
  }

  async deleteShards(
    command: ShardCommand & { readonly shards: readonly number[] },
    signal: AbortSignal,
  ): Promise<void> {
    await this.#begin('deleteShards', command, signal)
  }

  async journalDeletes(
    command: ShardCommand & { readonly needleIds: readonly NeedleId[] },
    signal: AbortSignal,
  ): Promise<void> {
    await this.#begin('journalDeletes', command, signal)
  }

  async *listJournal(
    request: { readonly volumeId: VolumeId; readonly runId: string },
    signal: AbortSignal,
  ): AsyncGenerator<readonly NeedleId[]> {
    await this.#begin('listJournal', request, signal)
    yield* this.journal
  }

  async shardStatus(id: VolumeId, signal: AbortSignal): Promise<readonly ShardReport[]> {
    await this.#begin('shardStatus', id, signal)
    return [SHARD_REPORT, { ...SHARD_REPORT, runId: '1', shards: [], badShards: [] }]
  }

  async readShard(request: ReadShardSlicesRequest, signal: AbortSignal): Promise<Buffer> {
    await this.#begin('readShard', request, signal)
    if (request.lengthBytes > LIMITS.shardReadMax.value) {
      throw new StoreError('RANGE_INVALID', `${request.lengthBytes} bytes at once`)
    }
    const { offsetBytes, sliceCount, strideBytes } = request
    const slices = Array.from({ length: sliceCount }, (_, slice) =>
      this.#bytesOf({ ...request, offsetBytes: offsetBytes + slice * strideBytes }),
    )
    return Buffer.concat(slices)
  }

  /** All pieces in the same memory, as a reader of files has them. */
  async *streamShard(
    request: ReadShardRequest,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    await this.#begin('streamShard', request, signal)
    const bytes = this.#bytesOf(request)
    const memory = Buffer.alloc(this.pieceBytes)
    for (let at = 0; at < bytes.length; at += this.pieceBytes) {
      const piece = bytes.subarray(at, at + this.pieceBytes)
      memory.fill(0xee)
      memory.set(piece)
      await this.beforeCall('piece', signal)
      yield memory.subarray(0, piece.length)
    }
  }

  async *readShardFiles(
    request: { readonly volumeId: VolumeId; readonly runId: string },
    signal: AbortSignal,
  ): AsyncGenerator<ShardFilePiece> {
    await this.#begin('readShardFiles', request, signal)
    yield* this.files
  }

  #bytesOf({ shard, offsetBytes, lengthBytes }: ReadShardRequest): Uint8Array {
    if (shard !== 0) throw new StoreError('SHARD_NOT_FOUND', `shard ${shard}`)
    const end = offsetBytes + lengthBytes
    if (lengthBytes > 0 && end <= this.bytes.length) return this.bytes.subarray(offsetBytes, end)
    throw new StoreError('RANGE_INVALID', `there are no bytes ${offsetBytes} to ${end}`)
  }

  async #begin(name: string, request: unknown, signal: AbortSignal): Promise<void> {
    this.calls.push(name)
    this.requests.push(request)
    await this.beforeCall(name, signal)
  }
}

const EXTENT: VolumeExtent = { datBytes: 2 ** 40, compactionRevision: 5 }
const HALF: ShardProgress = { doneBytes: 2 ** 35, totalBytes: 2 ** 36, isDone: false }
const WHOLE: ShardProgress = { doneBytes: 2 ** 36, totalBytes: 2 ** 36, isDone: true }

const FILES: readonly ShardFilePiece[] = [
  { extension: 'ecx', offsetBytes: 0, data: Buffer.alloc(32, 1) },
  { extension: 'ecj', offsetBytes: 0, data: Buffer.alloc(0) },
  { extension: 'ecsum', offsetBytes: 8, data: Buffer.alloc(64, 2) },
  { extension: 'vif', offsetBytes: 0, data: Buffer.from('{}') },
]

export const SHARD_REPORT: ShardReport = {
  volumeId: volumeId(7),
  collection: 'pictures',
  replication: { otherDataCenters: 0, otherRacks: 1, otherServers: 0 },
  dataShards: 10,
  parityShards: 4,
  runId: '1700000000000000001',
  directoryId: 'd',
  shards: [0, 3, 13],
  badShards: [3],
  shardBytes: 2 ** 30,
  datBytes: 2 ** 33,
  liveNeedles: 2 ** 40,
  liveBytes: 2 ** 32,
  garbageBytes: 3,
  journalDigest: '0123456789abcdef',
  modifiedAtS: 6,
  requestsPerS: 1.5,
}
