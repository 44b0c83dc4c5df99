import type { User, UserKey, UserKeyWithSecret } from '../base/user.ts'
import type { CliContext } from './context.ts'
import { table } from './status-report.ts'

const USER_HEADINGS = ['USER', 'DISPLAY NAME', 'EMAIL', 'POLICY', 'CREATED'] as const
const KEY_HEADINGS = ['ACCESS KEY', 'STATE', 'CREATED'] as const

export function userTable(users: readonly User[]): readonly string[] {
  const rows = users.map(({ name, displayName, email = '-', policy, isRoot, createdAtMs }) => {
    const rights = policy !== undefined ? 'yes' : isRoot ? 'root' : '-'
    return [name, displayName, email, rights, dateOf(createdAtMs)]
  })
  return leftTable([USER_HEADINGS, ...rows])
}

export function keyTable(keys: readonly UserKey[]): readonly string[] {
  const rows = keys.map(({ accessKeyId, isEnabled, createdAtMs }) => [
    accessKeyId,
    isEnabled ? 'enabled' : 'disabled',
    dateOf(createdAtMs),
  ])
  return leftTable([KEY_HEADINGS, ...rows])
}

/** All there is to know of a user, its policy at the end as it was given. */
export function userLines(user: User, keys: readonly UserKey[]): readonly string[] {
  const { name, displayName, email = '-', canonicalId, isRoot, policy, createdAtMs } = user
  const facts = [
    ['user', name],
    ['display name', displayName],
    ['email', email],
    ['canonical id', canonicalId],
    ['root', isRoot ? 'yes' : 'no'],
    ['created', dateOf(createdAtMs)],
    ...keys.map(({ accessKeyId, isEnabled }) => [
      'access key',
      isEnabled ? accessKeyId : `${accessKeyId} (disabled)`,
    ]),
    ['policy', policy === undefined ? '-' : ''],
  ]
  return [...leftTable(facts), ...(policy === undefined ? [] : policy.trimEnd().split('\n'))]
}

/** The only place where a secret is shown. */
export async function showNewKey(
  { out, err }: CliContext,
  key: UserKeyWithSecret,
  user?: User,
): Promise<void> {
  const facts = [
    ['user', key.userName],
    ...(user === undefined ? [] : [['canonical id', user.canonicalId]]),
    ['access key', key.accessKeyId],
    ['secret key', key.secret],
  ]
  for (const line of leftTable(facts)) await out.line(line)
  await err.line('hayloft: the secret key is not shown again')
}

function leftTable(rows: readonly (readonly string[])[]): readonly string[] {
  return table(rows, Number.POSITIVE_INFINITY)
}

function dateOf(ms: number): string {
  return new Date(ms).toISOString()
}
