import { StoreError } from '../base/store-error.ts'
import type { WriteCondition } from './namespace-api.ts'

/**
 * @param current undefined: there is no object, or a delete marker is the newest version.
 * @throws {StoreError} PRECONDITION_FAILED; OBJECT_NOT_FOUND: `ifMatch` of nothing.
 */
export function checkWriteCondition(
  current: { readonly etag: string } | undefined,
  condition: WriteCondition | undefined,
): void {
  const { ifMatch, ifNoneMatch } = condition ?? {}
  const matches = (etags: readonly string[]) =>
    current !== undefined && (etags.includes('*') || etags.includes(current.etag))
  if (ifMatch !== undefined && current === undefined) {
    throw new StoreError('OBJECT_NOT_FOUND', 'there is no object to match')
  }
  if (ifMatch !== undefined && !matches(ifMatch)) {
    throw new StoreError('PRECONDITION_FAILED', 'the object has another ETag')
  }
  if (ifNoneMatch !== undefined && matches(ifNoneMatch)) {
    throw new StoreError('PRECONDITION_FAILED', 'there is such an object already')
  }
}
