import fc from 'fast-check'
import { ERASURE_SHARDS_MAX, type ErasureScheme } from '../../src/base/erasure-scheme.ts'
import * as shards from '../../src/net/wire-shards.ts'
import * as stripes from '../../src/net/wire-stripes.ts'
import {
  aNeedleId,
  aVolumeId,
  bool,
  bytes,
  command,
  extent,
  maybe,
  node,
  politeness,
  type Row,
  ratio,
  replication,
  row,
  text,
  u32,
  u64,
} from './wire-rows.ts'

export const schemeFields = {
  dataShards: fc.integer({ min: 1, max: ERASURE_SHARDS_MAX.data }),
  parityShards: fc.integer({ min: 1, max: ERASURE_SHARDS_MAX.parity }),
}
export const scheme = fc.record(schemeFields)
const runId = fc.bigInt({ min: 1n, max: 2n ** 64n - 1n }).map(String)
/** Of any scheme. */
const someShard = fc.nat({ max: ERASURE_SHARDS_MAX.data + ERASURE_SHARDS_MAX.parity - 1 })
/** In the order in which they came. */
const someShards = fc.uniqueArray(someShard, { maxLength: 5 })
const someSources = fc.array(fc.record({ shard: someShard, location: node }), { maxLength: 3 })

function shardOf({ dataShards, parityShards }: ErasureScheme): fc.Arbitrary<number> {
  return fc.nat({ max: dataShards + parityShards - 1 })
}

function shardsOf(coded: ErasureScheme): fc.Arbitrary<number[]> {
  return fc.uniqueArray(shardOf(coded), { maxLength: 5 })
}

/** As reports have them. */
function ascending(shards: fc.Arbitrary<number[]>): fc.Arbitrary<number[]> {
  return shards.map((numbers) => numbers.toSorted((a, b) => a - b))
}

/** Fields that depend on how many shards there are. */
function ofScheme<Fields extends object>(
  fieldsOf: (coded: ErasureScheme) => { [Name in keyof Fields]: fc.Arbitrary<Fields[Name]> },
): fc.Arbitrary<Fields & ErasureScheme> {
  return scheme.chain((coded) =>
    (fc.record(fieldsOf(coded)) as fc.Arbitrary<Fields>).map((fields) => ({ ...fields, ...coded })),
  )
}

export const shardReport = ofScheme((coded) => ({
  volumeId: aVolumeId,
  collection: text,
  replication,
  runId,
  directoryId: text,
  shards: ascending(shardsOf(coded)),
  badShards: ascending(shardsOf(coded)),
  shardBytes: u64,
  datBytes: u64,
  liveNeedles: u64,
  liveBytes: u64,
  garbageBytes: u64,
  journalDigest: fc.constantFrom('', '0123456789abcdef'),
  modifiedAtS: u64,
  requestsPerS: ratio,
}))
export const shardReports = fc.array(shardReport, { maxLength: 2 })
export const stripeLocations = ofScheme((coded) => ({
  runId,
  shards: fc.array(fc.record({ shard: shardOf(coded), location: node }), { maxLength: 3 }),
}))
const shardFacts = {
  location: node,
  directoryId: text,
  report: maybe(shardReport),
  isUp: bool,
  isLost: bool,
  isBad: bool,
}
/** A few shards, or it would take long. */
export const stripeFacts = fc
  .record({ dataShards: fc.integer({ min: 1, max: 3 }), parityShards: fc.constantFrom(1, 2) })
  .chain((coded) => {
    const all = Array.from({ length: coded.dataShards + coded.parityShards }, (_, shard) =>
      fc.record({ shard: fc.constant(shard), ...shardFacts }),
    )
    return fc.record({ runId, shards: fc.tuple(...all) }).map((stripe) => ({ ...coded, ...stripe }))
  })
export const strayShards = fc.record({
  location: node,
  directoryId: text,
  runId,
  shards: ascending(someShards),
  isUp: bool,
})
const shardMove = fc.record({ shard: someShard, from: node, fromDirectoryId: text, to: node })

const STRIPE_ROWS: readonly Row[] = [
  row('ShardReport', shardReport, stripes.shardReportToWire, stripes.shardReportFromWire),
  row(
    'ShardPlace',
    fc.record({ shard: someShard, location: node }),
    stripes.placeToWire,
    (wire: stripes.WireShardPlace) => stripes.placesFromWire([wire])[0],
  ),
  row(
    'StripeLocations',
    stripeLocations,
    stripes.stripeLocationsToWire,
    stripes.stripeLocationsFromWire,
  ),
  row('StripeFacts', stripeFacts, stripes.stripeToWire, stripes.stripeFromWire),
  row('StrayShards', strayShards, stripes.strayShardsToWire, stripes.strayShardsFromWire),
  row(
    'ChangeStripeRequest',
    ofScheme((coded) => ({
      jobId: u64,
      token: text,
      volumeId: aVolumeId,
      setVersion: u64,
      runId,
      shards: fc.array(fc.record({ shard: shardOf(coded), url: text, directoryId: text })),
    })),
    stripes.stripeChangeToWire,
    stripes.stripeChangeFromWire,
  ),
  row(
    'ChooseShardsRequest',
    ofScheme((coded) => ({
      volumeId: aVolumeId,
      kept: fc.array(fc.record({ shard: shardOf(coded), url: text }), { maxLength: 3 }),
      wanted: shardsOf(coded),
      shardBytes: u64,
      excluded: fc.array(text),
    })),
    stripes.chooseShardsToWire,
    stripes.chooseShardsFromWire,
  ),
  row('ShardMove', shardMove, stripes.shardMoveToWire, stripes.shardMoveFromWire),
]

