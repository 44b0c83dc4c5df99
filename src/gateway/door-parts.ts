import type { HayloftClient } from '../client/hayloft-client.ts'
import type { NamespaceApi } from '../namespace/namespace-api.ts'
import type { JobsApi } from '../net/jobs-api.ts'
import type { MasterApi } from '../net/master-api.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import type { DoorBuckets } from './door-buckets.ts'
import type { GatewaySession } from './gateway-session.ts'

/** What the gateways beside S3 translate between. */
export interface DoorParts {
  readonly namespace: NamespaceApi
  readonly client: HayloftClient
  readonly master: MasterApi
  readonly jobs: JobsApi
  readonly session: GatewaySession
  readonly buckets: DoorBuckets
  readonly clock: Clock
  /** Version ids come from it: it must not be guessable. */
  readonly random: Random
  readonly logger: Logger
  /** Aborts when the gateway closes. */
  readonly closing: AbortSignal
}
