import { crc32c } from '../base/crc32c.ts'
import { isStoreError } from '../base/store-error.ts'
import type { Ttl } from '../base/ttl.ts'
import { encodeAttributes, type NeedleAttributes } from '../format/needle-attributes.ts'

/**
 * The same for two copies of a needle that say the same, whoever wrote them: times are left out,
 * because each copy may have been given its own, and a needle without a time to live has that of
 * its volume.
 */
export function attributesHash(attributes: NeedleAttributes, volumeTtl: Ttl): number {
  const ttl = attributes.ttl ?? volumeTtl
  const pairs = attributes.pairs && sortedPairs(attributes.pairs)
  try {
    return crc32c(encodeAttributes({ ...attributes, pairs, ttl, lastModifiedS: 0 }))
  } catch (error) {
    // A name that is no UTF-8 may need more room than it has once it is decoded.
    if (!isStoreError(error, 'NEEDLE_INVALID')) throw error
    const { name, mime } = attributes
    return crc32c(Buffer.from(JSON.stringify([name, mime, pairs, ttl])))
  }
}

function sortedPairs(pairs: Readonly<Record<string, string>>): Record<string, string> {
  const sorted: Record<string, string> = Object.create(null)
  for (const key of Object.keys(pairs).toSorted()) sorted[key] = pairs[key] ?? ''
  return sorted
}
