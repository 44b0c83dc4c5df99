import type { NeedleId, VolumeId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import { StoreError } from '../base/store-error.ts'
import type { GrpcChannel } from './grpc-channel.ts'
import { mapStream } from './grpc-service.ts'
import type { NeedleHttp } from './needle-http.ts'
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
  ShardFilePiece,
  ShardProgress,
  VerifyProgress,
  VerifyShardsCommand,
} from './shard-api.ts'
import type { ShardReport } from './stripe-facts.ts'
import {
  copyShardsToWire,
  type DeleteShardsCommand,
  decodeProgressFromWire,
  decodeToWire,
  deleteShardsToWire,
  encodeProgressFromWire,
  encodeToWire,
  healShardsToWire,
  type JournalDeletesCommand,
  journalDeletesToWire,
  journalPageFromWire,
  readShardToWire,
  rebuildShardsToWire,
  type ShardRun,
  shardFilePieceFromWire,
  shardProgressFromWire,
  shardRunToWire,
  streamShardToWire,
  verifyProgressFromWire,
  verifyToWire,
  type WireEncodeProgress,
  type WireJournalPage,
  type WireShardBytes,
  type WireShardFilePiece,
  type WireShardStatus,
} from './wire-shards.ts'
import { shardReportFromWire } from './wire-stripes.ts'
import { fromPeer } from './wire-values.ts'

interface RemoteShardsParts {
  /** Knows the methods of both services of a volume server. */
  readonly channel: GrpcChannel
  readonly http: NeedleHttp
  readonly peer: string
  /** How bytes of shards are fetched; over HTTP it is several times faster. */
  readonly copies: 'http' | 'grpc'
}

/** The shards of another volume server, over gRPC and HTTP. */
export class RemoteShards implements ShardApi {
  readonly #parts: RemoteShardsParts

  constructor(parts: RemoteShardsParts) {
    this.#parts = parts
  }

  encodeVolume(command: EncodeVolumeCommand, signal: AbortSignal): AsyncIterable<EncodeProgress> {
    const convert = (wire: WireEncodeProgress) => encodeProgressFromWire(wire)
    return this.#stream('EncodeVolume', encodeToWire(command), convert, signal)
  }

  copyShards(command: CopyShardsCommand, signal: AbortSignal): AsyncIterable<ShardProgress> {
    return this.#stream('CopyShards', copyShardsToWire(command), shardProgressFromWire, signal)
  }

  rebuildShards(command: RebuildShardsCommand, signal: AbortSignal): AsyncIterable<ShardProgress> {
    const wire = rebuildShardsToWire(command)
    return this.#stream('RebuildShards', wire, shardProgressFromWire, signal)
  }

  decodeVolume(command: DecodeVolumeCommand, signal: AbortSignal): AsyncIterable<DecodeProgress> {
    return this.#stream('DecodeVolume', decodeToWire(command), decodeProgressFromWire, signal)
  }

  verifyShards(command: VerifyShardsCommand, signal: AbortSignal): AsyncIterable<VerifyProgress> {
    return this.#stream('VerifyShards', verifyToWire(command), verifyProgressFromWire, signal)
  }

  /** Any number of blocks. */
  async healShards(command: HealShardsCommand, signal: AbortSignal): Promise<void> {
    for (const blocks of pagesOf(command.blocks, LIMITS.healBlocksMax.value)) {
      await this.#long('HealShards', healShardsToWire({ ...command, blocks }), signal)
    }
  }

  async deleteShards(command: DeleteShardsCommand, signal: AbortSignal): Promise<void> {
    await this.#long('DeleteShards', deleteShardsToWire(command), signal)
  }

  async journalDeletes(command: JournalDeletesCommand, signal: AbortSignal): Promise<void> {
    for (const needleIds of pagesOf(command.needleIds, LIMITS.journalPageMax.value)) {
      const wire = journalDeletesToWire({ ...command, needleIds })
      await this.#parts.channel.unary('JournalDeletes', wire, signal)
    }
  }

  listJournal(run: ShardRun, signal: AbortSignal): AsyncIterable<readonly NeedleId[]> {
    const convert = (wire: WireJournalPage): readonly NeedleId[] => journalPageFromWire(wire)
    return this.#stream('ListJournal', shardRunToWire(run), convert, signal)
  }

  async shardStatus(volumeId: VolumeId, signal: AbortSignal): Promise<readonly ShardReport[]> {
    const { channel, peer } = this.#parts
    const wire = await channel.unary<WireShardStatus>('GetShardStatus', { volumeId }, signal)
    return fromPeer(peer, wire, ({ runs }) => runs.map(shardReportFromWire))
  }

  async readShard(request: ReadShardSlicesRequest, signal: AbortSignal): Promise<Buffer> {
    const { channel, copies, http, peer } = this.#parts
    if (copies === 'http') return await http.readShard(request, signal)
    const wire = readShardToWire(request)
    const { data } = await channel.unary<WireShardBytes>('ReadShard', wire, signal)
    const wanted = request.sliceCount * request.lengthBytes
    if (data.length === wanted) return Buffer.from(data.buffer, data.byteOffset, data.length)
    throw new StoreError('PEER_FAILED', `${peer} sent ${data.length} bytes, not ${wanted}`)
  }

  streamShard(request: ReadShardRequest, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const { copies, http } = this.#parts
    if (copies === 'http') return http.readShardData(request, signal)
    const convert = ({ data }: WireShardBytes) => data
    return this.#stream('StreamShard', streamShardToWire(request), convert, signal)
  }

  readShardFiles(run: ShardRun, signal: AbortSignal): AsyncIterable<ShardFilePiece> {
    const convert = (wire: WireShardFilePiece) => shardFilePieceFromWire(wire)
    return this.#stream('ReadShardFiles', shardRunToWire(run), convert, signal)
  }

  async #long(name: string, request: object, signal: AbortSignal): Promise<void> {
    await this.#parts.channel.unary(name, request, signal, { isLong: true })
  }

  #stream<Wire extends object, Value>(
    name: string,
    request: object,
    convert: (wire: Wire) => Value,
    signal: AbortSignal,
  ): AsyncIterable<Value> {
    const { channel, peer } = this.#parts
    const answers = channel.serverStream<Wire>(name, request, signal)
    return mapStream(answers, (wire) => fromPeer(peer, wire, convert))
  }
}

function* pagesOf<Item>(items: readonly Item[], countMax: number): Generator<readonly Item[]> {
  for (let at = 0; at < items.length; at += countMax) yield items.slice(at, at + countMax)
}
