import type { FileId } from '../base/file-id.ts'
import type { VolumeId } from '../base/ids.ts'
import type { FileTokens } from '../net/file-token.ts'
import type { ReadShardSlicesRequest } from '../net/shard-api.ts'
import type { DeleteAnswer } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { DiskFile } from '../runtime/disk.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Metrics } from '../runtime/metrics.ts'
import type { Random } from '../runtime/random.ts'
import type { SignedRequest } from './http-replica.ts'
import type { NeedleAccess } from './needle-access.ts'
import type { PlaceOfShard } from './shard-sources.ts'

export interface VolumeHttpParts {
  readonly access: NeedleAccess
  readonly metrics: Metrics
  readonly logger: Logger
  readonly clock: Clock
  readonly random: Random
  /** Aborts when the server stops: what waits then gives up. */
  readonly signal: AbortSignal
  /** The members of `GET /status`. */
  readonly status: () => object | Promise<object>
  /** False: stopping, or no master knows this server. */
  readonly isReady: () => boolean
  /** Required when `needsReadToken` or `needsWriteToken` is set. */
  readonly tokens?: FileTokens
  /** Whether the request comes from a server of this cluster. Absent: none is believed to. */
  readonly verifyReplica?: (req: SignedRequest) => boolean
  /**
   * Opens the `.dat` of a volume for reading. Absent: nobody can copy volumes from here over HTTP.
   *
   * @throws {StoreError} VOLUME_NOT_FOUND, DISK_FAILED.
   */
  readonly openVolumeData?: (volumeId: VolumeId) => Promise<DiskFile>
  /**
   * Opens a shard for reading. Absent: nobody can copy shards from here over HTTP.
   *
   * @throws {StoreError} VOLUME_NOT_FOUND, SHARD_NOT_FOUND, DISK_FAILED.
   */
  readonly openShard?: (place: PlaceOfShard) => Promise<DiskFile>
  /**
   * Some slices of a shard, no more than fit into a message. There whenever `openShard` is.
   *
   * @throws {StoreError} VOLUME_NOT_FOUND, SHARD_NOT_FOUND, RANGE_INVALID, DISK_FAILED.
   */
  readonly readShard?: (request: ReadShardSlicesRequest) => Promise<Buffer>
  /** Deletes a chunk of a large file, on whichever server it is. Absent: only chunks here. */
  readonly deleteChunk?: (fileId: FileId, signal: AbortSignal) => Promise<DeleteAnswer>
}

export interface VolumeHttpConfig {
  /** Bytes of bodies that may be on their way in at once; 0: `LIMITS.httpUploadBytesMax`. */
  readonly uploadLimitBytes: number
  /** Bytes of answers that may be on their way out at once; 0: no limit. */
  readonly downloadLimitBytes: number
  /** The longest file that is taken. */
  readonly fileSizeLimitBytes: number
  /** What to do when a file of a volume on another server is asked for. */
  readonly readMode: 'proxy' | 'redirect' | 'local'
  /** Only reads are served, and nothing about the server itself. */
  readonly publicOnly?: boolean
  readonly needsReadToken?: boolean
  readonly needsWriteToken?: boolean
}
