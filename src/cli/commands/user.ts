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

/** Runs one command line against the users of a cluster. */
type Run = (
  context: CliContext,
  flags: ClusterFlags,
  use: (users: UsersApi) => Promise<void>,
) => Promise<void>

/** Well above what a master takes: it says what is too long. */
const POLICY_FILE_MAX_BYTES = 64 * KIB

const JSON_LINES = 'one JSON object a line'

export function registerUser(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  const run: Run = async (...args) => {
    await useUsers(...args)
    finish(EXIT.done)
  }
  const user = program.command('user').description('Users of S3, their policies and access keys.')
  registerAdd(user, context, run)
  registerQueries(user, context, run)
  const policy = user.command('policy').description('What a user may do.')
  registerPolicies(policy, context, run)
  const key = user.command('key').description('Access keys: what requests are signed with.')
  registerNewKey(key, context, run)
  registerKeys(key, context, run)
}

function registerAdd(user: Command, context: CliContext, run: Run): void {
  const { out, disk, signal } = context
  const command = user
    .command('add')
    .description('Make a user with one access key, and show it.')
    .argument('<name>', 'letters, digits and _.@+=,-')
    .option('--display-name <text>', 'for people; the name unless given')
    .option('--email <address>', 'by which others can grant it something')
    .option('--policy-file <file>', 'what it may do, as JSON')
    .option('--json', 'one JSON object')
  addClusterOptions(command).action(async (name: string, flags: AddFlags) => {
    const { displayName, email, policyFile, json } = flags
    const policy = policyFile === undefined ? undefined : await readPolicy(disk, policyFile)
    await run(context, flags, async (users) => {
      const added = await users.add({ name, displayName, email, policy }, signal)
      const key = await users.addKey({ userName: name }, signal)
      if (json !== true) return await showNewKey(context, key, added)
      const { accessKeyId, secret } = key
      await out.line(JSON.stringify({ ...added, accessKeyId, secretAccessKey: secret }))
    })
  })
}

function registerQueries(user: Command, context: CliContext, run: Run): void {
  const { out, signal } = context
  const list = user.command('list').description('List the users.').option('--json', JSON_LINES)
  addClusterOptions(list).action(async (flags: UserFlags) => {
    await run(context, flags, async (users) => {
      const found = await users.list(signal)
      const lines = flags.json === true ? found.map(toJson) : userTable(found)
      for (const line of lines) await out.line(line)
    })
  })
  const show = user
    .command('show')
    .description('Show a user with its policy and keys, without their secrets.')
    .argument('<name>', 'a user')
    .option('--json', 'one JSON object')
  addClusterOptions(show).action(async (name: string, flags: UserFlags) => {
    await run(context, flags, async (users) => {
      const found = await users.get(name, signal)
      const keys = await users.listKeys(name, signal)
      const lines = flags.json === true ? [toJson({ ...found, keys })] : userLines(found, keys)
      for (const line of lines) await out.line(line)
    })
  })
  const remove = user
    .command('rm')
    .description('Delete a user and its keys; what it owns stays.')
    .argument('<name>', 'a user')
  addClusterOptions(remove).action(async (name: string, flags: ClusterFlags) => {
    await run(context, flags, async (users) => {
      await users.remove(name, signal)
      await out.line(`deleted user ${name}`)
    })
  })
}

function registerPolicies(policy: Command, context: CliContext, run: Run): void {
  const { out, disk, signal } = context
  const set = policy
    .command('set')
    .description('Give a user another policy.')
    .argument('<name>', 'a user')
    .argument('<file>', 'what it may do, as JSON')
  addClusterOptions(set).action(async (name: string, file: string, flags: ClusterFlags) => {
    const text = await readPolicy(disk, file)
    await run(context, flags, async (users) => {
      await users.setPolicy(name, text, signal)
      await out.line(`${name}: another policy from now on`)
    })
  })
  const remove = policy
    .command('rm')
    .description('Take the policy of a user away.')
    .argument('<name>', 'a user')
  addClusterOptions(remove).action(async (name: string, flags: ClusterFlags) => {
    await run(context, flags, async (users) => {
      await users.setPolicy(name, undefined, signal)
      await out.line(`${name}: no policy from now on`)
    })
  })
}

function registerNewKey(key: Command, context: CliContext, run: Run): void {
  const { out, signal } = context
  const add = key
    .command('add')
    .description('Give a user one more access key, and show it.')
    .argument('<name>', 'a user')
    .option('--access-key <id>', 'this one; a random one unless given')
    .option('--secret-key <secret>', 'its secret; a random one unless given')
    .option('--json', 'one JSON object')
  addClusterOptions(add).action(async (userName: string, flags: KeyFlags) => {
    const { accessKey: accessKeyId, secretKey, json } = flags
    await run(context, flags, async (users) => {
      const made = await users.addKey({ userName, accessKeyId, secret: secretKey }, signal)
      if (json !== true) return await showNewKey(context, made)
      const { secret, ...view } = made
      await out.line(toJson({ ...view, secretAccessKey: secret }))
    })
  })
}

function registerKeys(key: Command, context: CliContext, run: Run): void {
  const { out, signal } = context
  const list = key
    .command('list')
    .description('List the access keys of a user, without their secrets.')
    .argument('<name>', 'a user')
    .option('--json', JSON_LINES)
  addClusterOptions(list).action(async (name: string, flags: UserFlags) => {
    await run(context, flags, async (users) => {
      const keys = await users.listKeys(name, signal)
      const lines = flags.json === true ? keys.map(toJson) : keyTable(keys)
      for (const line of lines) await out.line(line)
    })
  })
  const remove = key
    .command('rm')
    .description('Delete an access key.')
    .argument('<access-key>', 'its id')
  addClusterOptions(remove).action(async (id: string, flags: ClusterFlags) => {
    await run(context, flags, async (users) => {
      await users.removeKey(id, signal)
      await out.line(`deleted access key ${id}`)
    })
  })
  for (const [name, description] of [
    ['disable', 'Switch an access key off: requests signed with it are refused.'],
    ['enable', 'Switch an access key on again.'],
  ] as const) {
    const command = key.command(name).description(description).argument('<access-key>', 'its id')
    addClusterOptions(command).action(async (id: string, flags: ClusterFlags) => {
      await run(context, flags, async (users) => {
        await users.setKeyEnabled(id, name === 'enable', signal)
        await out.line(`${id}: ${name}d from now on`)
      })
    })
  }
}

const useUsers: Run = async (context, flags, use) => {
  const { openUserAccess } = await import('../user-access.ts')
  await using users = await openUserAccess(context, flags)
  await use(users)
}

async function readPolicy(disk: CliContext['disk'], path: string): Promise<string> {
  return (await readFile(disk, path, POLICY_FILE_MAX_BYTES)).toString('utf8')
}

function toJson(value: object): string {
  return JSON.stringify(value)
}
