import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import type { Command } from 'commander'
import { quote, StoreError } from '../../base/store-error.ts'
import { readClusterSecret } from '../../net/cluster-secret.ts'
import { JOB_KINDS, type JobKind } from '../../net/jobs-api.ts'
import { MASTER_DEFAULT, masterAddresses } from '../cluster-options.ts'
import type { CliContext } from '../context.ts'
import { addDaemonOptions, type DaemonFlags, openDaemonLogger, runDaemon } from '../daemon.ts'
import { WORKERS } from '../repair-options.ts'
import { readChoice, readCount, readList } from '../setting-values.ts'
import { addTlsOptions, readTlsKeys, type TlsFlags } from '../tls-options.ts'

interface WorkerFlags extends DaemonFlags, TlsFlags {
  readonly master: string
  readonly secretFile: string
  readonly name?: string
  readonly dataCenter: string
  readonly kinds: string
  readonly width: string
}

const NAME_PATTERN = /^[\w.:@-]{1,128}$/
const SUFFIX_BYTES = 3

export function registerWorker(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  const command = program
    .command('worker')
    .description(
      'Run a worker: it takes jobs of the master (repair, vacuum, scrub, moves) and does them. ' +
        'As many as you like, on any machine that reaches the servers.',
    )
    .requiredOption('--secret-file <file>', "the master's cluster secret")
    .option('--master <addresses>', 'masters, host:port with commas between', MASTER_DEFAULT)
    .option('--name <name>', 'its name in lists of jobs; that of the host unless given')
    .option('--data-center <name>', 'where it stands: jobs of there first', '')
    .option(
      '--kinds <kinds>',
      'only jobs of these kinds, with commas between; all unless given',
      '',
    )
    .option('--width <count>', 'jobs at once', '2')
  addTlsOptions(addDaemonOptions(command)).action(async (flags: WorkerFlags) => {
    finish(await runWorker(context, flags))
  })
}

async function runWorker(context: CliContext, flags: WorkerFlags): Promise<number> {
  const { disk, clock, random } = context
  const logger = openDaemonLogger(context, flags)
  const masters = masterAddresses(flags)
  const options = {
    name: readName(flags.name),
    queue: flags.dataCenter,
    kinds: readKinds(flags.kinds),
    width: readCount('--width', flags.width, { min: 1, max: WORKERS.max }),
  }
  const config = {
    masters: masters.map(({ grpc }) => grpc),
    secret: await readClusterSecret(disk, flags.secretFile),
    tls: await readTlsKeys(disk, flags),
  }
  // Loaded when it is run: other commands start sooner without it.
  const { startWorker } = await import('../../server/start-worker.ts')
  return await runDaemon(
    context,
    logger,
    () => startWorker({ clock, random, logger }, config, options),
    () => [
      'hayloft worker is ready',
      `  name     ${options.name}`,
      `  jobs     ${options.kinds.join(', ') || 'of all kinds'}, ${options.width} at once`,
      `  masters  ${masters.map(({ http }) => `http://${http}`).join(', ')}`,
      'try',
      '  hayloft job watch',
    ],
  )
}

/** Names must be unique among workers that are alive, so one that is made up has a random part. */
function readName(name: string | undefined): string {
  if (name === undefined) return `${hostname()}-${randomBytes(SUFFIX_BYTES).toString('hex')}`
  if (NAME_PATTERN.test(name)) return name
  const why = 'it must be 1 to 128 letters, digits and . _ : @ -'
  throw new StoreError('CONFIG_INVALID', `--name ${quote(name)}: ${why}`)
}

function readKinds(text: string): readonly JobKind[] {
  return readList(text).map((kind) => readChoice('--kinds', kind, JOB_KINDS))
}
