import { basename } from 'node:path/posix'
import type { Command } from 'commander'
import { quote, StoreError } from '../../base/store-error.ts'
import type { StoredFile, StoredFiles } from '../../net/files-api.ts'
import type { RemoteFiles } from '../../net/remote-files.ts'
import type { CliContext } from '../context.ts'
import { EXIT } from '../exit.ts'
import { addFilesOptions, type FilesFlags } from '../files-options.ts'
import { fileJson, fileLine, fileLines } from '../files-report.ts'
import { readCount } from '../setting-values.ts'
import { writePiece, writeWhole } from '../whole-file.ts'
import { readRange } from './get.ts'

interface StoreFlags extends FilesFlags {
  readonly name?: string
  readonly mime?: string
  readonly overwrite?: boolean
  readonly concurrency: string
  readonly quiet?: boolean
  readonly json?: boolean
}

interface DownloadFlags extends FilesFlags {
  readonly output?: string
  readonly overwrite?: boolean
  readonly range?: string
  readonly quiet?: boolean
}

interface ListFlags extends FilesFlags {
  readonly long?: boolean
  readonly json?: boolean
  readonly limit: string
}

interface SearchFlags extends ListFlags {
  readonly all?: boolean
  readonly literal?: boolean
}

/** Ends with the exit code. */
type Work<Flags> = (files: RemoteFiles, args: readonly string[], flags: Flags) => Promise<number>
type Define = <Flags extends FilesFlags>(command: Command, work: Work<Flags>) => void

const CONCURRENCY_MAX = 64
const LIMIT_MAX = 2 ** 32 - 1
const JSON_LINES = 'one JSON object a line'

export function registerFiles(
  program: Command,
  context: CliContext,
  finish: (exitCode: number) => void,
): void {
  const define: Define = (command, work) => {
    addFilesOptions(command).action(async () => {
      const flags = command.opts<FilesFlags>()
      const { openFilesAccess } = await import('../files-access.ts')
      await using files = await openFilesAccess(context, flags)
      finish(await work(files, command.args, flags as Parameters<typeof work>[2]))
    })
  }
  const files = program.command('files').description('Files of users, at a gateway.')
  defineStore(files, context, define, 'upload')
  defineDownload(files, context, define)
  defineStore(files, context, define, 'update')
  defineList(files, context, define)
  defineSearch(files, context, define)
  defineInfo(files, context, define)
  defineRemove(files, context, define)
}

function defineStore(
  files: Command,
  context: CliContext,
  define: Define,
  mode: 'upload' | 'update',
): void {
  const isUpload = mode === 'upload'
  const command = files
    .command(mode)
    .description(
      isUpload
        ? 'Store new files; each is there when it is there whole.'
        : 'Give files that are there new content; until all of it is, readers get the old one.',
    )
    .argument('<file...>', 'files; - for standard input')
    .option('--name <name>', 'what a single file is to be called; otherwise the name it has here')
    .option('--mime <type>', 'media type; otherwise guessed from the name')
    .option('--concurrency <count>', 'files under way at a time', '4')
    .option('--quiet', 'show no progress')
    .option('--json', JSON_LINES)
  if (isUpload) command.option('--overwrite', 'take the place of files that are there')
  define<StoreFlags>(command, async (remote, paths, flags) => {
    const { findLocal, storeFiles } = await import('../files-transfer.ts')
    if (flags.name !== undefined && paths.length > 1) {
      throw new StoreError('CONFIG_INVALID', 'several files cannot have one --name')
    }
    const range = { min: 1, max: CONCURRENCY_MAX }
    const options = {
      mode,
      user: flags.user,
      contentType: flags.mime,
      isOverwrite: flags.overwrite === true,
      concurrency: readCount('--concurrency', flags.concurrency, range),
      isQuiet: flags.quiet === true || !context.err.isTerminal,
    }
    const locals = await Promise.all(paths.map((path) => findLocal(path, flags.name)))
    const tell = (file: StoredFile) =>
      context.out.line(flags.json === true ? fileJson(file) : file.name)
    const faults = await storeFiles(context, remote, locals, options, tell)
    return faults === 0 ? EXIT.done : EXIT.error
  })
}

