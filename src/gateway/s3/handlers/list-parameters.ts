import type { KeyEncoding } from '../documents/list-encoding.ts'
import { S3Error } from '../s3-error.ts'
import type { S3Exchange } from '../s3-exchange.ts'

export interface CountBounds {
  readonly min: number
  /** More is taken for this much. */
  readonly max: number
  /** Without the parameter. */
  readonly usual: number
}

/** @throws {S3Error} InvalidArgument: no whole number, or below the least. */
export function readCount(exchange: S3Exchange, name: string, bounds: CountBounds): number {
  const text = exchange.query(name)
  if (text === undefined || text === '') return bounds.usual
  const count = Number(text)
  if (/^\d{1,10}$/.test(text) && count <= 2 ** 31 - 1 && count >= bounds.min) {
    return Math.min(count, bounds.max)
  }
  const message = `Argument ${name} must be an integer between ${bounds.min} and 2147483647`
  const fields = { ArgumentName: name, ArgumentValue: text.slice(0, 100) }
  throw new S3Error('InvalidArgument', message, { fields })
}

/** @throws {S3Error} InvalidArgument: another encoding than `url`. */
export function readEncoding(exchange: S3Exchange): KeyEncoding {
  const text = exchange.query('encoding-type')
  if (text === undefined || text === '') return undefined
  if (text.toLowerCase() === 'url') return 'url'
  const fields = { ArgumentName: 'encoding-type', ArgumentValue: text.slice(0, 100) }
  throw new S3Error('InvalidArgument', 'Invalid Encoding Method specified in Request', { fields })
}
