import { parseFileIdPath } from '../base/file-id.ts'
import { LIMITS } from '../base/limits.ts'
import { isStoreError, quote, StoreError } from '../base/store-error.ts'

/** First segments that the master's own paths begin with. */
export const RESERVED_SEGMENTS: readonly string[] = [
  'dir',
  'vol',
  'col',
  'collection',
  'cluster',
  'submit',
  'ui',
  'metrics',
  'healthz',
  'readyz',
  'stats',
  'raft',
]

const RESERVED: ReadonlySet<string> = new Set(RESERVED_SEGMENTS)
const LONE_SURROGATE = /\p{Surrogate}/u

/**
 * The name itself if a file may have it: 1 to 1024 bytes of UTF-8 in segments between slashes, none
 * of them empty, `.` or `..`. So no other text means the same file: nothing is resolved, cut or
 * normalised, and names that differ in any byte are different names.
 *
 * @throws {StoreError} NAME_INVALID: none of this, a NUL in it, one of the master's own paths, or
 * what reads as a file id in a URL.
 */
export function parseFileName(text: string): string {
  const reason = whyNoName(text)
  if (reason !== undefined) throw new StoreError('NAME_INVALID', `${quote(text)} ${reason}`)
  return text
}

function whyNoName(text: string): string | undefined {
  if (text === '') return 'is empty'
  if (LONE_SURROGATE.test(text)) return 'is not proper Unicode'
  const bytes = Buffer.byteLength(text)
  const bytesMax = LIMITS.fileNameMax.value
  if (bytes > bytesMax) return `has ${bytes} bytes, ${bytesMax} at most`
  if (text.includes('\0')) return 'has a NUL in it'
  const segments = text.split('/')
  if (segments.includes('')) return 'has an empty segment: one slash between two, none at the ends'
  if (segments.some((segment) => segment === '.' || segment === '..')) {
    return 'has a segment that is . or ..'
  }
  const [first = ''] = segments
  if (RESERVED.has(first)) return `begins with ${first}, which is the master's own`
  return segments.length === 1 && readsAsFileId(text) ? 'reads as a file id' : undefined
}

/** With an extension too: `GET /3,01637037d6.jpg` has always been the file with that id. */
function readsAsFileId(segment: string): boolean {
  if (!segment.includes(',')) return false
  try {
    parseFileIdPath(`/${segment.replaceAll('%', '%25')}`)
    return true
  } catch (error) {
    if (isStoreError(error, 'FILE_ID_INVALID')) return false
    throw error
  }
}
