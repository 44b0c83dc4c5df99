import type { Identity } from '../auth/identity.ts'
import { parseIpRange } from './ip-range.ts'
import { type ConditionContext, holdsCondition, type PolicyCondition } from './policy-conditions.ts'
import type { Policy, PolicyPrincipal, PolicyStatement } from './policy-document.ts'
import { matchesPattern, type VariableLookup } from './text-pattern.ts'

export type PolicyVerdict = 'allow' | 'deny' | 'none'

export interface PolicyRequest {
  /** Undefined: the request is not signed. */
  readonly principal: Identity | undefined
  readonly action: string
  /** `arn:aws:s3:::bucket` or `arn:aws:s3:::bucket/key`. */
  readonly resource: string
  readonly context: ConditionContext
}

/** One statement that denies is enough, wherever it stands; `none`: no statement is about it. */
export function evaluatePolicy(policy: Policy, request: PolicyRequest): PolicyVerdict {
  const context = withPrincipal(request.context, request.principal)
  let verdict: PolicyVerdict = 'none'
  for (const statement of policy.statements) {
    if (!isAbout(statement, request, context)) continue
    if (statement.effect === 'Deny') return 'deny'
    verdict = 'allow'
  }
  return verdict
}

/** Who asks is known from the signature: no other source can answer for these keys. */
function withPrincipal(context: ConditionContext, principal: Identity | undefined) {
  return (key: string): readonly string[] | undefined => {
    switch (key) {
      case 'aws:username':
        return principal === undefined ? undefined : [principal.name]
      case 'aws:userid':
        return principal === undefined ? undefined : [principal.canonicalId]
      case 'aws:PrincipalType':
        return [principal === undefined ? 'Anonymous' : principal.isRoot ? 'Account' : 'User']
      default:
        return context(key)
    }
  }
}

function isAbout(
  statement: PolicyStatement,
  request: PolicyRequest,
  context: ConditionContext,
): boolean {
  const { actions, resources, principals, conditions } = statement
  const lookup: VariableLookup = (name) => context(name)?.[0]
  // A negated list or operator fits what has no value: an Allow must not be won that way.
  const isUnknown = statement.variables.some((name) => lookup(name) === undefined)
  if (isUnknown && statement.effect === 'Allow') return false
  const action = request.action.toLowerCase()
  if (actions.items.some((item) => matchesPattern(item, action)) === actions.isNegated) return false
  const isResource = resources.items.some((item) => matchesPattern(item, request.resource, lookup))
  if (isResource === resources.isNegated) return false
  if (principals !== undefined) {
    const isReachWide = statement.effect === 'Deny' && !principals.isNegated
    const isNamed = principals.items.some((item) => isMeant(item, request.principal, isReachWide))
    if (isNamed === principals.isNegated) return false
  }
  return conditions.every((condition) => holdsCondition(condition, context))
}

/**
 * An account, of which this service has only one, is its root user where rights are given and all
 * of its users where they are taken: neither mistake gives somebody more than was meant.
 */
function isMeant(
  item: PolicyPrincipal,
  principal: Identity | undefined,
  isReachWide: boolean,
): boolean {
  if (item.kind === 'everyone') return true
  if (principal === undefined) return false
  switch (item.kind) {
    case 'account':
      return isReachWide || principal.isRoot
    case 'user-name':
      return item.name === principal.name
    case 'canonical-id':
      return item.id === principal.canonicalId
  }
}

/**
 * Whether a bucket's policy gives rights to anybody: some statement allows everyone something, and
 * no condition of it holds for fixed users or for narrow ranges of addresses only.
 * Source: the S3 user guide, "Blocking public access to your Amazon S3 storage".
 */
export function isPublicPolicy(policy: Policy): boolean {
  return policy.statements.some(
    ({ effect, principals, conditions }) =>
      effect === 'Allow' &&
      principals?.items.some((item) => item.kind === 'everyone') === true &&
      !conditions.some(isFixing),
  )
}

/** A range that has fewer bits than this is so wide that it counts as everybody. */
const NARROW_BITS = { ipv4: 8, ipv6: 32 } as const

function isFixing(condition: PolicyCondition): boolean {
  const { key, operator, values, isNegated, isIfExists, quantifier } = condition
  // Those hold where the key is missing.
  if (isNegated || isIfExists || quantifier === 'all') return false
  if (key === 'aws:SourceIp') return operator === 'IpAddress' && values.every(isNarrow)
  if (key !== 'aws:userid' && key !== 'aws:username') return false
  if (operator === 'StringLike') return values.every((value) => !/[*?]|\$\{/.test(value))
  const isEquals = operator === 'StringEquals' || operator === 'StringEqualsIgnoreCase'
  return isEquals && values.every((value) => !value.includes('${'))
}

function isNarrow(value: string): boolean {
  const range = parseIpRange(value)
  return range !== undefined && range.prefixBits >= NARROW_BITS[range.kind]
}
