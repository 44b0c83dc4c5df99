import type { CorsRule } from '../bucket-settings.ts'
import { S3Error } from '../s3-error.ts'
import { matchesStars } from './text-pattern.ts'

/** What a request says about where the page that sends it comes from. */
export interface CorsRequest {
  readonly method: string
  /** `Origin` */
  readonly origin: string | undefined
  /** `Access-Control-Request-Method` */
  readonly requestedMethod: string | undefined
  /** `Access-Control-Request-Headers` */
  readonly requestedHeaders: string | undefined
}

/** Whoever caches an answer of a bucket with rules must keep one for each of these. */
const VARY = 'Origin, Access-Control-Request-Headers, Access-Control-Request-Method'

/** A name of a header: nothing else of what was asked for is said back. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9a-z-]+$/

/**
 * Headers to add to the answer of a request that is not a preflight, also to an error. Where no
 * rule fits there is only `Vary`; where there are no rules, nothing.
 */
export function corsHeaders(
  rules: readonly CorsRule[],
  request: CorsRequest,
): Readonly<Record<string, string>> {
  if (rules.length === 0) return {}
  const { origin } = request
  // Clients that are no browser name the method they mean here too, and it is believed.
  const method = request.requestedMethod ?? request.method
  if (origin === undefined) return { Vary: VARY }
  const rule = rules.find((candidate) => isForOrigin(candidate, origin, method))
  return rule === undefined ? { Vary: VARY } : answer(rule, origin, [])
}

/**
 * Headers of the answer to an `OPTIONS` request.
 *
 * @throws {S3Error} InvalidRequest: it does not say where it comes from or what it asks for.
 * AccessForbidden: no rule allows it, or there is none.
 */
export function preflightHeaders(
  rules: readonly CorsRule[],
  request: CorsRequest,
): Readonly<Record<string, string>> {
  const { origin, requestedMethod, requestedHeaders } = request
  if (origin === undefined || requestedMethod === undefined) {
    throw new S3Error('InvalidRequest', 'Origin and Access-Control-Request-Method are needed')
  }
  const names = splitNames(requestedHeaders ?? '')
  const rule = rules.find(
    (candidate) =>
      isForOrigin(candidate, origin, requestedMethod) &&
      names.every((name) => isHeaderAllowed(candidate, name)),
  )
  if (rule === undefined) throw new S3Error('AccessForbidden')
  return answer(rule, origin, names)
}

function splitNames(text: string): readonly string[] {
  return text
    .split(',')
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== '')
}

function isForOrigin(rule: CorsRule, origin: string, method: string): boolean {
  if (!rule.allowedMethods.includes(method)) return false
  return originThatFits(rule, origin) !== undefined
}

function originThatFits(rule: CorsRule, origin: string): string | undefined {
  return rule.allowedOrigins.find((allowed) => matchesStars(allowed, origin))
}

function isHeaderAllowed(rule: CorsRule, name: string): boolean {
  if (!TOKEN.test(name)) return false
  return rule.allowedHeaders.some((allowed) => matchesStars(allowed.toLowerCase(), name))
}

function answer(
  rule: CorsRule,
  origin: string,
  names: readonly string[],
): Readonly<Record<string, string>> {
  // Credentials are never sent where everybody is meant: a browser refuses the pair.
  const isForAll = originThatFits(rule, origin) === '*'
  return {
    'Access-Control-Allow-Origin': isForAll ? '*' : origin,
    ...(isForAll ? {} : { 'Access-Control-Allow-Credentials': 'true' }),
    'Access-Control-Allow-Methods': rule.allowedMethods.join(', '),
    ...listHeader('Access-Control-Allow-Headers', names),
    ...listHeader('Access-Control-Expose-Headers', rule.exposeHeaders),
    ...(rule.maxAgeSeconds === undefined
      ? {}
      : { 'Access-Control-Max-Age': String(rule.maxAgeSeconds) }),
    Vary: VARY,
  }
}

function listHeader(name: string, values: readonly string[]): Readonly<Record<string, string>> {
  return values.length === 0 ? {} : { [name]: values.join(', ') }
}
