import type { HayloftClient } from '../../client/hayloft-client.ts'
import type { NamespaceApi } from '../../namespace/namespace-api.ts'
import type { Clock } from '../../runtime/clock.ts'
import type { Logger } from '../../runtime/logger.ts'
import type { Random } from '../../runtime/random.ts'
import type { UserDirectory } from './access/acl.ts'
import type { KeyRing } from './auth/identity.ts'

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
}

/** What AWS calls its first region, and clients sign for unless told otherwise. */
export const DEFAULT_REGION = 'us-east-1'
