import { REQUEST_TAG_PREFIX } from './access/condition-keys.ts'
import type { ConditionContext } from './access/policy-conditions.ts'
import { parseTaggingHeader } from './documents/tagging.ts'
import { S3Error } from './s3-error.ts'
import type { S3Exchange } from './s3-exchange.ts'

const DAY_MS = 86_400_000

/** Condition keys that are the value of a header. */
const HEADER_KEYS: ReadonlyMap<string, string> = new Map([
  ['aws:Referer', 'referer'],
  ['aws:UserAgent', 'user-agent'],
  ['s3:if-match', 'if-match'],
  ['s3:if-none-match', 'if-none-match'],
  ['s3:object-lock-legal-hold', 'x-amz-object-lock-legal-hold'],
  ['s3:object-lock-mode', 'x-amz-object-lock-mode'],
  ['s3:object-lock-retain-until-date', 'x-amz-object-lock-retain-until-date'],
])

const QUERY_KEYS: ReadonlyMap<string, string> = new Map([
  ['s3:VersionId', 'versionId'],
  ['s3:delimiter', 'delimiter'],
  ['s3:max-keys', 'max-keys'],
  ['s3:prefix', 'prefix'],
])

/** What the conditions of policies can ask of a request. */
export function requestContext(exchange: S3Exchange): ConditionContext {
  return (name) => {
    const value = conditionValue(exchange, name)
    return typeof value === 'string' ? [value] : value
  }
}

function conditionValue(
  exchange: S3Exchange,
  name: string,
): string | readonly string[] | undefined {
  const header = HEADER_KEYS.get(name)
  if (header !== undefined) return exchange.header(header)
  const parameter = QUERY_KEYS.get(name)
  if (parameter !== undefined) return exchange.query(parameter)
  if (name.startsWith('s3:x-amz-')) return exchange.header(name.slice('s3:'.length))
  if (name.startsWith(REQUEST_TAG_PREFIX)) {
    return requestTags(exchange).get(name.slice(REQUEST_TAG_PREFIX.length))
  }
  return otherValueOf(exchange, name)
}

function otherValueOf(exchange: S3Exchange, name: string): string | readonly string[] | undefined {
  const { parts, principal, request } = exchange
  switch (name) {
    case 'aws:CurrentTime':
      return new Date(parts.clock.nowMs()).toISOString()
    case 'aws:EpochTime':
      return String(Math.floor(parts.clock.nowMs() / 1000))
    case 'aws:PrincipalType':
      return principal === undefined ? 'Anonymous' : principal.isRoot ? 'Account' : 'User'
    case 'aws:SecureTransport':
      return String(request.isTls)
    case 'aws:SourceIp':
      return request.remoteAddress
    case 'aws:userid':
      return principal?.canonicalId
    case 'aws:username':
      return principal?.name
    case 's3:RequestObjectTagKeys':
      return [...requestTags(exchange).keys()]
    case 's3:object-lock-remaining-retention-days':
      return remainingDays(exchange)
    default:
      return signatureValueOf(exchange, name)
  }
}

function signatureValueOf(exchange: S3Exchange, name: string): string | undefined {
  const { authentication } = exchange
  if (authentication.kind === 'anonymous') return undefined
  const { form } = authentication
  switch (name) {
    case 's3:authType':
      if (form.endsWith('form')) return 'POST'
      return form.endsWith('query') ? 'REST-QUERY-STRING' : 'REST-HEADER'
    case 's3:signatureversion':
      return form.startsWith('v4') ? 'AWS4-HMAC-SHA256' : 'AWS'
    case 's3:signatureAge':
      return signatureAgeMs(exchange)
    default:
      return undefined
  }
}

function signatureAgeMs(exchange: S3Exchange): string | undefined {
  const date = exchange.query('X-Amz-Date')
  const [, year, month, day, hour, minute, second] =
    /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(date ?? '') ?? []
  if (second === undefined) return undefined
  const signedAt = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
  return String(Math.max(0, exchange.parts.clock.nowMs() - signedAt))
}

function remainingDays(exchange: S3Exchange): string | undefined {
  const until = Date.parse(exchange.header('x-amz-object-lock-retain-until-date') ?? '')
  if (Number.isNaN(until)) return undefined
  return String(Math.ceil((until - exchange.parts.clock.nowMs()) / DAY_MS))
}

/** What cannot be read is refused when it is used; no policy allows it by then. */
function requestTags(exchange: S3Exchange): ReadonlyMap<string, string> {
  if (exchange.bodyTags !== undefined) return exchange.bodyTags
  const header = exchange.header('x-amz-tagging')
  if (header === undefined) return new Map()
  try {
    return new Map(parseTaggingHeader(header).map(({ key, value }) => [key, value]))
  } catch (error) {
    if (error instanceof S3Error) return new Map()
    throw error
  }
}
