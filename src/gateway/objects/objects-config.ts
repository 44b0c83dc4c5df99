import { quote, StoreError } from '../../base/store-error.ts'
import { type ErasurePolicy, readPolicy } from '../../client/storage-policy.ts'
import type { Disk } from '../../runtime/disk.ts'
import type { Metrics } from '../../runtime/metrics.ts'
import type { DoorParts } from '../door-parts.ts'

export interface ObjectsParts extends DoorParts {
  /** For exports of the metrics. */
  readonly disk: Disk
  /** Of whoever serves them. */
  readonly metrics?: Metrics | undefined
}

/** What a recovery of a server put elsewhere. */
export interface RecoveryReport {
  readonly node: string
  /** With a copy or a shard on that server. */
  readonly objects: number
  readonly shards: number
  readonly replicas: number
  readonly durationMs: number
}

export type ObjectSpread = 'auto' | ErasurePolicy['spread']

export interface ObjectsConfig {
  readonly bucket: string
  /** `replicated`, or like `ec:2+1`. */
  readonly policy: string
  /** Of shards. `auto`: as wide as the servers there are allow. */
  readonly spread: ObjectSpread
  /** Of `replicated`: three digits; the cluster's unless given. */
  readonly replication?: string | undefined
  /** `best-effort`: an object counts when it can be read, and has all its shards soon after. */
  readonly writePolicy?: 'all' | 'best-effort' | undefined
  /** A larger upload is refused. */
  readonly maxFileBytes: number
  /** Where `/metrics/export` writes CSV; JSON goes beside it. Undefined: nowhere. */
  readonly metricsFile?: string | undefined
  /**
   * Makes anew, elsewhere, all that a server held.
   *
   * @throws {StoreError} NODE_NOT_FOUND; otherwise why it could not be done.
   */
  readonly recoverNode: (node: string, signal: AbortSignal) => Promise<RecoveryReport>
}

/** What `ec:…` of a policy says; undefined: whole copies. */
export interface ObjectPolicy {
  readonly policy: string
  readonly erasure: ErasurePolicy | undefined
}

/**
 * @throws {StoreError} CONFIG_INVALID, ERASURE_INVALID: neither `replicated` nor like `ec:2+1`, or
 * the spread is none.
 */
export function readObjectPolicy(config: Pick<ObjectsConfig, 'policy' | 'spread'>): ObjectPolicy {
  const { policy, spread } = config
  if (!/^(?:replicated$|ec:)/.test(policy)) {
    const why = `the policy of objects is ${quote(policy)}: replicated, or like ec:2+1`
    throw new StoreError('CONFIG_INVALID', why)
  }
  const erasure = readPolicy({ policy, spread: spread === 'auto' ? 'servers' : spread })
  return { policy, erasure }
}
