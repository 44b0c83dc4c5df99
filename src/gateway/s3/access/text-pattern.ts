import { quote } from '../../../base/store-error.ts'

/** What `${name}` in a policy stands for; undefined: this request has no such value. */
export type VariableLookup = (name: PolicyVariable) => string | undefined

const POLICY_VARIABLES = ['aws:username', 'aws:userid'] as const
export type PolicyVariable = (typeof POLICY_VARIABLES)[number]

/** In place of a code unit: any text, also none. */
const ANY_TEXT = -1
/** In place of a code unit: one character. */
const ANY_CHARACTER = -2

type Token = number | PolicyVariable

/** A text of a policy, ready to be compared. */
export interface TextPattern {
  readonly tokens: readonly Token[]
  /** Without repetition. */
  readonly variables: readonly PolicyVariable[]
  readonly isCaseless: boolean
}

export interface PatternSyntax {
  /** `*` is any text and `?` one character; otherwise both are themselves. */
  readonly hasWildcards: boolean
  /** `${aws:username}` and the like are replaced; `${*}`, `${?}` and `${$}` are themselves. */
  readonly hasVariables: boolean
  readonly isCaseless?: boolean
}

/** The pattern, or in words what is wrong with it. */
export function parseTextPattern(source: string, syntax: PatternSyntax): TextPattern | string {
  const { hasWildcards, hasVariables, isCaseless = false } = syntax
  const text = isCaseless ? source.toLowerCase() : source
  const tokens: Token[] = []
  const variables = new Set<PolicyVariable>()
  for (let at = 0; at < text.length; at++) {
    if (hasVariables && text.startsWith('${', at)) {
      const end = text.indexOf('}', at)
      if (end < 0) return `${quote(source)} opens a variable and does not close it`
      const name = text.slice(at + 2, end)
      const variable = POLICY_VARIABLES.find((known) => known === name.toLowerCase())
      if (variable !== undefined) {
        tokens.push(variable)
        variables.add(variable)
      } else if (name === '*' || name === '?' || name === '$') {
        tokens.push(name.charCodeAt(0))
      } else {
        return `${quote(name)} is not a variable: ${POLICY_VARIABLES.join(', ')}, *, ? and $ are`
      }
      at = end
    } else {
      tokens.push(tokenOf(text, at, hasWildcards))
    }
  }
  return { tokens, variables: [...variables], isCaseless }
}

function tokenOf(text: string, at: number, hasWildcards: boolean): number {
  const unit = text.charCodeAt(at)
  if (!hasWildcards) return unit
  if (unit === 0x2a) return ANY_TEXT
  return unit === 0x3f ? ANY_CHARACTER : unit
}

/**
 * Whether all of `text` fits. What a variable stands for is compared letter by letter: a `*` in the
 * name of a user is no wildcard. A pattern with a variable that has no value fits nothing.
 *
 * Takes at most as many steps as text and pattern are long, multiplied: a policy cannot be written
 * that makes this exponential, as a regular expression could.
 */
export function matchesPattern(
  pattern: TextPattern,
  text: string,
  lookup: VariableLookup = () => undefined,
): boolean {
  const tokens = pattern.variables.length === 0 ? pattern.tokens : resolve(pattern, lookup)
  if (tokens === undefined) return false
  return matchesTokens(tokens, pattern.isCaseless ? text.toLowerCase() : text)
}

function resolve(pattern: TextPattern, lookup: VariableLookup): readonly Token[] | undefined {
  const tokens: Token[] = []
  for (const token of pattern.tokens) {
    if (typeof token === 'number') {
      tokens.push(token)
      continue
    }
    const value = lookup(token)
    if (value === undefined) return undefined
    const text = pattern.isCaseless ? value.toLowerCase() : value
    for (let at = 0; at < text.length; at++) tokens.push(text.charCodeAt(at))
  }
  return tokens
}

function matchesTokens(tokens: readonly Token[], text: string): boolean {
  let at = 0
  let index = 0
  // Where to go back to when a later part does not fit: the last `*` takes one unit more.
  let starIndex = -1
  let starAt = 0
  while (at < text.length) {
    const token = tokens[index]
    if (token === ANY_TEXT) {
      starIndex = index++
      starAt = at
    } else if (token === ANY_CHARACTER) {
      at += characterUnits(text, at)
      index++
    } else if (token === text.charCodeAt(at)) {
      at++
      index++
    } else if (starIndex >= 0) {
      index = starIndex + 1
      at = ++starAt
    } else {
      return false
    }
  }
  while (tokens[index] === ANY_TEXT) index++
  return index === tokens.length
}

/** Two for a character that UTF-16 writes as a pair. */
function characterUnits(text: string, at: number): number {
  return (text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1
}

/** For patterns without variables that are compared once. `?` is itself. */
export function matchesStars(source: string, text: string): boolean {
  const tokens = Array.from({ length: source.length }, (_, at) => source.charCodeAt(at))
  return matchesTokens(
    tokens.map((unit) => (unit === 0x2a ? ANY_TEXT : unit)),
    text,
  )
}
