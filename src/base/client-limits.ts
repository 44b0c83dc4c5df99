import type { Limit } from './limit.ts'
import { GIB, MIB } from './units.ts'

/** Bounds of the client. See `LIMITS`. */
export const CLIENT_LIMITS = {
  chunkBytes: {
    value: 8 * MIB,
    unit: 'bytes',
    reason: 'a chunk is read and checked in one piece, and a few fill a connection',
    atLimit: 'a larger file is stored in several needles, joined by a chunk manifest',
  },
  chunkBytesMax: {
    value: 64 * MIB,
    unit: 'bytes',
    reason: 'four chunks of each file under way are held in memory',
    atLimit: 'a larger chunk size is refused with CONFIG_INVALID',
  },
  chunksInFlightMax: {
    value: 3,
    unit: 'chunks',
    reason: 'enough to keep several servers busy; with the one being filled 32 MiB for a file',
    atLimit: 'the next chunk waits, and with it the source',
  },
  chunkBuffersMax: {
    value: 16,
    unit: 'chunks',
    reason: 'bounds what streams being stored hold in a client: 128 MiB',
    atLimit: 'the next chunk waits for a buffer, and with it its source',
  },
  chunkBufferWaitersMax: {
    value: 4096,
    unit: 'streams',
    reason: 'each holds one mebibyte at most while it waits',
    atLimit: 'the put fails with OVERLOADED',
  },
  getBytesMax: {
    value: 2 * GIB,
    unit: 'bytes',
    reason: 'larger results belong on a disk, not in memory',
    atLimit: 'get fails with NEEDLE_TOO_LARGE; getStream has no limit',
  },
  leaseIdsMin: {
    value: 256,
    unit: 'file ids',
    reason: 'one call of the master for so many puts; ids not used cost nothing',
    atLimit: 'a client asks for twice as many when they last less than a second',
  },
  leaseIdsMax: {
    value: 1024,
    unit: 'file ids',
    reason: 'at 50,000 puts a second one call of the master every 20 ms',
    atLimit: 'a client does not ask for more at a time',
  },
  leaseLanesMax: {
    value: 256,
    unit: 'leases',
    reason: 'collections, replications and times to live in use by one client at a time',
    atLimit: 'the one used longest ago is forgotten; its ids are never used',
  },
  leaseWaitersMax: {
    value: 65_536,
    unit: 'puts',
    reason: 'what a master that answers within seconds can still serve',
    atLimit: 'the put fails with OVERLOADED',
  },
  failedVolumesMax: {
    value: 64,
    unit: 'volumes',
    reason: 'sent with each request for a lease',
    atLimit: 'the one that failed longest ago may be used again',
  },
  failedVolumeMs: {
    value: 30_000,
    unit: 'milliseconds',
    reason: 'the time it takes a server to start again, or a master to notice that it is gone',
    atLimit: 'the volume may be leased again',
  },
  failedServersMax: {
    value: 1024,
    unit: 'servers',
    reason: 'as many as a large cluster has',
    atLimit: 'the one that failed longest ago is asked like any other',
  },
  failedServerMs: {
    value: 5000,
    unit: 'milliseconds',
    reason:
      'short enough to return soon, long enough not to wait for a dead server again and again',
    atLimit: 'the server is asked like any other',
  },
  locationsMax: {
    value: 262_144,
    unit: 'volumes',
    reason: '8 PiB in volumes of 30 GiB, and about 50 MB of memory in a client',
    atLimit: 'the one learnt longest ago is forgotten, and looked up when it is needed',
  },
  locationStaleMs: {
    value: 5000,
    unit: 'milliseconds',
    reason: 'a reader notices a moved volume by its error; this only bounds how late it asks',
    atLimit: 'while the stream of changes is down, the volume is looked up again',
  },
  lookupsMax: {
    value: 65_536,
    unit: 'volumes',
    reason: 'each is asked for once, however many wait',
    atLimit: 'the read fails with OVERLOADED',
  },
  clientAttemptsMax: {
    value: 16,
    unit: 'attempts',
    reason: 'with growing pauses about twenty seconds: a restart of a master or server',
    atLimit: 'the operation fails with the error of the last attempt',
  },
  clientRetryMs: {
    value: 30_000,
    unit: 'milliseconds',
    reason: 'longer than a fail-over takes; who wants to wait longer calls again',
    atLimit: 'the operation fails with the error of the last attempt',
  },
  orphansMax: {
    value: 4096,
    unit: 'needles',
    reason: 'stored by attempts that seemed to fail, to be deleted in the background',
    atLimit: 'further ones stay as garbage; the log names them',
  },
  batchInFlightDefault: {
    value: 64,
    unit: 'files',
    reason: 'puts share writes and syncs: more at a time add delay, not speed',
    atLimit: 'the next file of a batch begins when one is done',
  },
  batchInFlightMax: {
    value: 1024,
    unit: 'files',
    reason: 'results wait for their turn in memory',
    atLimit: 'a larger number is refused with CONFIG_INVALID',
  },
  batchDeletesMax: {
    value: 1000,
    unit: 'files',
    reason: 'a request of some 50 KB for each server',
    atLimit: 'the rest goes into the next request',
  },
  chunksReadAhead: {
    value: 2,
    unit: 'chunks',
    reason: 'with the one that is handed out 24 MiB for a file that is read as a stream',
    atLimit: 'the next chunk is asked for when one has been handed out',
  },
} as const satisfies Readonly<Record<string, Limit>>
