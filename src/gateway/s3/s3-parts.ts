import type { HayloftClient } from '../../client/hayloft-client.ts'
import type { NamespaceApi } from '../../namespace/namespace-api.ts'
import type { Clock } from '../../runtime/clock.ts'
import type { Logger } from '../../runtime/logger.ts'
import type { Random } from '../../runtime/random.ts'
import type { UserDirectory } from './access/acl.ts'
import type { IpRange } from './access/ip-range.ts'
import type { KeyRing } from './auth/identity.ts'
import type { HashThreads } from './body/hash-threads.ts'

/** What the gateway translates between. */
export interface S3Parts {
  readonly namespace: NamespaceApi
  readonly client: HayloftClient
  readonly keys: KeyRing
  readonly users: UserDirectory
  readonly clock: Clock
  /** Version ids come from it: it must not be guessable. */
  readonly random: Random
  readonly logger: Logger
  /** How coded storage classes are stored, like `ec:4+2`; undefined: there are too few servers. */
  readonly codedPolicy: () => Promise<string | undefined>
  /** Compute the sums of long bodies; in this thread unless given. */
  readonly hashThreads?: HashThreads | undefined
  /** Aborts when the gateway closes. */
  readonly closing: AbortSignal
}

export interface S3Config {
  /** What clients may sign for and put buckets in. Undefined: any. */
  readonly region: string | undefined
  /** Hosts whose subdomains are buckets, without port, lower case. */
  readonly domains: readonly string[]
  readonly isV2Allowed: boolean
  /** The length of a day of lifecycle rules. */
  readonly dayMs: number
  /** Names of webhooks to which events are delivered; none unless given. */
  readonly webhooks?: ReadonlySet<string> | undefined
  /** Who is believed when it says for whom it asks; nobody unless given. */
  readonly trustedProxies?: readonly IpRange[] | undefined
}

/** What AWS calls its first region, and clients sign for unless told otherwise. */
export const DEFAULT_REGION = 'us-east-1'
