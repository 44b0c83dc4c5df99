import type { Command } from 'commander'
import { StoreError } from '../../base/store-error.ts'
import { readClusterSecret } from '../../net/cluster-secret.ts'
import { MASTER_DEFAULT, masterAddresses } from '../cluster-options.ts'
import type { CliContext } from '../context.ts'
import { addDaemonOptions, type DaemonFlags, openDaemonLogger, runDaemon } from '../daemon.ts'
import { addDoorOptions, type DoorFlags, doorLines, readDoorSettings } from '../door-options.ts'
import { addS3Options, readS3Settings, type S3Flags } from '../s3-options.ts'
import { readChoice } from '../setting-values.ts'
import { addTlsOptions, readTlsKeys, type TlsFlags } from '../tls-options.ts'

interface GatewayFlags extends DaemonFlags, S3Flags, DoorFlags, TlsFlags {
  readonly master: string
  readonly secretFile: string
  readonly ip: string
  readonly lifecycle: string
}

export function registerGateway(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  const command = program
    .command('gateway')
    .description(
      "Run a gateway: S3, objects, documents and users' files in front of a cluster. It stores " +
        'nothing; as many as you like, behind any load balancer.',
    )
    .requiredOption('--secret-file <file>', "the master's cluster secret")
    .option('--master <addresses>', 'masters, host:port with commas between', MASTER_DEFAULT)
    .option('--ip <address>', 'address to listen on', '127.0.0.1')
    .option('--lifecycle <mode>', 'on or off: it does what lifecycle rules say', 'on')
  addTlsOptions(addDaemonOptions(addDoorOptions(addS3Options(command)))).action(
    async (flags: GatewayFlags) => {
      finish(await runGateway(context, flags))
    },
  )
}

async function runGateway(context: CliContext, flags: GatewayFlags): Promise<number> {
  const { disk, clock, random } = context
  const logger = openDaemonLogger(context, flags)
  const masters = masterAddresses(flags)
  const settings = readS3Settings(disk, flags, flags.ip)
  const doors = readDoorSettings(flags, flags.ip)
  if (settings === undefined && doors.rest === undefined && doors.files === undefined) {
    const why = '--s3-port, --rest-port and --files-port off leave a gateway nothing to do'
    throw new StoreError('CONFIG_INVALID', why)
  }
  const runsLifecycle = readChoice('--lifecycle', flags.lifecycle, ['on', 'off']) === 'on'
  const options = { s3: settings && { ...settings, runsLifecycle }, ...doors }
  const config = {
    masters: masters.map(({ grpc }) => grpc),
    secret: await readClusterSecret(disk, flags.secretFile),
    tls: await readTlsKeys(disk, flags),
  }
  // Loaded when it is run: other commands start sooner without it.
  const { startGateway } = await import('../../server/start-gateway.ts')
  return await runDaemon(
    context,
    logger,
    () => startGateway({ disk, clock, random, logger }, config, options),
    ({ filesAddress, restUrl, s3Url }) => [
      'hayloft gateway is ready',
      ...(s3Url === undefined ? [] : [`  s3       ${s3Url}`]),
      ...doorLines({ filesAddress, restUrl }),
      `  masters  ${masters.map(({ http }) => `http://${http}`).join(', ')}`,
    ],
  )
}
