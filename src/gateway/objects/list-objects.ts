import { LIMITS } from '../../base/limits.ts'
import { StoreError } from '../../base/store-error.ts'
import type { BucketRef, NamespaceApi } from '../../namespace/namespace-api.ts'

export interface ListObjectsQuery {
  readonly prefix: string
  readonly after: string
  /** Undefined: all. */
  readonly limit?: number | undefined
}

export interface KeyPage {
  readonly objects: readonly string[]
  readonly count: number
  /** To be given as `after`; undefined: nothing follows. */
  readonly next?: string | undefined
}

/** More keys than this are sent page by page. */
const PAGE_KEYS = 1000

/**
 * What is asked for, at once when it is one page, otherwise as pieces of JSON: so a list of all
 * there is, which clients may ask for, takes no more memory than a page.
 *
 * @throws {StoreError} The errors of `NamespaceApi.listObjects`.
 */
export async function listObjects(
  namespace: NamespaceApi,
  bucket: BucketRef,
  query: ListObjectsQuery,
  signal: AbortSignal,
): Promise<KeyPage | AsyncIterable<string>> {
  const { after, limit = Number.POSITIVE_INFINITY, prefix } = query
  checkText(prefix, 'prefix')
  checkText(after, 'after')
  const pageAfter = async (key: string, count: number) => {
    const request = { bucket, prefix, delimiter: '', after: key }
    const size = Math.min(count, PAGE_KEYS)
    const page = await namespace.listObjects({ ...request, limit: size }, signal)
    return { keys: page.objects.map((listed) => listed.key), next: page.next }
  }
  const first = await pageAfter(after, limit)
  const { keys, next } = first
  if (next !== undefined && keys.length < limit) return allPages(first, limit, pageAfter)
  return { objects: keys, count: keys.length, ...(next !== undefined && { next }) }
}

interface Page {
  readonly keys: readonly string[]
  readonly next: string | undefined
}

async function* allPages(
  first: Page,
  limit: number,
  pageAfter: (key: string, count: number) => Promise<Page>,
): AsyncGenerator<string, void, undefined> {
  let page = first
  let count = 0
  yield '{"objects":['
  for (;;) {
    const text = page.keys.map((key) => JSON.stringify(key)).join(',')
    if (text !== '') yield count === 0 ? text : `,${text}`
    count += page.keys.length
    if (page.next === undefined || count >= limit) break
    page = await pageAfter(page.next, limit - count)
  }
  const next = page.next === undefined ? '' : `,"next":${JSON.stringify(page.next)}`
  yield `],"count":${count}${next}}`
}

/** @throws {StoreError} NAME_INVALID: no key begins so, or can be passed so. */
function checkText(text: string, name: string): void {
  const max = LIMITS.fileNameMax.value
  const sizeBytes = Buffer.byteLength(text)
  if (sizeBytes <= max && !text.includes('\0')) return
  throw new StoreError('NAME_INVALID', `${name}: at most ${max} bytes, none of them 0`)
}
