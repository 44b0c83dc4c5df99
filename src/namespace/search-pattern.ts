import { quote, StoreError } from '../base/store-error.ts'

/** What is looked for in names. */
export interface SearchPattern {
  /** `substring`: the name has it in it. `glob`: the whole name is like it. */
  readonly kind: 'substring' | 'glob'
  readonly text: string
}

export const SEARCH_KINDS = ['substring', 'glob'] as const
/** A glob may cost as many steps as it has characters, for each character of a name. */
export const PATTERN_CHARACTERS_MAX = 256

/** Stands for one character, whatever it is. */
const ANY = -1
const LONE_SURROGATE = /\p{Surrogate}/u
const ASCII = /^[\0-\x7f]*$/

/**
 * A name as it is compared: small letters instead of capitals, one character at a time, so that a
 * part of a name is folded like the same part of a pattern. Nothing is normalised otherwise.
 */
export function foldName(text: string): string {
  if (ASCII.test(text)) return text.toLowerCase()
  // A final sigma is a sigma: which of the two it is depends on what follows.
  return Array.from(text, (character) => character.toLowerCase())
    .join('')
    .replaceAll('ς', 'σ')
}

/** Says of names whether they are what is looked for. */
export class NameMatcher {
  /** What the stars stand between: code points, `ANY` among them. */
  readonly #segments: readonly (readonly number[])[]
  /** Runs of characters that every name has in it that matches; folded. */
  readonly literals: readonly string[]
  /** Steps that a character of a name may cost. */
  readonly #steps: number

  /** @throws {StoreError} REQUEST_INVALID: empty, too long, or nothing a name could have in it. */
  constructor({ kind, text }: SearchPattern) {
    checkText(text)
    this.#segments = kind === 'glob' ? segmentsOf(text) : [[], pointsOf(foldName(text)), []]
    this.literals = this.#segments.flatMap(literalsOf)
    this.#steps = Math.max(1, ...this.#segments.map(({ length }) => length))
  }

  /** Of a folded name. */
  matches(folded: string): boolean {
    const name = pointsOf(folded)
    const [first = [], ...others] = this.#segments
    const last = others.pop()
    if (last === undefined) return name.length === first.length && isAt(name, first, 0)
    const end = name.length - last.length
    if (end < first.length || !isAt(name, first, 0) || !isAt(name, last, end)) return false
    // The first place at which each fits leaves the most room for those behind it.
    let at = first.length
    for (const segment of others) {
      while (at + segment.length <= end && !isAt(name, segment, at)) at++
      if (at + segment.length > end) return false
      at += segment.length
    }
    return true
  }

  /** Steps at most that the comparison with this name takes. */
  costOf(folded: string): number {
    return folded.length * this.#steps
  }
}

function checkText(text: string): void {
  if (text === '') throw invalid('a search needs a pattern')
  if (
    text.length > 2 * PATTERN_CHARACTERS_MAX ||
    Array.from(text).length > PATTERN_CHARACTERS_MAX
  ) {
    throw invalid(`a pattern has ${PATTERN_CHARACTERS_MAX} characters at most`)
  }
  if (LONE_SURROGATE.test(text) || text.includes('\0')) {
    throw invalid(`the pattern ${quote(text)} is not proper Unicode`)
  }
}

/** `*` is anything, `?` one character, and a backslash takes the meaning of what follows away. */
function segmentsOf(glob: string): number[][] {
  const segments: number[][] = [[]]
  let isEscaped = false
  for (const character of glob) {
    const segment = segments.at(-1) ?? []
    if (!isEscaped && character === '\\') {
      isEscaped = true
      continue
    }
    if (!isEscaped && character === '*') segments.push([])
    else if (!isEscaped && character === '?') segment.push(ANY)
    else segment.push(...pointsOf(foldName(character)))
    isEscaped = false
  }
  if (isEscaped) throw invalid('a backslash at the end of a pattern means nothing')
  // Stars side by side are one.
  return segments.filter(
    ({ length }, index) => length > 0 || index === 0 || index === segments.length - 1,
  )
}

function literalsOf(segment: readonly number[]): string[] {
  const literals: string[] = []
  let run: number[] = []
  for (const point of [...segment, ANY]) {
    if (point !== ANY) run.push(point)
    else if (run.length > 0) {
      literals.push(String.fromCodePoint(...run))
      run = []
    }
  }
  return literals
}

function isAt(name: readonly number[], segment: readonly number[], at: number): boolean {
  for (let index = 0; index < segment.length; index++) {
    const point = segment[index]
    if (point !== ANY && point !== name[at + index]) return false
  }
  return true
}

function pointsOf(text: string): number[] {
  return Array.from(text, (character) => character.codePointAt(0) ?? 0)
}

function invalid(message: string): StoreError {
  return new StoreError('REQUEST_INVALID', message)
}
