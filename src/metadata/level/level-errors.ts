import { type ErrorCode, isStoreError, StoreError } from '../../base/store-error.ts'

/** What LevelDB's own codes mean. Its messages decide only where it has one code for two things. */
const CODE_BY_LEVEL_CODE: ReadonlyMap<string, ErrorCode> = new Map([
  ['LEVEL_LOCKED', 'DIRECTORY_LOCKED'],
  ['LEVEL_CORRUPTION', 'METADATA_CORRUPT'],
  ['LEVEL_DATABASE_NOT_OPEN', 'CLOSED'],
  ['LEVEL_ITERATOR_NOT_OPEN', 'CLOSED'],
])

/** Wraps what the database threw while it was `doing` something to the store in `directory`. */
export function levelError(doing: string, directory: string, error: unknown): StoreError {
  if (isStoreError(error)) return error
  const text = messageOf(error)
  const message = `${doing} the store in ${directory} failed: ${text}`
  return new StoreError(codeOf(error, text), message, { cause: error })
}

function codeOf(error: unknown, text: string): ErrorCode {
  for (const cause of causesOf(error)) {
    const known = CODE_BY_LEVEL_CODE.get(cause)
    // "Not open" is only what opening failed with as a whole; its cause says why.
    if (known !== undefined && known !== 'CLOSED') return known
  }
  if (/no space left|quota exceeded/i.test(text)) return 'DISK_FULL'
  if (/permission denied|read-only file system|not a directory/i.test(text)) {
    return 'DIRECTORY_UNUSABLE'
  }
  const [first = ''] = causesOf(error)
  if (hasCause(error)) return 'DISK_FAILED'
  return CODE_BY_LEVEL_CODE.get(first) ?? 'DISK_FAILED'
}

/** The codes of the error and of what caused it, outermost first. */
function causesOf(error: unknown): string[] {
  if (typeof error !== 'object' || error === null) return []
  const own = 'code' in error && typeof error.code === 'string' ? [error.code] : []
  return 'cause' in error ? [...own, ...causesOf(error.cause)] : own
}

function hasCause(error: unknown): boolean {
  return error instanceof Error && error.cause !== undefined
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause === undefined ? error.message : `${error.message}: ${messageOf(error.cause)}`
}
