import type { Limit } from './limit.ts'
import { GIB, KIB, MIB } from './units.ts'

/** Bounds of the formats and of the engine. See `LIMITS`. */
export const STORAGE_LIMITS = {
  needleDataMax: {
    value: 2 * GIB - 128 * KIB,
    unit: 'bytes',
    reason:
      'the Size field of a needle is a signed 32-bit number; 128 KiB leave room for the longest ' +
      'attributes, the header and the padding',
    atLimit: 'the write fails with NEEDLE_TOO_LARGE',
  },
  needleNameMax: {
    value: 255,
    unit: 'bytes',
    reason: 'one byte on disk holds its length',
    atLimit: 'the write fails with NEEDLE_INVALID',
  },
  needleMimeMax: {
    value: 255,
    unit: 'bytes',
    reason: 'one byte on disk holds its length',
    atLimit: 'the write fails with NEEDLE_INVALID',
  },
  needlePairsMax: {
    value: 65_535,
    unit: 'bytes',
    reason: 'two bytes on disk hold the length of the pairs as JSON',
    atLimit: 'the write fails with NEEDLE_INVALID',
  },
  volumeSizeDefault: {
    value: 30 * GIB,
    unit: 'bytes',
    reason:
      'three rows of ten large blocks when the volume is erasure-coded, below the 32 GiB an ' +
      'index row can reach',
    atLimit: 'writes fail with VOLUME_FULL; reads and deletes go on',
  },
  volumeSizeMax: {
    value: 32 * GIB,
    unit: 'bytes',
    reason: 'an index row counts offsets in units of 8 bytes with 32 bits',
    atLimit: 'a larger volume size is refused with CONFIG_INVALID',
  },
  checksumBlock: {
    value: MIB,
    unit: 'bytes',
    reason:
      '4 bytes of checksum for each block: 120 KiB for a full volume, and a damaged byte is ' +
      'found within 1 MiB',
    atLimit: 'the next block begins',
  },
  batchNeedlesMax: {
    value: 1024,
    unit: 'needles',
    reason: 'shares the cost of one sync among many writers without making the first one wait long',
    atLimit: 'the rest goes into the next batch',
  },
  batchBytesMax: {
    value: 8 * MIB + 128 * KIB,
    unit: 'bytes',
    reason:
      'about 10 ms of writing on an ordinary SSD; a chunk of a large object with its head and ' +
      'attributes is no larger, so it takes one write and one sync',
    atLimit: 'the rest goes into the next batch; one larger needle is a batch of its own',
  },
  queuedWritesMax: {
    value: 16_384,
    unit: 'writes',
    reason: 'sixteen full batches: what a volume can promise to do soon',
    atLimit: 'the write fails at once with OVERLOADED',
  },
  fileIdTextMax: {
    value: 51,
    unit: 'characters',
    reason: '10 for the volume, a comma, 24 for needle and cookie, an underscore and 15 digits',
    atLimit: 'the text is refused with FILE_ID_INVALID',
  },
  collectionNameMax: {
    value: 63,
    unit: 'characters',
    reason:
      'as long as a bucket name; with volume id and extension well below what file systems take',
    atLimit: 'the name is refused with CONFIG_INVALID',
  },
  volumeInfoMax: {
    value: MIB,
    unit: 'bytes',
    reason: 'a .vif file has a few hundred bytes; this leaves room for thousands of remote files',
    atLimit: 'the file is refused with VOLUME_INFO_CORRUPT',
  },
  batchCopyMax: {
    value: 16 * KIB,
    unit: 'bytes',
    reason: 'copying a small record into one buffer is cheaper than three more parts in a writev',
    atLimit: 'larger data is handed to writev where it lies',
  },
  syncWriteMax: {
    value: 256 * KIB,
    unit: 'bytes',
    reason:
      'a write into the page cache of this size takes less time than a trip to the thread pool',
    atLimit: 'larger batches are written through the thread pool',
  },
  syncReadMax: {
    value: 64 * KIB,
    unit: 'bytes',
    reason: 'a warm read of this size blocks the thread for about 20 microseconds',
    atLimit: 'larger needles are read through the thread pool',
  },
  wholeReadMax: {
    value: 8 * MIB,
    unit: 'bytes',
    reason: 'the chunk size of large objects: one chunk is read and checked in one piece',
    atLimit: 'larger needles are streamed in pieces',
  },
  streamPiece: {
    value: MIB,
    unit: 'bytes',
    reason: 'two pieces in memory keep a disk and a connection busy',
    atLimit: 'the next piece begins',
  },
  queuedWriteBytesMax: {
    value: 256 * MIB,
    unit: 'bytes',
    reason: 'bounds the memory that waiting writes of one volume hold',
    atLimit: 'the write fails at once with OVERLOADED',
  },
  tornTailMax: {
    value: 32 * MIB,
    unit: 'bytes',
    reason: 'an unacknowledged batch is at most 8 MiB and one needle; the rest is margin',
    atLimit: 'a longer unreadable tail is damage: the volume opens read-only and nothing is cut',
  },
  checkpointBytes: {
    value: 64 * MIB,
    unit: 'bytes',
    reason: 'scanning this much at start takes some 20 ms',
    atLimit: 'the .sum file is written anew',
  },
  checkpointMs: {
    value: 10_000,
    unit: 'milliseconds',
    reason: 'few enough syncs for a disk with hundreds of volumes',
    atLimit: 'the .sum file is written anew if anything was appended',
  },
  slowReadMs: {
    value: 0.3,
    unit: 'milliseconds',
    reason: 'a read from memory takes a microsecond, one from a disk at least fifty',
    atLimit: 'the extent counts as cold again and is read through the thread pool',
  },
  diskReserveShare: {
    value: 0.05,
    unit: 'of the disk',
    reason: 'room for tombstones and for the vacuum of volumes that are mostly garbage',
    atLimit: 'puts fail with DISK_FULL; reads, deletes and vacuum go on',
  },
  diskBallast: {
    value: 16 * MIB,
    unit: 'bytes',
    reason: 'half a million tombstones, for a disk that something else has filled to the last byte',
    atLimit: 'the ballast file is emptied, and filled again when there is room',
  },
  diskSpaceMs: {
    value: 1000,
    unit: 'milliseconds',
    reason: 'what was appended meanwhile is counted, so only others can make the figure wrong',
    atLimit: 'the next put asks the disk again, without waiting for the answer',
  },
  volumesOpenedAtOnce: {
    value: 4,
    unit: 'volumes',
    reason: 'as many reads as a disk works on well, and one index buffer each',
    atLimit: 'the next volume is opened when one is done',
  },
  needlePageMax: {
    value: 4096,
    unit: 'needles',
    reason: 'some 80 KiB in a message: little for the memory of either side, and few messages',
    atLimit: 'the next page begins',
  },
  scrubFindingsMax: {
    value: 1024,
    unit: 'findings',
    reason: 'of one window of a volume; some 100 KiB in a message',
    atLimit: 'the others follow in the next step, which stays at the same place',
  },
  shardSpareMs: {
    value: 20,
    unit: 'milliseconds',
    reason:
      'longer than a disk and a network usually take for some pages; asking more shards than are ' +
      'needed at once makes each read dearer, just when many have to be made',
    atLimit: 'all other shards are asked as well, and the first answers count',
  },
  shardSlowMs: {
    value: 200,
    unit: 'milliseconds',
    reason:
      'many times what a disk and a network take for a block; making it from other shards takes ' +
      'about as long as reading it',
    atLimit: 'the bytes are made from other shards meanwhile, if there is room for that',
  },
  rebuildsMax: {
    value: 8,
    unit: 'at once',
    reason: 'each holds a block of 1 MiB of every shard: some 112 MiB with 10+4',
    atLimit: 'the next one waits in line',
  },
  rebuildWaitersMax: {
    value: 1024,
    unit: 'reads',
    reason: 'some seconds of work for a server that reads from servers that work',
    atLimit: 'the read fails with OVERLOADED',
  },
  rebuiltBytesMax: {
    value: 32 * MIB,
    unit: 'bytes',
    reason:
      'what was rebuilt lately, of all volumes: the neighbours of a needle are often read next',
    atLimit: 'what has not been read for longest is forgotten',
  },
  stripeBlocksMax: {
    value: 4,
    unit: 'blocks',
    reason: 'of one read at once, each of 1 MiB and mostly on another server',
    atLimit: 'the next one is read when one is done',
  },
  shardDoubtMs: {
    value: 60_000,
    unit: 'milliseconds',
    reason: 'by then a bad block may have been written anew; until then reading it again is no use',
    atLimit: 'the block is read again where it lies',
  },
  sidecarMax: {
    value: 16 * MIB,
    unit: 'bytes',
    reason:
      'the checksums of a 32 GiB volume in the smallest blocks are 32 MiB; usual ones 128 KiB',
    atLimit: 'the .sum file is ignored and made anew',
  },
} as const satisfies Readonly<Record<string, Limit>>
