import type { FastifyError } from 'fastify'
import { type ErrorCode, isStoreError, StoreError } from '../../base/store-error.ts'
import { HTTP_STATUS } from '../../net/http-reply.ts'
import type { Logger } from '../../runtime/logger.ts'

/** A `StoreError` that a route answers with another status than the usual one of its code. */
export function restError(
  status: number,
  code: ErrorCode,
  message: string,
  options?: { readonly cause?: unknown },
): StoreError {
  return Object.assign(new StoreError(code, message, options), { statusCode: status })
}

/** What all errors look like, those of the framework included. */
export interface ErrorBody {
  /** What is wrong, in words. */
  readonly detail: string
  /** One of `ERROR_CODES`, or `INTERNAL`. */
  readonly code: string
}

export interface RestFailure {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: ErrorBody
}

/** Here nobody asks for a placement: that there are too few servers is no fault of the request. */
const REST_STATUS: Partial<Record<ErrorCode, number>> = { PLACEMENT_IMPOSSIBLE: 503 }

/** Where a caller is told to wait a little and come again. */
const RETRY_AFTER_S = '1'

/**
 * How an error leaves. One that is neither a `StoreError` nor the framework's word about the
 * request is ours: it is logged, and the caller learns nothing but 500.
 */
export function failureOf(
  error: unknown,
  request: { readonly method: string; readonly url: string },
  logger: Logger,
): RestFailure {
  const { method, url } = request
  if (isStoreError(error)) {
    const status = ownStatusOf(error) ?? REST_STATUS[error.code] ?? HTTP_STATUS[error.code]
    if (status === 500) logger.error('rest.request_failed', { method, url, error })
    const headers = status === 429 || status === 503 ? { 'retry-after': RETRY_AFTER_S } : {}
    return { status, headers, body: { detail: error.message, code: error.code } }
  }
  const refusal = refusalOf(error)
  if (refusal !== undefined) return { ...refusal, headers: {} }
  logger.error('rest.handler_failed', { method, url, error })
  return { status: 500, headers: {}, body: { detail: 'internal error', code: 'INTERNAL' } }
}

function ownStatusOf(error: StoreError): number | undefined {
  const { statusCode } = error as { readonly statusCode?: unknown }
  return typeof statusCode === 'number' ? statusCode : undefined
}

/** What the framework found wrong with a request before a handler saw it. */
function refusalOf(error: unknown): Omit<RestFailure, 'headers'> | undefined {
  if (!(error instanceof Error)) return undefined
  const { message, statusCode, validation } = error as Partial<FastifyError> & Error
  if (validation !== undefined) {
    return { status: 422, body: { detail: message, code: 'REQUEST_INVALID' } }
  }
  if (statusCode === undefined || statusCode < 400 || statusCode >= 500) return undefined
  const code: ErrorCode = statusCode === 413 ? 'BODY_TOO_LARGE' : 'REQUEST_INVALID'
  return { status: statusCode, body: { detail: message, code } }
}
