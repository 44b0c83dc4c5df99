import type { Tag } from '../bucket-settings.ts'
import { S3Error } from '../s3-error.ts'
import { parseXml } from '../xml/xml-reader.ts'
import { checkTags, readTagElements } from './tagging.ts'

export interface CreateBucketSettings {
  /** Undefined: it may be wherever we like. */
  readonly region: string | undefined
  readonly tags: readonly Tag[]
}

/**
 * `CreateBucketConfiguration`. Whether the region is ours is the caller's to judge.
 *
 * @throws {S3Error} MalformedXML. InvalidTag. NotImplemented: a directory bucket is asked for.
 */
export function readCreateBucketConfiguration(body: Uint8Array): CreateBucketSettings {
  const root = parseXml(body, 'CreateBucketConfiguration')
  root.only('LocationConstraint', 'Location', 'Bucket', 'Tags')
  if (root.child('Location') !== undefined || root.child('Bucket') !== undefined) {
    throw new S3Error('NotImplemented', 'Directory buckets are not implemented.')
  }
  const region = root.text('LocationConstraint')?.trim()
  const tagSet = root.child('Tags')
  const tags = tagSet === undefined ? [] : readTagElements(tagSet)
  checkTags(tags, 'bucket')
  return { region: region === '' ? undefined : region, tags }
}
