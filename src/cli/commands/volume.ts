import type { Command } from 'commander'
import { readClusterSecret } from '../../net/cluster-secret.ts'
import { MASTER_DEFAULT, MASTER_PORT } from '../cluster-options.ts'
import type { CliContext } from '../context.ts'
import { addDaemonOptions, type DaemonFlags, openDaemonLogger, runDaemon } from '../daemon.ts'
import { readAddresses, readList } from '../setting-values.ts'
import { addTlsOptions, readTlsKeys, type TlsFlags } from '../tls-options.ts'

interface VolumeFlags extends DaemonFlags, TlsFlags {
  readonly dir: string
  readonly master: string
  readonly secretFile: string
  readonly ip: string
  readonly publicHost?: string
  readonly publicUrl?: string
  readonly port: string
  readonly grpcPort?: string
  readonly dataCenter: string
  readonly rack: string
  readonly durability: string
  readonly volumeSize: string
  readonly reserve?: string
  readonly fileSizeLimit: string
  readonly cache: string
  readonly threads: string
  readonly readMode: string
  readonly writeTokens?: boolean
  readonly readTokens?: boolean
}

export function registerVolume(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  const command = program
    .command('volume')
    .description('Run a volume server: it keeps files on local disks and tells a master of them.')
    .requiredOption('--dir <dirs>', 'one directory for each disk, with commas between')
    .requiredOption('--secret-file <file>', "the master's cluster secret")
    .option('--master <addresses>', 'masters, host:port with commas between', MASTER_DEFAULT)
    .option('--ip <address>', 'address to listen on', '127.0.0.1')
    .option('--public-host <host>', 'host under which others reach this one; --ip unless given')
    .option('--public-url <address>', 'host and port for clients; as for servers unless given')
    .option('--port <port>', 'HTTP port; 0 for any that is free', '8080')
    .option('--grpc-port <port>', 'gRPC port; the HTTP port + 10000 unless given')
    .option('--data-center <name>', 'where it stands', 'dc1')
    .option('--rack <name>', 'where it stands', 'rack1')
    .option(
      '--durability <mode>',
      'fsync (safe from a power cut), none, or sync every like 200ms',
      'fsync',
    )
    .option('--volume-size <size>', 'a volume is full at this size', '30GiB')
    .option('--reserve <size>', 'puts stop when no more is free; a share of the disk unless given')
    .option('--file-size-limit <size>', 'the longest file taken', '256MiB')
    .option('--cache <size>', 'memory for files of slow disks', '0')
    .option('--threads <count>', 'threads for HTTP beside the one that owns the volumes', '0')
    .option('--read-mode <mode>', 'files of other servers: proxy, redirect or local (404)', 'proxy')
    .option('--write-tokens', 'writes need a token of the master')
    .option('--read-tokens', 'reads need a token of the master')
  addTlsOptions(addDaemonOptions(command)).action(async (flags: VolumeFlags) => {
    finish(await runVolume(context, flags))
  })
}

async function runVolume(context: CliContext, flags: VolumeFlags): Promise<number> {
  const { disk, clock, random } = context
  const logger = openDaemonLogger(context, flags)
  const masters = readAddresses('--master', flags.master, MASTER_PORT)
  // Loaded when it is run: other commands start sooner without it.
  const { readVolumeServerConfig } = await import('../../volume/config.ts')
  const { VolumeServer } = await import('../../volume/volume-server.ts')
  const config = readVolumeServerConfig({
    directories: readList(flags.dir),
    host: flags.publicHost ?? flags.ip,
    bindHost: flags.ip,
    publicUrl: flags.publicUrl,
    port: flags.port,
    grpcPort: flags.grpcPort,
    masters: masters.map(({ grpc }) => grpc),
    dataCenter: flags.dataCenter,
    rack: flags.rack,
    durability: flags.durability,
    volumeSizeMax: flags.volumeSize,
    reserve: flags.reserve,
    fileSizeLimit: flags.fileSizeLimit,
    cache: flags.cache,
    threads: flags.threads,
    readMode: flags.readMode,
    writeTokens: flags.writeTokens === true,
    readTokens: flags.readTokens === true,
    secret: await readClusterSecret(disk, flags.secretFile),
    tls: await readTlsKeys(disk, flags),
  })
  return await runDaemon(
    context,
    logger,
    (signal) => VolumeServer.open({ disk, clock, random, logger }, config, signal),
    ({ location }) => [
      'hayloft volume server is ready',
      `  volume   http://${location.url}`,
      `  grpc     ${location.grpcAddress}`,
      `  place    ${location.dataCenter}/${location.rack}`,
      `  data     ${flags.dir}`,
      `  masters  ${masters.map(({ http }) => `http://${http}`).join(', ')}`,
      'try',
      `  curl http://${location.url}/status`,
    ],
  )
}
