import type { BucketView } from '../bucket-view.ts'
import type { KeysPage } from '../documents/keys-page.ts'
import type { KeyEncoding } from '../documents/list-encoding.ts'
import { invalidArgument } from '../invalid-argument.ts'
import type { S3Exchange } from '../s3-exchange.ts'

export interface CountBounds {
  readonly min: number
  /** More is taken for this much. */
  readonly max: number
  /** Without the parameter. */
  readonly usual: number
}

/** Entries of a page, as S3 counts them. */
export const ENTRIES: CountBounds = { min: 0, max: 1000, usual: 1000 }

/** @throws {S3Error} InvalidArgument: no whole number, or below the least. */
export function readCount(exchange: S3Exchange, name: string, bounds: CountBounds): number {
  const text = exchange.query(name)
  if (text === undefined || text === '') return bounds.usual
  const count = Number(text)
  if (/^\d{1,10}$/.test(text) && count <= 2 ** 31 - 1 && count >= bounds.min) {
    return Math.min(count, bounds.max)
  }
  const message = `Argument ${name} must be an integer between ${bounds.min} and 2147483647`
  throw invalidArgument(message, name, text)
}

/** @throws {S3Error} InvalidArgument: another encoding than `url`. */
export function readEncoding(exchange: S3Exchange): KeyEncoding {
  const text = exchange.query('encoding-type')
  if (text === undefined || text === '') return undefined
  if (text.toLowerCase() === 'url') return 'url'
  throw invalidArgument('Invalid Encoding Method specified in Request', 'encoding-type', text)
}

/** What every list of keys is asked for. @throws {S3Error} InvalidArgument */
export function readListRequest(
  exchange: S3Exchange,
  view: BucketView,
  limitName: 'max-keys' | 'max-uploads',
) {
  return {
    bucket: view.ref,
    prefix: exchange.query('prefix') ?? '',
    delimiter: exchange.query('delimiter') ?? '',
    limit: readCount(exchange, limitName, ENTRIES),
    encoding: readEncoding(exchange),
  }
}

export type ListRequest = ReturnType<typeof readListRequest>

/** What every list of keys says of its page. */
export function keysPage(
  view: BucketView,
  { delimiter, encoding, prefix }: ListRequest,
  { commonPrefixes, next }: { readonly commonPrefixes: readonly string[]; readonly next: unknown },
): KeysPage {
  return {
    bucket: view.bucket.name,
    prefix,
    delimiter: delimiter === '' ? undefined : delimiter,
    encoding,
    isTruncated: next !== undefined,
    commonPrefixes,
  }
}
