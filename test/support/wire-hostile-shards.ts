import type { ErrorCode } from '../../src/base/store-error.ts'
import { targetFromWire, targetToWire } from '../../src/net/wire-jobs.ts'
import * as shards from '../../src/net/wire-shards.ts'
import * as stripes from '../../src/net/wire-stripes.ts'
import { CODED_FACTS, STRIPE } from './fake-jobs-api.ts'
import { SHARD_REPORT } from './fake-shards.ts'
import { NODE } from './fake-volume-api.ts'

const RUN = { epoch: 1, volumeId: 1, runId: '1' }
const SCHEME = { dataShards: 10, parityShards: 4 }
const ENCODE = { ...RUN, ...SCHEME, largeBlockBytes: 8, smallBlockBytes: 4, politeness: 0 }
const REPORT = stripes.shardReportToWire(SHARD_REPORT)
const FACTS = stripes.stripeToWire(STRIPE)
const CHANGE = { ...SCHEME, jobId: 1, token: '', volumeId: 1, setVersion: 1, runId: '1' }
const CHOICE = { ...SCHEME, volumeId: 1, kept: [], wanted: [], shardBytes: 1, excluded: [] }
const BLOCKS = Array.from({ length: 257 }, () => ({ shard: 0, block: 0 }))
const STREAM = { volumeId: 1, runId: '1', shard: 0, offsetBytes: 0, lengthBytes: 1 }
const READ = { ...STREAM, sliceCount: 1, strideBytes: 0 }
const PIECE = { extension: 'ecx', offsetBytes: 0, data: Buffer.alloc(0) }

/** Wire values about shards that no honest peer sends, and what is said of them. */
export const HOSTILE_SHARDS: readonly (readonly [string, ErrorCode, () => unknown])[] = [
  ...(
    [
      ['no data shards', 0, 4],
      ['no parity shards', 10, 0],
      ['25 data shards', 25, 4],
      ['7 parity shards', 10, 7],
    ] as const
  ).map(([what, dataShards, parityShards]): readonly [string, ErrorCode, () => unknown] => [
    `an encoder that makes ${what}`,
    'REQUEST_INVALID',
    () => shards.encodeFromWire({ ...ENCODE, dataShards, parityShards }),
  ]),
  ...(
    [
      ['small blocks of nothing', 8, 0],
      ['large blocks of nothing', 0, 4],
      ['large blocks with a rest', 9, 4],
    ] as const
  ).map(([what, largeBlockBytes, smallBlockBytes]): readonly [string, ErrorCode, () => unknown] => [
    `an encoder with ${what}`,
    'REQUEST_INVALID',
    () => shards.encodeFromWire({ ...ENCODE, largeBlockBytes, smallBlockBytes }),
  ]),
  ...['', '0', '../1', '01', '1e3', '123456789012345678901'].map(
    (runId): readonly [string, ErrorCode, () => unknown] => [
      `the run ${JSON.stringify(runId)}`,
      'REQUEST_INVALID',
      () => shards.shardRunFromWire({ volumeId: 1, runId }),
    ],
  ),
  [
    'shard 30, which no scheme has',
    'REQUEST_INVALID',
    () => shards.readShardFromWire({ ...READ, shard: 30 }),
  ],
  [
    'shard 30 as a stream',
    'REQUEST_INVALID',
    () => shards.streamShardFromWire({ ...STREAM, shard: 30 }),
  ],
  [
    'a shard to delete that is named twice',
    'REQUEST_INVALID',
    () => shards.deleteShardsFromWire({ ...RUN, shards: [3, 1, 3] }),
  ],
  [
    'shard 14 of 10+4 in a report',
    'REQUEST_INVALID',
    () => stripes.shardReportFromWire({ ...REPORT, shards: [14] }),
  ],
  [
    'a report with shards that do not ascend',
    'REQUEST_INVALID',
    () => stripes.shardReportFromWire({ ...REPORT, badShards: [3, 2] }),
  ],
  [
    'a journal with a digest too short',
    'REQUEST_INVALID',
    () => stripes.shardReportFromWire({ ...REPORT, journalDigest: '0123' }),
  ],
  [
    'shard 14 of 10+4 in a place',
    'REQUEST_INVALID',
    () => {
      const places = [{ shard: 14, location: NODE }]
      return stripes.stripeLocationsFromWire({ ...SCHEME, runId: '1', shards: places })
    },
  ],
  [
    'a stripe that lacks its last shard',
    'REQUEST_INVALID',
    () => stripes.stripeFromWire({ ...FACTS, shards: FACTS.shards.slice(0, -1) }),
  ],
  [
    'a stripe with its shards in another order',
    'REQUEST_INVALID',
    () => stripes.stripeFromWire({ ...FACTS, shards: FACTS.shards.toReversed() }),
  ],
  [
    'a change to a shard that the scheme does not have',
    'REQUEST_INVALID',
    () => {
      const members = [{ shard: 14, url: 'a:1', directoryId: 'd' }]
      return stripes.stripeChangeFromWire({ ...CHANGE, shards: members })
    },
  ],
  [
    'a wish for a place for a shard that the scheme does not have',
    'REQUEST_INVALID',
    () => stripes.chooseShardsFromWire({ ...CHOICE, wanted: [14] }),
  ],
  [
    'a shard to keep that the scheme does not have',
    'REQUEST_INVALID',
    () => stripes.chooseShardsFromWire({ ...CHOICE, kept: [{ shard: 14, url: 'a:1' }] }),
  ],
  [
    'a shard that moves to nowhere',
    'REQUEST_INVALID',
    () => stripes.shardMoveFromWire({ shard: 0, from: NODE, fromDirectoryId: '', to: null }),
  ],
  [
    'stray shards of a run without a name',
    'REQUEST_INVALID',
    () => {
      const [stray] = CODED_FACTS.strayShards ?? []
      return stray && stripes.strayShardsFromWire({ ...stray, runId: '' })
    },
  ],
  [
    '257 blocks to heal at once',
    'REQUEST_INVALID',
    () => shards.healShardsFromWire({ ...RUN, blocks: BLOCKS, sources: [] }),
  ],
  [
    'a bad block of a shard that no scheme has',
    'REQUEST_INVALID',
    () => {
      const progress = { doneBytes: 0, totalBytes: 0, isDone: false }
      return shards.verifyProgressFromWire({ ...progress, badBlocks: [{ shard: 30, block: 0 }] })
    },
  ],
  [
    '10,001 needles in a page of a journal',
    'REQUEST_INVALID',
    () => shards.journalPageFromWire({ needleIds: Array.from({ length: 10_001 }, () => '1') }),
  ],
  [
    'a shard among the files beside it',
    'REQUEST_INVALID',
    () => shards.shardFilePieceFromWire({ ...PIECE, extension: 'ec00' }),
  ],
  [
    'a politeness without end',
    'REQUEST_INVALID',
    () => shards.encodeFromWire({ ...ENCODE, politeness: Number.POSITIVE_INFINITY }),
  ],
  [
    'a job that makes shards of nothing',
    'ERASURE_INVALID',
    () => targetFromWire({ ...targetToWire({}), erasure: '0+0' }),
  ],
]