function defineDownload(files: Command, context: CliContext, define: Define): void {
  const command = files
    .command('download')
    .description('Fetch a file, which appears here only when it is whole and has its SHA-256.')
    .argument('<name>', 'a file')
    .option('-o, --output <file>', 'where to write it; - for standard output')
    .option('--overwrite', 'replace the output file')
    .option('--range <bytes>', 'bytes A-B, both included, or A- for the rest')
    .option('--quiet', 'show no progress')
  define<DownloadFlags>(command, async (remote, [name = ''], flags) => {
    const { fetchFile } = await import('../files-transfer.ts')
    const output = flags.output ?? localName(name)
    const range = flags.range === undefined ? { start: 0 } : readRange(flags.range)
    const request = { user: flags.user, name, ...range }
    const isQuiet = flags.quiet === true || !context.err.isTerminal
    const data = fetchFile(context, remote, request, isQuiet)
    if (output === '-') for await (const piece of data) await writePiece(context, piece)
    else await writeWhole(output, data, flags.overwrite === true)
    return EXIT.done
  })
}

/** The last part of the name, in this directory. */
function localName(name: string): string {
  const last = basename(name)
  const isUsable = !name.endsWith('/') && !['', '.', '..', '-'].includes(last)
  if (isUsable && !last.includes('\\')) return last
  throw new StoreError('CONFIG_INVALID', `${quote(name)} names no file here; give --output`)
}

function defineList(files: Command, context: CliContext, define: Define): void {
  const command = files
    .command('ls')
    .description('List the files of a user, in the order of their names.')
    .argument('[prefix]', 'how they start; all when left out', '')
  addListOptions(command)
  define<ListFlags>(command, async (remote, [prefix = ''], flags) => {
    const request = { user: flags.user, prefix, after: '', limit: readLimit(flags) }
    await showAll(context, remote.list(request, context.signal), flags, false)
    return EXIT.done
  })
}

function defineSearch(files: Command, context: CliContext, define: Define): void {
  const command = files
    .command('search')
    .description('Find files by name; capitals and small letters are the same.')
    .argument('<pattern>', 'part of a name; with * or ? in it, the whole name')
    .option('--all', 'files of all users, which the root user may see')
    .option('--literal', '* and ? mean themselves')
  addListOptions(command)
  define<SearchFlags>(command, async (remote, [text = ''], flags) => {
    const isGlob = flags.literal !== true && /[*?]/.test(text)
    const pattern = { kind: isGlob ? ('glob' as const) : ('substring' as const), text }
    const isOfAll = flags.all === true
    const user = isOfAll ? '' : flags.user
    const request = { user, isOfAll, pattern, after: '', limit: readLimit(flags) }
    await showAll(context, remote.search(request, context.signal), flags, isOfAll)
    return EXIT.done
  })
}

function addListOptions(command: Command): void {
  command
    .option('-l, --long', 'with bytes, time and version')
    .option('--json', JSON_LINES)
    .option('--limit <count>', 'files at most; 0 for all', '0')
}

function readLimit({ limit }: ListFlags): number {
  return readCount('--limit', limit, { min: 0, max: LIMIT_MAX })
}

async function showAll(
  { out }: CliContext,
  pieces: AsyncIterable<StoredFiles>,
  { json, long }: ListFlags,
  hasUser: boolean,
): Promise<void> {
  for await (const { files } of pieces) {
    for (const file of files) {
      if (out.isClosed) return
      await out.line(json === true ? fileJson(file) : fileLine(file, long === true, hasUser))
    }
  }
}

function defineInfo(files: Command, { out, signal }: CliContext, define: Define): void {
  const command = files
    .command('info')
    .description('Show what is known of a file.')
    .argument('<name>', 'a file')
    .option('--json', 'one JSON object')
  define<FilesFlags & { readonly json?: boolean }>(command, async (remote, [name = ''], flags) => {
    const file = await remote.info({ user: flags.user, name }, signal)
    const lines = flags.json === true ? [fileJson(file)] : fileLines(file)
    for (const line of lines) await out.line(line)
    return EXIT.done
  })
}

function defineRemove(files: Command, { out, signal }: CliContext, define: Define): void {
  const command = files.command('rm').description('Delete files.').argument('<name...>', 'files')
  define(command, async (remote, names, { user }) => {
    for (const name of names) {
      await remote.delete({ user, name }, signal)
      await out.line(`deleted ${name}`)
    }
    return EXIT.done
  })
}
