import { formatErasureScheme } from '../base/erasure-scheme.ts'
import { formatReplicaPlacement } from '../base/replica-placement.ts'
import type { VolumeFacts } from '../net/jobs-api.ts'
import { type AssessOptions, assess, type VolumeAssessment } from './assess.ts'
import { assessStripe, isCoded } from './assess-stripe.ts'
import type { ErasurePolicy } from './erasure-policy.ts'

/** How a volume is, with copies or coded, and what is to be done about it. */
export function assessVolume(
  facts: VolumeFacts,
  options: AssessOptions,
  policy?: Pick<ErasurePolicy, 'encodeOf'>,
): VolumeAssessment {
  if (isCoded(facts)) return assessStripe(facts, options)
  const found = assess(facts, options)
  const encode = policy?.encodeOf(facts, found, options.nowMs)
  return encode === undefined ? found : { ...found, jobs: [...found.jobs, encode] }
}

/** Like `replication 110` or `erasure 10+4`. */
export function schemeNameOf({ replication, stripe }: VolumeFacts): string {
  if (stripe !== undefined) return `erasure ${formatErasureScheme(stripe)}`
  return `replication ${formatReplicaPlacement(replication)}`
}
