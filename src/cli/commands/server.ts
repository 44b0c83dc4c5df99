import type { Command } from 'commander'
import type { RunningServer } from '../../server/start-server.ts'
import type { CliContext } from '../context.ts'
import { addDaemonOptions, type DaemonFlags, openDaemonLogger, runDaemon } from '../daemon.ts'
import { addDoorOptions, type DoorFlags, doorLines, readDoorSettings } from '../door-options.ts'
import { addErasureOptions, type ErasureFlags, readErasureSettings } from '../erasure-options.ts'
import { addRepairOptions, type RepairFlags, readRepairSettings } from '../repair-options.ts'
import { addRootKeyOptions, type RootKeyFlags, readRootKeySettings } from '../root-key-options.ts'
import { addS3Options, readS3Settings, type S3Flags } from '../s3-options.ts'
import { readChoice, readCount, readList, readPort } from '../setting-values.ts'
import { addTlsOptions, readTlsKeys, type TlsFlags } from '../tls-options.ts'

interface ServerFlags
  extends DaemonFlags,
    RepairFlags,
    ErasureFlags,
    RootKeyFlags,
    S3Flags,
    DoorFlags,
    TlsFlags {
  readonly dir: string
  readonly volumeServers: string
  readonly ip: string
  readonly publicHost?: string
  readonly port: string
  readonly grpcPort?: string
  readonly volumePort: string
  readonly dataCenters: string
  readonly racks: string
  readonly replication: string
  readonly strategy: string
  readonly durability: string
  readonly volumeSize: string
  readonly threads: string
  readonly writeTokens?: boolean
  readonly readTokens?: boolean
}

const VOLUME_SERVERS_MAX = 64
const THREADS_MAX = 64

export function registerServer(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  const command = program
    .command('server')
    .description(
      'Run a whole cluster in this process, a master and volume servers, on one data directory. ' +
        'Made at the first start; the next start goes on where it was left.',
    )
    .option('--dir <dir>', 'data directory', 'data')
    .option('--volume-servers <count>', 'volume servers, each in a directory of its own', '1')
    .option('--ip <address>', 'address to listen on', '127.0.0.1')
    .option('--public-host <host>', 'host under which others reach this one; --ip unless given')
    .option('--port <port>', 'HTTP port of the master; 0 for any that is free', '9333')
    .option('--grpc-port <port>', 'its gRPC port; the HTTP port + 10000 unless given')
    .option('--volume-port <port>', 'HTTP port of the first volume server, +1 for each', '8080')
    .option('--data-centers <names>', 'labels, given to the volume servers in turn', '')
    .option('--racks <names>', 'labels, given to the volume servers in turn', '')
    .option('--replication <digits>', 'copies by distance: 000 is one copy, 001 two', '000')
    .option(
      '--strategy <name>',
      'which volume takes a new file: ring, least-used, random',
      'random',
    )
    .option('--durability <mode>', 'fsync (safe from a power cut) or none', 'fsync')
    .option('--volume-size <size>', 'a volume is full at this size', '30GiB')
    .option('--threads <count>', 'threads for HTTP beside the one that owns the volumes', '0')
    .option('--write-tokens', 'writes need a token of the master')
    .option('--read-tokens', 'reads need a token of the master')
  addDoorOptions(addS3Options(addRootKeyOptions(addErasureOptions(addRepairOptions(command)))))
  addTlsOptions(addDaemonOptions(command)).action(async (flags: ServerFlags) => {
    finish(await serve(context, flags))
  })
}

async function serve(context: CliContext, flags: ServerFlags): Promise<number> {
  const logger = openDaemonLogger(context, flags)
  const bounds = { min: 1, max: VOLUME_SERVERS_MAX }
  const options = {
    dir: flags.dir,
    volumeServers: readCount('--volume-servers', flags.volumeServers, bounds),
    ip: flags.ip,
    publicHost: flags.publicHost,
    port: readPort('--port', flags.port),
    grpcPort: flags.grpcPort === undefined ? undefined : readPort('--grpc-port', flags.grpcPort),
    volumePort: readPort('--volume-port', flags.volumePort),
    dataCenters: readList(flags.dataCenters),
    racks: readList(flags.racks),
    replication: flags.replication,
    strategy: flags.strategy,
    durability: readChoice('--durability', flags.durability, ['fsync', 'none']),
    volumeSize: flags.volumeSize,
    threads: readCount('--threads', flags.threads, { min: 0, max: THREADS_MAX }),
    needsWriteTokens: flags.writeTokens === true,
    needsReadTokens: flags.readTokens === true,
    repair: readRepairSettings(flags),
    erasure: readErasureSettings(flags),
    ...readRootKeySettings(flags),
    s3: readS3Settings(context.disk, flags, flags.ip),
    doors: readDoorSettings(flags, flags.ip),
    isStandby: flags.standby === true,
    tls: await readTlsKeys(context.disk, flags),
    logger,
  }
  const { startServer } = await import('../../server/start-server.ts')
  const start = (signal: AbortSignal): Promise<RunningServer> => startServer(options, signal)
  return await runDaemon(context, logger, start, (running) => bannerOf(running, flags.dir))
}

function bannerOf(running: RunningServer, dir: string): readonly string[] {
  const { masterUrl, rootKeyFile, s3Url, secretFile, volumeUrls } = running
  return [
    'hayloft is ready',
    `  master   ${masterUrl}`,
    ...volumeUrls.map((url) => `  volume   ${url}`),
    ...(s3Url === undefined ? [] : [`  s3       ${s3Url}  (root key: ${rootKeyFile})`]),
    ...doorLines(running),
    `  data     ${dir}`,
    `  secret   ${secretFile}`,
    'try',
    `  echo hello | curl -T - ${masterUrl}/hello.txt && curl -L ${masterUrl}/hello.txt`,
  ]
}
