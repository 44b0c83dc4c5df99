import { StoreError } from '../base/store-error.ts'
import { parseUserPolicy } from '../gateway/s3/access/policy-document.ts'
import { isS3Error } from '../gateway/s3/s3-error.ts'

/** @throws {StoreError} REQUEST_INVALID: gateways would not understand the policy. */
export function checkUserPolicy(json: string): void {
  try {
    parseUserPolicy(json)
  } catch (cause) {
    if (!isS3Error(cause)) throw cause
    throw new StoreError('REQUEST_INVALID', `the policy cannot be used: ${cause.message}`, {
      cause,
    })
  }
}
