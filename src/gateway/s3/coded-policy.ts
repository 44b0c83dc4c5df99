import { type ErasureScheme, parseErasureScheme } from '../../base/erasure-scheme.ts'
import type { VolumeId } from '../../base/ids.ts'
import { StoreError } from '../../base/store-error.ts'
import type { MasterApi } from '../../net/master-api.ts'
import type { Clock } from '../../runtime/clock.ts'
import { COPIED_COLLECTION } from '../stored-bytes.ts'

export interface CodedPolicyParts {
  readonly master: Pick<MasterApi, 'topology'>
  readonly clock: Clock
  readonly closing: AbortSignal
}

/** @throws {StoreError} CONFIG_INVALID, ERASURE_INVALID: no policy like `ec:4+2`. */
export function parseCodedPolicy(policy: string): ErasureScheme {
  const [, scheme] = /^ec:(.+)$/.exec(policy) ?? []
  if (scheme !== undefined) return parseErasureScheme(scheme)
  throw new StoreError('CONFIG_INVALID', `${policy} is no policy of coded classes, like ec:4+2`)
}

/** Servers come and go slowly. */
const FRESH_MS = 10_000

/**
 * How erasure-coded storage classes are stored: by the given policy while there are servers enough
 * for its shards. A smaller cluster keeps copies of what is written into such a class; it stays in
 * the class, and lifecycle passes give it shards once there are servers enough.
 */
export class CodedPolicy {
  readonly #parts: CodedPolicyParts
  readonly #policy: string
  readonly #shardCount: number
  #known: { readonly value: string | undefined; readonly atMs: number } | undefined

  /** @throws {StoreError} CONFIG_INVALID, ERASURE_INVALID: no policy like `ec:4+2`. */
  constructor(parts: CodedPolicyParts, policy: string) {
    const { dataShards, parityShards } = parseCodedPolicy(policy)
    this.#parts = parts
    this.#policy = policy
    this.#shardCount = dataShards + parityShards
  }

  /** Volumes whose files are copies, of every class. */
  async copiedVolumes(): Promise<ReadonlySet<VolumeId>> {
    const { closing, master } = this.#parts
    const { nodes } = await master.topology(closing)
    const reports = nodes.flatMap(({ volumes }) => volumes)
    const copied = reports.filter(({ collection }) => collection === COPIED_COLLECTION)
    return new Set(copied.map(({ volumeId }) => volumeId))
  }

  /** Undefined: copies. */
  async current(): Promise<string | undefined> {
    const { clock, closing, master } = this.#parts
    const nowMs = clock.monotonicMs()
    if (this.#known !== undefined && nowMs - this.#known.atMs < FRESH_MS) return this.#known.value
    const { nodes } = await master.topology(closing)
    const count = nodes.filter(({ isDraining }) => !isDraining).length
    const value = count >= this.#shardCount ? this.#policy : undefined
    this.#known = { value, atMs: nowMs }
    return value
  }
}
