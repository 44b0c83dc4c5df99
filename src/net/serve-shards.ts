import type { NeedleId } from '../base/ids.ts'
import { LIMITS } from '../base/limits.ts'
import {
  type GrpcMethod,
  type GrpcService,
  longUnary,
  mapStream,
  serverStream,
  unary,
} from './grpc-service.ts'
import { SHARDS_PROTO, SHARDS_SERVICE } from './proto-loading.ts'
import type { ShardApi, ShardFilePiece } from './shard-api.ts'
import {
  copyShardsFromWire,
  decodeFromWire,
  decodeProgressToWire,
  deleteShardsFromWire,
  encodeFromWire,
  encodeProgressToWire,
  healShardsFromWire,
  journalDeletesFromWire,
  journalPageToWire,
  readShardFromWire,
  rebuildShardsFromWire,
  shardFilePieceToWire,
  shardProgressToWire,
  shardRunFromWire,
  streamShardFromWire,
  verifyFromWire,
  verifyProgressToWire,
  type WireCopyShards,
  type WireDecode,
  type WireDeleteShards,
  type WireEncode,
  type WireHealShards,
  type WireJournalDeletes,
  type WireReadShard,
  type WireRebuildShards,
  type WireShardBytes,
  type WireShardRun,
  type WireStreamShard,
  type WireVerify,
} from './wire-shards.ts'
import { shardReportToWire } from './wire-stripes.ts'
import { wireVolumeId } from './wire-values.ts'

/** The shards of a volume server as a service of a `GrpcServer`, for whoever knows the secret. */
export function shardsService(api: ShardApi): GrpcService {
  return {
    name: SHARDS_SERVICE,
    definition: SHARDS_PROTO,
    methods: { ...makingMethods(api), ...changingMethods(api), ...readingMethods(api) },
  }
}

function makingMethods(api: ShardApi): Record<string, GrpcMethod> {
  return {
    EncodeVolume: serverStream('cluster', (wire: WireEncode, { signal }) =>
      mapStream(api.encodeVolume(encodeFromWire(wire), signal), encodeProgressToWire),
    ),
    CopyShards: serverStream('cluster', (wire: WireCopyShards, { signal }) =>
      mapStream(api.copyShards(copyShardsFromWire(wire), signal), shardProgressToWire),
    ),
    RebuildShards: serverStream('cluster', (wire: WireRebuildShards, { signal }) =>
      mapStream(api.rebuildShards(rebuildShardsFromWire(wire), signal), shardProgressToWire),
    ),
    DecodeVolume: serverStream('cluster', (wire: WireDecode, { signal }) =>
      mapStream(api.decodeVolume(decodeFromWire(wire), signal), decodeProgressToWire),
    ),
    VerifyShards: serverStream('cluster', (wire: WireVerify, { signal }) =>
      mapStream(api.verifyShards(verifyFromWire(wire), signal), verifyProgressToWire),
    ),
  }
}

function changingMethods(api: ShardApi): Record<string, GrpcMethod> {
  return {
    HealShards: longUnary('cluster', async (wire: WireHealShards, { signal }) => {
      await api.healShards(healShardsFromWire(wire), signal)
      return {}
    }),
    DeleteShards: longUnary('cluster', async (wire: WireDeleteShards, { signal }) => {
      await api.deleteShards(deleteShardsFromWire(wire), signal)
      return {}
    }),
    JournalDeletes: unary('cluster', async (wire: WireJournalDeletes, { signal }) => {
      await api.journalDeletes(journalDeletesFromWire(wire), signal)
      return {}
    }),
  }
}

function readingMethods(api: ShardApi): Record<string, GrpcMethod> {
  return {
    ListJournal: serverStream('cluster', (wire: WireShardRun, { signal }) =>
      mapStream(inPages(api.listJournal(shardRunFromWire(wire), signal)), journalPageToWire),
    ),
    GetShardStatus: unary('cluster', async (wire: { readonly volumeId: number }, { signal }) => {
      const runs = await api.shardStatus(wireVolumeId(wire.volumeId), signal)
      return { runs: runs.map(shardReportToWire) }
    }),
    ReadShard: unary('cluster', async (wire: WireReadShard, { signal }) => ({
      data: await api.readShard(readShardFromWire(wire), signal),
    })),
    StreamShard: serverStream('cluster', (wire: WireStreamShard, { signal }) =>
      inParts(api.streamShard(streamShardFromWire(wire), signal)),
    ),
    ReadShardFiles: serverStream('cluster', (wire: WireShardRun, { signal }) =>
      mapStream(inPieces(api.readShardFiles(shardRunFromWire(wire), signal)), shardFilePieceToWire),
    ),
  }
}

/** However long the pages of a journal are, the other side takes no more in one. */
async function* inPages(
  source: AsyncIterable<readonly NeedleId[]>,
): AsyncGenerator<readonly NeedleId[]> {
  const countMax = LIMITS.journalPageMax.value
  for await (const page of source) {
    for (let at = 0; at < page.length; at += countMax) yield page.slice(at, at + countMax)
  }
}

/**
 * Messages far below their limit, each with bytes of its own: what is queued is serialized when it
 * is its turn, and by then the reader may have filled its memory with the next piece.
 */
async function* inParts(source: AsyncIterable<Uint8Array>): AsyncGenerator<WireShardBytes> {
  const partBytes = LIMITS.streamPiece.value
  for await (const data of source) {
    for (let at = 0; at < data.length; at += partBytes) {
      yield { data: Buffer.from(data.subarray(at, at + partBytes)) }
    }
  }
}

/** As `inParts`; a file without bytes is told of too. */
async function* inPieces(source: AsyncIterable<ShardFilePiece>): AsyncGenerator<ShardFilePiece> {
  const partBytes = LIMITS.streamPiece.value
  for await (const { extension, offsetBytes, data } of source) {
    let at = 0
    do {
      const part = Buffer.from(data.subarray(at, at + partBytes))
      yield { extension, offsetBytes: offsetBytes + at, data: part }
      at += partBytes
    } while (at < data.length)
  }
}
