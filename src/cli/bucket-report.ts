import { formatBytes } from '../base/units.ts'
import type { Bucket } from '../namespace/bucket-record.ts'
import type { BucketUsage } from '../namespace/namespace-api.ts'
import { table } from './status-report.ts'

const HEADINGS = ['BUCKET', 'VERSIONING', 'MAX SIZE', 'MAX OBJECTS', 'OWNER', 'CREATED'] as const

export function bucketTable(buckets: readonly Bucket[], owners: OwnerNames): readonly string[] {
  const rows = buckets.map((bucket) => {
    const { bytesMax, objectsMax } = bucket.quota
    const quota = [sizeText(bytesMax), countText(objectsMax)]
    const owner = owners.get(bucket.ownerId) ?? bucket.ownerId
    return [bucket.name, bucket.versioning, ...quota, owner, dateOf(bucket.createdAtMs)]
  })
  return table([HEADINGS, ...rows], Number.POSITIVE_INFINITY)
}

/** Of users, by canonical id. */
export type OwnerNames = ReadonlyMap<string, string>

export function bucketLines(
  bucket: Bucket,
  usage: BucketUsage,
  owners: OwnerNames,
): readonly string[] {
  const { bytesMax, objectsMax } = bucket.quota
  const owner = owners.get(bucket.ownerId)
  const settings = Object.keys(bucket.documents).sort().join(', ')
  const facts = [
    ['bucket', bucket.name],
    ['owner', owner === undefined ? bucket.ownerId : `${owner} (${bucket.ownerId})`],
    ['created', dateOf(bucket.createdAtMs)],
    ['versioning', bucket.versioning],
    ['object lock', bucket.isLockEnabled ? 'yes' : 'no'],
    ['settings', settings === '' ? '-' : settings],
    ['size', `${formatBytes(usage.bytes)} (${usage.bytes} bytes)`],
    ['objects', `${usage.objects} (all versions)`],
    ['max size', sizeText(bytesMax)],
    ['max objects', countText(objectsMax)],
  ]
  return table(facts, Number.POSITIVE_INFINITY)
}

/** For programs. Without a usage none is given. */
export function bucketJson(bucket: Bucket, usage?: BucketUsage): string {
  const { documents, id: _, quota, ...facts } = bucket
  const settings = Object.keys(documents).sort()
  return JSON.stringify({ ...facts, settings, quota, ...(usage && { usage }) })
}

export function quotaText({ quota: { bytesMax, objectsMax } }: Bucket): string {
  if (bytesMax === undefined && objectsMax === undefined) return 'no quota from now on'
  const size = bytesMax === undefined ? 'any size' : `at most ${formatBytes(bytesMax)}`
  const count = objectsMax === undefined ? 'any number of objects' : `at most ${objectsMax} objects`
  return `${size}, ${count} from now on`
}

function sizeText(bytesMax: number | undefined): string {
  return bytesMax === undefined ? '-' : formatBytes(bytesMax)
}

function countText(count: number | undefined): string {
  return count === undefined ? '-' : String(count)
}

function dateOf(ms: number): string {
  return new Date(ms).toISOString()
}
