import type { Command } from 'commander'
import { KIB } from '../../base/units.ts'
import type { UsersApi } from '../../net/users-api.ts'
import { readFile } from '../../runtime/disk.ts'
import { addClusterOptions, type ClusterFlags } from '../cluster-options.ts'
import type { CliContext } from '../context.ts'
import { EXIT } from '../exit.ts'
import { keyTable, showNewKey, userLines, userTable } from '../user-report.ts'

interface UserFlags extends ClusterFlags {
  readonly json?: boolean
}

interface AddFlags extends UserFlags {
  readonly displayName?: string
  readonly email?: string
  readonly policyFile?: string
}

interface KeyFlags extends UserFlags {
  readonly accessKey?: string
  readonly secretKey?: string
}

/** What a command does with the users of a cluster, and the lines that are its result. */
type Work<Flags> = (
  users: UsersApi,
  args: readonly string[],
  flags: Flags,
) => Promise<readonly string[]>

/** Gives a command the options of a cluster, and `Work` to do in it. */
type Define = <Flags extends ClusterFlags>(command: Command, work: Work<Flags>) => void

/** Well above what a master takes: it says what is too long. */
const POLICY_FILE_MAX_BYTES = 64 * KIB

const JSON_LINES = 'one JSON object a line'

export function registerUser(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  const define: Define = (command, work) => {
    addClusterOptions(command).action(async () => {
      await runCommand(context, command, work)
      finish(EXIT.done)
    })
  }
  const user = program.command('user').description('Users of S3, their policies and access keys.')
  defineUsers(user, context, define)
  const policy = user.command('policy').description('What a user may do.')
  definePolicies(policy, context, define)
  const key = user.command('key').description('Access keys: what requests are signed with.')
  defineNewKey(key, context, define)
  defineKeys(key, context, define)
}

async function runCommand<Flags extends ClusterFlags>(
  context: CliContext,
  command: Command,
  work: Work<Flags>,
): Promise<void> {
  const flags = command.opts<Flags>()
  const { openUserAccess } = await import('../user-access.ts')
  await using users = await openUserAccess(context, flags)
  for (const line of await work(users, command.args, flags)) await context.out.line(line)
}

function defineUsers(user: Command, context: CliContext, define: Define): void {
  const { disk, signal } = context
  const add = user
    .command('add')
    .description('Make a user with one access key, and show it.')
    .argument('<name>', 'letters, digits and _.@+=,-')
    .option('--display-name <text>', 'for people; the name unless given')
    .option('--email <address>', 'by which others can grant it something')
    .option('--policy-file <file>', 'what it may do, as JSON')
    .option('--json', 'one JSON object')
  define<AddFlags>(add, async (users, [name = ''], flags) => {
    const { displayName, email, policyFile, json } = flags
    const policy = policyFile === undefined ? undefined : await readPolicy(disk, policyFile)
    const added = await users.add({ name, displayName, email, policy }, signal)
    const made = await users.addKey({ userName: name }, signal)
    const { accessKeyId, secret } = made
    if (json === true) return [toJson({ ...added, accessKeyId, secretAccessKey: secret })]
    await showNewKey(context, made, added)
    return []
  })
  const list = user.command('list').description('List the users.').option('--json', JSON_LINES)
  define<UserFlags>(list, async (users, _, { json }) => {
    const found = await users.list(signal)
    return json === true ? found.map(toJson) : userTable(found)
  })
  const show = user
    .command('show')
    .description('Show a user with its policy and keys, without their secrets.')
    .argument('<name>', 'a user')
    .option('--json', 'one JSON object')
  define<UserFlags>(show, async (users, [name = ''], { json }) => {
    const found = await users.get(name, signal)
    const keys = await users.listKeys(name, signal)
    return json === true ? [toJson({ ...found, keys })] : userLines(found, keys)
  })
  const remove = user
    .command('rm')
    .description('Delete a user and its keys; what it owns stays.')
    .argument('<name>', 'a user')
  define(remove, async (users, [name = '']) => {
    await users.remove(name, signal)
    return [`deleted user ${name}`]
  })
}

function definePolicies(policy: Command, { disk, signal }: CliContext, define: Define): void {
  const set = policy
    .command('set')
    .description('Give a user another policy.')
    .argument('<name>', 'a user')
    .argument('<file>', 'what it may do, as JSON')
  define(set, async (users, [name = '', file = '']) => {
    await users.setPolicy(name, await readPolicy(disk, file), signal)
    return [`${name}: another policy from now on`]
  })
  const remove = policy
    .command('rm')
    .description('Take the policy of a user away.')
    .argument('<name>', 'a user')
  define(remove, async (users, [name = '']) => {
    await users.setPolicy(name, undefined, signal)
    return [`${name}: no policy from now on`]
  })
}

function defineNewKey(key: Command, context: CliContext, define: Define): void {
  const { signal } = context
  const add = key
    .command('add')
    .description('Give a user one more access key, and show it.')
    .argument('<name>', 'a user')
    .option('--access-key <id>', 'this one; a random one unless given')
    .option('--secret-key <secret>', 'its secret; a random one unless given')
    .option('--json', 'one JSON object')
  define<KeyFlags>(add, async (users, [userName = ''], flags) => {
    const { accessKey: accessKeyId, secretKey, json } = flags
    const made = await users.addKey({ userName, accessKeyId, secret: secretKey }, signal)
    const { secret, ...view } = made
    if (json === true) return [toJson({ ...view, secretAccessKey: secret })]
    await showNewKey(context, made)
    return []
  })
}

function defineKeys(key: Command, { signal }: CliContext, define: Define): void {
  const list = key
    .command('list')
    .description('List the access keys of a user, without their secrets.')
    .argument('<name>', 'a user')
    .option('--json', JSON_LINES)
  define<UserFlags>(list, async (users, [name = ''], { json }) => {
    const keys = await users.listKeys(name, signal)
    return json === true ? keys.map(toJson) : keyTable(keys)
  })
  const remove = key
    .command('rm')
    .description('Delete an access key.')
    .argument('<access-key>', 'its id')
  define(remove, async (users, [id = '']) => {
    await users.removeKey(id, signal)
    return [`deleted access key ${id}`]
  })
  for (const [name, description] of [
    ['disable', 'Switch an access key off: requests signed with it are refused.'],
    ['enable', 'Switch an access key on again.'],
  ] as const) {
    const command = key.command(name).description(description).argument('<access-key>', 'its id')
    define(command, async (users, [id = '']) => {
      await users.setKeyEnabled(id, name === 'enable', signal)
      return [`${id}: ${name}d from now on`]
    })
  }
}

async function readPolicy(disk: CliContext['disk'], path: string): Promise<string> {
  return (await readFile(disk, path, POLICY_FILE_MAX_BYTES)).toString('utf8')
}

function toJson(value: object): string {
  return JSON.stringify(value)
}
