import type { WriteCondition } from '../../../namespace/namespace-api.ts'
import type { BucketView } from '../bucket-view.ts'
import { S3Error } from '../s3-error.ts'
import type { S3Exchange } from '../s3-exchange.ts'

/**
 * Refuses a conditional write before its body is sent, when it cannot succeed as things are. What
 * counts is decided once more when the object is there.
 *
 * @throws {S3Error} PreconditionFailed, NoSuchKey.
 */
export async function checkEarly(
  exchange: S3Exchange,
  view: BucketView,
  condition: WriteCondition | undefined,
): Promise<void> {
  if (condition === undefined) return
  const request = { bucket: view.ref, key: exchange.key }
  const found = await exchange.parts.namespace.findObject(request, exchange.signal)
  const current = found?.isMarker === true ? undefined : found
  const { ifMatch, ifNoneMatch } = condition
  const matches = (etags: readonly string[]) =>
    current !== undefined && (etags.includes('*') || etags.includes(current.etag))
  if (ifMatch !== undefined && current === undefined) throw new S3Error('NoSuchKey')
  if (ifMatch !== undefined && !matches(ifMatch)) throw new S3Error('PreconditionFailed')
  if (ifNoneMatch !== undefined && matches(ifNoneMatch)) throw new S3Error('PreconditionFailed')
}
