import type { WriteCondition } from '../../../namespace/namespace-api.ts'
import { checkWriteCondition } from '../../../namespace/write-condition.ts'
import type { BucketView } from '../bucket-view.ts'
import type { S3Exchange } from '../s3-exchange.ts'

/**
 * Refuses a conditional write before its body is sent, when it cannot succeed as things are. What
 * counts is decided once more when the object is there.
 *
 * @throws {StoreError} PRECONDITION_FAILED, OBJECT_NOT_FOUND.
 */
export async function checkEarly(
  exchange: S3Exchange,
  view: BucketView,
  condition: WriteCondition | undefined,
): Promise<void> {
  if (condition === undefined) return
  const request = { bucket: view.ref, key: exchange.key }
  const found = await exchange.parts.namespace.findObject(request, exchange.signal)
  checkWriteCondition(found?.isMarker === true ? undefined : found, condition)
}