const run = { ...command, runId }
const work = { ...run, collection: text, politeness }
const progress = { doneBytes: u64, totalBytes: u64, isDone: bool }
const bytesOfShard = {
  volumeId: aVolumeId,
  runId,
  shard: someShard,
  offsetBytes: u64,
  lengthBytes: u64,
}
const block = fc.record({ shard: someShard, block: u32 })

const MAKING_ROWS: readonly Row[] = [
  row(
    'EncodeVolumeRequest',
    fc
      .record({ ...run, ...schemeFields, small: fc.integer({ min: 1, max: 2 ** 20 }), politeness })
      .map(({ small, ...rest }) => ({
        ...rest,
        largeBlockBytes: small * 1024,
        smallBlockBytes: small,
      })),
    shards.encodeToWire,
    shards.encodeFromWire,
  ),
  row(
    'EncodeProgress',
    fc.record({ ...progress, sourceExtent: maybe(extent), directoryId: text }),
    shards.encodeProgressToWire,
    shards.encodeProgressFromWire,
  ),
  row(
    'ShardProgress',
    fc.record(progress),
    shards.shardProgressToWire,
    shards.shardProgressFromWire,
  ),
  row(
    'CopyShardsRequest',
    fc.record({ ...work, shards: someShards, source: node }),
    shards.copyShardsToWire,
    shards.copyShardsFromWire,
  ),
  row(
    'RebuildShardsRequest',
    fc.record({ ...work, shards: someShards, sources: someSources }),
    shards.rebuildShardsToWire,
    shards.rebuildShardsFromWire,
  ),
  row(
    'DecodeVolumeRequest',
    fc.record({ ...work, sources: someSources, livingOnly: bool }),
    shards.decodeToWire,
    shards.decodeFromWire,
  ),
  row(
    'DecodeProgress',
    fc.record({ ...progress, directoryId: text }),
    shards.decodeProgressToWire,
    shards.decodeProgressFromWire,
  ),
  row(
    'VerifyShardsRequest',
    fc.record({ volumeId: aVolumeId, runId, shards: someShards, politeness }),
    shards.verifyToWire,
    shards.verifyFromWire,
  ),
  row(
    'VerifyProgress',
    fc.record({ ...progress, badBlocks: fc.array(block, { maxLength: 3 }) }),
    shards.verifyProgressToWire,
    shards.verifyProgressFromWire,
  ),
]

const KEEPING_ROWS: readonly Row[] = [
  row(
    'HealShardsRequest',
    fc.record({ ...run, blocks: fc.array(block), sources: someSources }),
    shards.healShardsToWire,
    shards.healShardsFromWire,
  ),
  row(
    'DeleteShardsRequest',
    fc.record({ ...run, shards: someShards }),
    shards.deleteShardsToWire,
    shards.deleteShardsFromWire,
  ),
  row(
    'JournalDeletesRequest',
    fc.record({ ...run, needleIds: fc.array(aNeedleId) }),
    shards.journalDeletesToWire,
    shards.journalDeletesFromWire,
  ),
  row('JournalPage', fc.array(aNeedleId), shards.journalPageToWire, shards.journalPageFromWire),
  row(
    'ShardRunRequest',
    fc.record({ volumeId: aVolumeId, runId }),
    shards.shardRunToWire,
    shards.shardRunFromWire,
  ),
  row(
    'StreamShardRequest',
    fc.record(bytesOfShard),
    shards.streamShardToWire,
    shards.streamShardFromWire,
  ),
  row(
    'ReadShardRequest',
    fc.record({ ...bytesOfShard, sliceCount: u32, strideBytes: u64 }),
    shards.readShardToWire,
    shards.readShardFromWire,
  ),
  row(
    'ShardFilePiece',
    fc.record({
      extension: fc.constantFrom('ecx', 'ecj', 'vif', 'ecsum'),
      offsetBytes: u64,
      data: bytes,
    }),
    shards.shardFilePieceToWire,
    shards.shardFilePieceFromWire,
  ),
]

/** Messages of shards.proto, and those about stripes that the other ones have. */
export const SHARD_ROWS: readonly Row[] = [...STRIPE_ROWS, ...MAKING_ROWS, ...KEEPING_ROWS]
