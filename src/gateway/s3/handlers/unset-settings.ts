import type { S3Action } from '../access/s3-actions.ts'
import { S3Error, type S3ErrorCode } from '../s3-error.ts'
import type { S3Exchange } from '../s3-exchange.ts'
import { type S3Reply, xmlReply } from '../s3-reply.ts'

/** What a bucket never has, as a bucket that has it not says. */
export function unset(action: S3Action, write: () => string) {
  return async (exchange: S3Exchange): Promise<S3Reply> => {
    await exchange.bucket()
    exchange.authorize(action)
    return xmlReply(write())
  }
}

export function unsetError(action: S3Action, code: S3ErrorCode) {
  return async (exchange: S3Exchange): Promise<S3Reply> => {
    const { bucket } = await exchange.bucket()
    exchange.authorize(action)
    throw new S3Error(code, undefined, { fields: { BucketName: bucket.name } })
  }
}

/** Refused, but only to those who might have done it. */
export function notImplemented(action: S3Action) {
  return async (exchange: S3Exchange): Promise<S3Reply> => {
    await exchange.bucket()
    exchange.authorize(action)
    throw new S3Error('NotImplemented')
  }
}
