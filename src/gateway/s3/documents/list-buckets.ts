import type { Owner } from '../bucket-settings.ts'
import { iso8601, textElement, xmlDocument, xmlElement } from '../xml/xml-writer.ts'
import { ownerElement } from './owner-element.ts'

export interface ListedBucket {
  readonly name: string
  readonly createdAtMs: number
  /** Undefined: the caller did not ask for a page, and so not for regions. */
  readonly region: string | undefined
}

export interface BucketsPage {
  readonly owner: Owner
  readonly buckets: readonly ListedBucket[]
  /** Undefined: these are the last ones. */
  readonly continuationToken: string | undefined
  /** As it was asked for. */
  readonly prefix: string | undefined
}

/** `ListAllMyBucketsResult`. */
export function writeListBuckets(page: BucketsPage): string {
  return xmlDocument(
    'ListAllMyBucketsResult',
    [
      ownerElement(page.owner),
      xmlElement('Buckets', page.buckets.map(writeBucket).join('')),
      textElement('ContinuationToken', page.continuationToken),
      textElement('Prefix', page.prefix),
    ].join(''),
  )
}

function writeBucket(bucket: ListedBucket): string {
  const name = textElement('Name', bucket.name)
  const time = textElement('CreationDate', iso8601(bucket.createdAtMs))
  return `<Bucket>${name}${time}${textElement('BucketRegion', bucket.region)}</Bucket>`
}
