import { LIMITS } from '../../base/limits.ts'
import { quote, StoreError } from '../../base/store-error.ts'

const INFO = '/info'

export interface ObjectPath {
  readonly key: string
  /** It ends in `/info`, which is no part of the key. */
  readonly isInfo: boolean
}

/**
 * The object that the target of a request means, like `/objects/a/b%2Fc?x=1`. Slashes of keys may
 * be percent-encoded or not, with one difference: `/info` at the end asks for facts about the
 * object before it where `hasInfo`, and `%2Finfo` never does.
 *
 * @throws {StoreError} NAME_INVALID: no key of 1 to 1,024 bytes of UTF-8 without NUL.
 */
export function parseObjectPath(target: string, hasInfo: boolean): ObjectPath {
  const [path = ''] = target.split('?')
  // The first segment may come percent-encoded too: what it is the router has seen.
  const rest = path.slice(path.indexOf('/', 1) + 1)
  const isInfo = hasInfo && rest.endsWith(INFO) && rest.length > INFO.length
  const key = decodeKey(isInfo ? rest.slice(0, -INFO.length) : rest)
  const sizeBytes = Buffer.byteLength(key)
  const max = LIMITS.fileNameMax.value
  if (sizeBytes === 0) throw new StoreError('NAME_INVALID', 'the key of the object is empty')
  if (sizeBytes > max) {
    throw new StoreError('NAME_INVALID', `the key has ${sizeBytes} bytes, ${max} at most`)
  }
  if (key.includes('\0')) throw new StoreError('NAME_INVALID', 'a key cannot have a NUL in it')
  return { key, isInfo }
}

function decodeKey(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch (cause) {
    const why = `the key ${quote(text)} is not UTF-8, percent-encoded`
    throw new StoreError('NAME_INVALID', why, { cause })
  }
}
