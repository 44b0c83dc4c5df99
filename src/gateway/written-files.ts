import { isStoreError } from '../base/store-error.ts'

/**
 * Needles that nothing names are collected once they are a day old: whoever took nearly as long to
 * send them cannot have them named any more.
 */
export const STORE_MS_MAX = 20 * 3_600_000

/**
 * The change that would have named stored bytes surely did not happen. That an upload is gone says
 * nothing: a part may have been taken, its answer lost, and the upload completed with it since.
 */
export function isRefused(error: unknown): boolean {
  return isStoreError(
    error,
    'BUCKET_NOT_FOUND',
    'INTENT_LOST',
    'OBJECT_LOCKED',
    'OBJECT_NOT_FOUND',
    'PART_INVALID',
    'PRECONDITION_FAILED',
    'QUOTA_EXCEEDED',
    'NAME_INVALID',
    'REQUEST_INVALID',
  )
}
