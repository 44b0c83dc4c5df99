import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FileTokens } from '../net/file-token.ts'
import type { JobsApi } from '../net/jobs-api.ts'
import type { MasterApi } from '../net/master-api.ts'
import type { ConnectVolume } from '../net/volume-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Metrics } from '../runtime/metrics.ts'
import type { Random } from '../runtime/random.ts'

export interface MasterHttpParts {
  readonly api: MasterApi
  readonly jobs: Pick<JobsApi, 'health' | 'volumeFacts' | 'noteVacuum'>
  readonly connect: ConnectVolume
  /** Undefined: the cluster uses no tokens. */
  readonly tokens: FileTokens | undefined
  readonly metrics: Metrics
  readonly logger: Logger
  readonly clock: Clock
  readonly random: Random
}

export interface MasterHttpConfig {
  /** Where this master's gRPC listens: `/cluster/status` tells it to clients. */
  readonly grpcPort: number
  /** Of an upload to `/submit`. */
  readonly submitBytesMax: number
  /** Of a file that is put by its name. */
  readonly nameBytesMax: number
  /** Volume servers ask for write tokens; leases carry them. */
  readonly usesWriteTokens: boolean
  /** Volume servers ask for read tokens. */
  readonly usesReadTokens: boolean
  readonly tokenSeconds: number
  /** A vacuum without a threshold rewrites volumes with more garbage than this: 0 to 1. */
  readonly garbageThreshold: number
}

/** One request on its way through the master. */
export interface MasterExchange {
  readonly req: IncomingMessage
  readonly res: ServerResponse
  /** As it was sent, still with its percent escapes; begins with a slash. */
  readonly path: string
  /** As it was sent: empty, or `?` and the rest. */
  readonly search: string
  /** The query, and a form in the body of a POST where a route reads it. */
  readonly query: URLSearchParams
  /** Aborts when the client goes away. */
  readonly signal: AbortSignal
}
