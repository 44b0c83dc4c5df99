import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import type { Command } from 'commander'
import { lookup as mimeOf } from 'mime-types'
import { LIMITS } from '../../base/limits.ts'
import { StoreError } from '../../base/store-error.ts'
import { addClusterOptions, type ClusterFlags } from '../cluster-options.ts'
import type { CliContext } from '../context.ts'
import { EXIT } from '../exit.ts'
import { system } from '../file-tree.ts'
import { readSize } from '../setting-values.ts'

const MIN_BYTES_MAX = LIMITS.autoPolicyBytesMax.value

interface PutFlags extends ClusterFlags {
  readonly name?: string
  readonly mime?: string
  readonly collection: string
  readonly replication?: string
  readonly ttl: string
  readonly policy: string
  readonly spread: string
  readonly erasureMin: string
  readonly json?: boolean
}

export function registerPut(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  const command = program
    .command('put')
    .description(
      'Store a file, durably on every replica when the command returns. Prints its file id.',
    )
    .argument('<file>', 'the file; - for standard input')
    .option('--name <name>', 'make it a named file: GET /NAME on the master finds it')
    .option('--mime <type>', 'media type; otherwise guessed from the name')
    .option('--collection <name>', 'collection of the volume', '')
    .option('--replication <digits>', "copies by distance, like 001; otherwise the cluster's")
    .option('--ttl <ttl>', 'time to live, like 3m, 4h or 5d; empty: for ever', '')
    .option(
      '--policy <policy>',
      'replicated, ec:4+2 (data and parity shards), or auto',
      'replicated',
    )
    .option('--spread <places>', 'shards apart by servers, racks or data-centers', 'servers')
    .option('--erasure-min <size>', 'auto: shards from this size on, copies below', '1MiB')
    .option('--json', 'print one JSON document')
  addClusterOptions(command).action(async (path: string, flags: PutFlags) => {
    finish(await put(context, path, flags))
  })
}

async function put(context: CliContext, path: string, flags: PutFlags): Promise<number> {
  const { out, signal } = context
  const source = await openSource(context, path)
  const mime = flags.mime ?? (mimeOf(flags.name ?? path) || undefined)
  const options = {
    name: cutToName(path),
    mime,
    collection: flags.collection,
    replication: flags.replication,
    ttl: flags.ttl,
    policy: flags.policy,
    spread: flags.spread,
    erasureMinBytes: readSize('--erasure-min', flags.erasureMin, { min: 0, max: MIN_BYTES_MAX }),
    lastModifiedMs: source.mtimeMs,
    signal,
  }
  const { openCluster } = await import('../cluster.ts')
  await using cluster = await openCluster(context, flags)
  const { client } = cluster
  const { data } = source
  const stored = await system('read', path, () =>
    flags.name === undefined
      ? client.put(data, options)
      : client.putNamed(flags.name, data, options),
  )
  const { fileId, sizeBytes, eTag } = stored
  const document = { fileId, sizeBytes, eTag, ...(flags.name && { name: flags.name }) }
  await out.line(flags.json === true ? JSON.stringify(document) : fileId)
  return EXIT.done
}

interface Source {
  readonly data: AsyncIterable<Uint8Array>
  readonly mtimeMs: number | undefined
}

async function openSource({ input }: CliContext, path: string): Promise<Source> {
  if (path === '-') return { data: input, mtimeMs: undefined }
  const found = await system('stat', path, () => stat(path))
  if (found.isDirectory()) {
    throw new StoreError('CONFIG_INVALID', `${path} is a directory; hayloft import takes those`)
  }
  const data = createReadStream(path, { highWaterMark: LIMITS.streamPiece.value })
  return { data, mtimeMs: Math.trunc(found.mtimeMs) }
}

/** What the file was called, if a needle can hold that. */
function cutToName(path: string): string | undefined {
  const name = basename(path)
  const isUsable = path !== '-' && Buffer.byteLength(name) <= LIMITS.needleNameMax.value
  return isUsable ? name : undefined
}
