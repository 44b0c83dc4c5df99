import type { Command } from 'commander'
import { readClusterSecret } from '../../net/cluster-secret.ts'
import type { CliContext } from '../context.ts'
import { addDaemonOptions, type DaemonFlags, openDaemonLogger, runDaemon } from '../daemon.ts'
import { addErasureOptions, type ErasureFlags, readErasureSettings } from '../erasure-options.ts'
import { addRepairOptions, type RepairFlags, readRepairSettings } from '../repair-options.ts'
import { addRootKeyOptions, type RootKeyFlags, readRootKeySettings } from '../root-key-options.ts'
import { readDurationMs } from '../setting-values.ts'
import { addTlsOptions, readTlsKeys, type TlsFlags } from '../tls-options.ts'

interface MasterFlags extends DaemonFlags, RepairFlags, ErasureFlags, RootKeyFlags, TlsFlags {
  readonly dir: string
  readonly ip: string
  readonly publicHost?: string
  readonly port: string
  readonly grpcPort?: string
  readonly secretFile?: string
  readonly replication: string
  readonly strategy: string
  readonly volumeSize: string
  readonly heartbeat: string
  readonly writeTokens?: boolean
  readonly readTokens?: boolean
}

const HEARTBEAT_MS = { min: 10, max: 600_000 }

export function registerMaster(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  const command = program
    .command('master')
    .description(
      'Run a master: it knows where volumes are, assigns file ids and keeps the names of named ' +
        'files. Makes the cluster secret at its first start.',
    )
    .option('--dir <dir>', 'data directory; made if missing', 'data/master')
    .option('--ip <address>', 'address to listen on', '127.0.0.1')
    .option('--public-host <host>', 'host under which others reach this one; --ip unless given')
    .option('--port <port>', 'HTTP port; 0 for any that is free', '9333')
    .option('--grpc-port <port>', 'gRPC port; the HTTP port + 10000 unless given')
    .option('--secret-file <file>', 'cluster secret; DIR/cluster.secret unless given')
    .option('--replication <digits>', 'copies by distance: 000 is one copy, 001 two', '000')
    .option(
      '--strategy <name>',
      'which volume takes a new file: ring, least-used, random',
      'random',
    )
    .option('--volume-size <size>', 'a volume is full at this size', '30GiB')
    .option('--heartbeat <time>', 'volume servers report so often; three missed: down', '5s')
    .option('--write-tokens', 'give out tokens for writes')
    .option('--read-tokens', 'give out tokens for reads')
  addRootKeyOptions(addErasureOptions(addRepairOptions(command)))
  addTlsOptions(addDaemonOptions(command)).action(async (flags: MasterFlags) => {
    finish(await runMaster(context, flags))
  })
}

async function runMaster(context: CliContext, flags: MasterFlags): Promise<number> {
  const { disk, clock, random } = context
  const logger = openDaemonLogger(context, flags)
  const { secretFile } = flags
  // Loaded when it is run: other commands start sooner without it.
  const { readMasterConfig } = await import('../../master/config.ts')
  const { startMaster } = await import('../../server/start-master.ts')
  const config = readMasterConfig({
    dir: flags.dir,
    host: flags.ip,
    publicHost: flags.publicHost,
    port: flags.port,
    grpcPort: flags.grpcPort,
    defaultReplication: flags.replication,
    strategy: flags.strategy,
    volumeSizeMaxBytes: flags.volumeSize,
    heartbeatMs: readDurationMs('--heartbeat', flags.heartbeat, HEARTBEAT_MS),
    needsWriteTokens: flags.writeTokens === true,
    needsReadTokens: flags.readTokens === true,
    repair: readRepairSettings(flags),
    erasure: readErasureSettings(flags),
    ...readRootKeySettings(flags),
    standby: flags.standby === true,
    secret: secretFile === undefined ? undefined : await readClusterSecret(disk, secretFile),
    tls: await readTlsKeys(disk, flags),
  })
  return await runDaemon(
    context,
    logger,
    (signal) => startMaster({ disk, clock, random, logger }, config, signal),
    ({ location, secretFile: made }) => {
      const secret = secretFile ?? made
      return [
        'hayloft master is ready',
        `  master   http://${location.url}`,
        `  grpc     ${location.grpcAddress}`,
        `  data     ${flags.dir}`,
        `  secret   ${secret}`,
        'next',
        `  hayloft volume --dir data/v1 --master ${location.url} --secret-file ${secret}`,
      ]
    },
  )
}
