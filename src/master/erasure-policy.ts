import type { ErasureScheme } from '../base/erasure-scheme.ts'
import { formatErasureScheme, shardCountOf } from '../base/erasure-scheme.ts'
import { ttlToMs } from '../base/ttl.ts'
import type { VolumeFacts } from '../net/jobs-api.ts'
import { areInSync, queueOf, RISK, type VolumeAssessment } from './assess.ts'
import type { Collections } from './collections.ts'
import type { ErasureConfig } from './config.ts'
import type { QueueRequest } from './job-record.ts'

/** What is asked for where neither the request nor a setting says. */
const SCHEME_USUAL: ErasureScheme = { dataShards: 10, parityShards: 4 }

export interface ErasurePolicyParts {
  readonly collections: Pick<Collections, 'erasureOf'>
  /** Servers that shards can be put on now. */
  readonly serverCount: () => number
}

export interface ErasurePolicyOptions {
  readonly erasure: Pick<ErasureConfig, 'scheme' | 'fullPercent' | 'quietMs'>
  readonly volumeSizeMaxBytes: number
}

/** Undefined: volumes of the collection are not coded by themselves. */
export function schemeOf(
  collections: ErasurePolicyParts['collections'],
  collection: string,
  { erasure }: { readonly erasure: Pick<ErasureConfig, 'scheme'> },
): ErasureScheme | undefined {
  const own = collections.erasureOf(collection)
  if (own === 'off') return undefined
  return own ?? erasure.scheme
}

/** Which volumes are to be erasure-coded, and how. */
export class ErasurePolicy {
  readonly #parts: ErasurePolicyParts
  readonly #options: ErasurePolicyOptions

  constructor(parts: ErasurePolicyParts, options: ErasurePolicyOptions) {
    this.#parts = parts
    this.#options = options
  }

  /** As the function of that name. */
  schemeOf(collection: string): ErasureScheme | undefined {
    return schemeOf(this.#parts.collections, collection, this.#options)
  }

  /** For whoever asks for it although it may be off. */
  schemeAsked(collection: string): ErasureScheme {
    return this.schemeOf(collection) ?? this.#options.erasure.scheme ?? SCHEME_USUAL
  }

  /**
   * The job for a replicated volume that is full, at rest, and needs nothing else. One without any
   * needle is left alone: it would only take more room. So is one of which a single server would
   * get more shards than may be lost; somebody may still order that.
   */
  encodeOf(
    facts: VolumeFacts,
    assessment: VolumeAssessment,
    nowMs: number,
  ): QueueRequest | undefined {
    const scheme = this.schemeOf(facts.collection)
    if (scheme === undefined || facts.isDeleted || assessment.jobs.length > 0) return undefined
    if (ttlToMs(facts.ttl) > 0 || assessment.liveNeedles === 0 || !areInSync(facts))
      return undefined
    if (!this.#isFull(facts) || !this.#isQuiet(facts, nowMs)) return undefined
    if (this.#parts.serverCount() * scheme.parityShards < shardCountOf(scheme)) return undefined
    const { volumeId } = facts
    return {
      kind: 'ec-encode',
      target: { volumeId, erasure: scheme },
      reason: `it is full: ${formatErasureScheme(scheme)} takes less room`,
      risk: RISK.encode,
      queue: queueOf(facts),
      isAsked: false,
    }
  }

  #isFull({ members }: VolumeFacts): boolean {
    const { erasure, volumeSizeMaxBytes } = this.#options
    const fullBytes = (volumeSizeMaxBytes * erasure.fullPercent) / 100
    return members.some(({ report }) => {
      if (report === undefined) return false
      return report.state === 'sealed' || report.datBytes >= fullBytes
    })
  }

  #isQuiet({ members }: VolumeFacts, nowMs: number): boolean {
    const changedMs = Math.max(...members.map(({ report }) => (report?.modifiedAtS ?? 0) * 1000))
    return nowMs >= changedMs + this.#options.erasure.quietMs
  }
}
