import { objectKey, textAfterPrefix } from './row-keys.ts'
import { foldName } from './search-pattern.ts'
import { compareUtf8 } from './utf8-order.ts'

/**
 * The rows of a bucket whose keys are OWNER/NAME, by what is in the names:
 *
 *     search/{bucket}/{gram}\0{key}
 *
 * `gram` is each run of 1, 2 or 3 characters of the folded name, once. So the keys of all names
 * with such a run in them lie side by side in the order of the keys, those of one owner together:
 * what is looked for has a run of three, unless it is shorter, and then the run is all of it.
 */
export const SEARCH_VALUE = Buffer.of(1)

const GRAM_LENGTHS = [1, 2, 3] as const
export const GRAM_LENGTH_MAX = 3

/** The part of a key that is searched. What has no slash has no owner. */
export function nameInKey(key: string): string {
  return key.slice(key.indexOf('/') + 1)
}

/** Runs of at most three characters, each once. */
export function gramsOf(folded: string): ReadonlySet<string> {
  const characters = Array.from(folded)
  const grams = new Set<string>()
  for (const length of GRAM_LENGTHS) {
    for (let at = 0; at + length <= characters.length; at++) {
      grams.add(characters.slice(at, at + length).join(''))
    }
  }
  return grams
}

/** The runs of a literal that say most about it: of three characters, or all of it. */
export function longestGrams(literal: string): ReadonlySet<string> {
  const characters = Array.from(literal)
  const length = Math.min(GRAM_LENGTH_MAX, characters.length)
  return new Set([...gramsOf(literal)].filter((gram) => Array.from(gram).length === length))
}

/** All rows of a key. */
export function searchKeys(bucketId: number, key: string): string[] {
  const grams = gramsOf(foldName(nameInKey(key)))
  return Array.from(grams, (gram) => gramStart(bucketId, gram) + key)
}

/** What the rows of a gram begin with; the key follows. Undefined: the objects themselves. */
export function rowsStart(bucketId: number, gram: string | undefined): string {
  return gram === undefined ? objectKey(bucketId, '') : gramStart(bucketId, gram)
}

/** Rows of keys with a prefix, above the key `after`. Empty when `gte` is not below `lt`. */
export function keyRange(start: string, prefix: string, after: string) {
  const behind = prefix === '' ? undefined : textAfterPrefix(prefix)
  return {
    gte: after !== '' && compareUtf8(after, prefix) >= 0 ? `${start}${after}\0` : start + prefix,
    lt: behind === undefined ? (textAfterPrefix(start) ?? start) : start + behind,
  }
}

function gramStart(bucketId: number, gram: string): string {
  return `search/${bucketId.toString(16).padStart(8, '0')}/${gram}\0`
}
